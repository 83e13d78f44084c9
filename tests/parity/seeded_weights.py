"""Numbers that hang on a name alone, so that no weights need be committed: the same on every machine, from the raw output
of a bit generator, whose stream NumPy keeps (that of its distributions it does not)."""

import hashlib

import numpy as np

_SMALL, _SMALL_GAIN = ("conv2", "proj_in", "proj_out", "to_out.0", "ff.net.2"), 0.05
# What InceptionV3 is recorded on, the one of which features are kept, and the part of the resized ones that is kept.
PICTURES = {"small": (2, 32, 32, 3), "wide": (1, 13, 40, 3), "large": (1, 320, 310, 3)}
WITH_FEATURES, ROWS, COLUMNS = "small", slice(0, None, 23), slice(0, None, 19)


def seeded(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Float32 numbers of mean 0 and variance 1, uniform."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    raw = np.random.PCG64(seed).random_raw(int(np.prod(shape)))
    unit = (raw >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return (np.sqrt(12.0) * (unit - 0.5)).astype(np.float32).reshape(shape)


def seeded_tensor(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A weight or bias: kernels keep the variance of what they are given, norms and biases are away from 1 and 0.

    What is added to a stream is small, as in trained networks, and so are the streams: then the output tells one epsilon of
    a normalisation from another.
    """
    layer, _, kind = name.rpartition(".")
    values = seeded(name, shape)
    if len(shape) > 1:
        gain = _SMALL_GAIN if layer.endswith(_SMALL) else 1.0
        return values * np.float32(gain * np.prod(shape[1:]) ** -0.5)
    return 0.2 * values + 1 if kind == "weight" else 0.02 * values


def seeded_inception_tensor(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The same for a network of ReLUs that normalises by stored statistics, whose variances are positive and not 1."""
    values = seeded(name, shape)
    if name.endswith(".running_var"):
        return 0.2 * values + 1
    return seeded_tensor(name, shape) * np.float32(2**0.5 if len(shape) > 1 else 1.0)


def seeded_pictures(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Pictures of 8 bits; a few pixels are black or white."""
    return np.clip(127.5 + 73.5 * seeded(name, shape), 0, 255).astype(np.uint8)
