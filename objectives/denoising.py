"""The denoising loss per sample: for training, and at medium noise for ranking networks.

At medium noise (t in 0.45 to 0.6 of the cosine schedule) the loss of a network with inherited weights ranks
architectures as their stand-alone sample quality does; at low and high noise it does not. That was seen in a pilot
on 8x8 digits, and agrees with Choi et al. 2022 ("Perception prioritized training", some noise levels carry the
perceptual content).
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy import stats

from diffusion.guidance import TIMESTEPS_PER_UNIT_TIME
from diffusion.parameterisation import Parameterisation, convert
from diffusion.schedule import Schedule, diffuse, per_sample
from objectives.estimate import Estimate

MID_BAND_LOW = 0.45
MID_BAND_HIGH = 0.6

Network = Callable[
    [Float[Array, "batch *shape"], Float[Array, " batch"], Float[Array, "batch length context_width"]],
    Float[Array, "batch *shape"],
]


def denoising_loss(
    net: Network,
    x0: Float[Array, "batch *shape"],
    *,
    eps: Float[Array, "batch *shape"],
    t: Float[Array, " batch"],
    context: Float[Array, "batch length context_width"],
    schedule: Schedule,
    parameterisation: Parameterisation,
    loss_space: Parameterisation | None = None,
) -> Float[Array, " batch"]:
    """Mean squared error of each sample's prediction.

    Args:
      net: Called once as `net(x_t, timestep, context)` with timestep = 1000 t.
      x0: Clean images, about [-1, 1].
      eps: Standard normal noise.
      t: Times in [0, 1].
      context: Conditions.
      schedule: Gives alpha and sigma.
      parameterisation: What the network predicts.
      loss_space: What the error is measured in, for instance EPS for a network that predicts v; by default what the
        network predicts.

    Returns:
      One loss per sample; the training loss is its mean.
    """
    x_t = diffuse(schedule, x0, eps=eps, t=t)
    alpha, sigma = per_sample(schedule.alpha(t), x0), per_sample(schedule.sigma(t), x0)
    prediction = net(x_t, TIMESTEPS_PER_UNIT_TIME * t, context)
    space = parameterisation if loss_space is None else loss_space
    said = convert(prediction, x_t, source=parameterisation, target=space, alpha=alpha, sigma=sigma)
    error = said - space.target(x0, eps, alpha, sigma)
    return jnp.mean(jnp.square(error), axis=tuple(range(1, x0.ndim)))


def min_snr_weight(
    t: Float[Array, " batch"], *, schedule: Schedule, parameterisation: Parameterisation, largest: float = 5.0
) -> Float[Array, " batch"]:
    """Weight of a squared error at time t: that of the denoised image weighs its signal-to-noise ratio, but at most `largest`.

    An error of what is predicted is that of x0 times a factor, so with SNR = alpha^2 / sigma^2 the weight is

        x0: min(SNR, 5),   eps: min(SNR, 5) / SNR,   v: min(SNR, 5) / (SNR + 1) = min(alpha^2, 5 sigma^2).

    Source: Hang et al. 2023 ("Efficient diffusion training via Min-SNR weighting strategy"), section 3.4.
    """
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    one = jnp.ones_like(alpha)
    denoised_per_prediction = parameterisation.to_denoised(one, jnp.zeros_like(one), alpha, sigma)
    return jnp.minimum(jnp.square(alpha / sigma), largest) * jnp.square(denoised_per_prediction)


def mid_band_times(n: int, low: float = MID_BAND_LOW, high: float = MID_BAND_HIGH) -> Float[Array, " n"]:
    """Times spread evenly over a band of medium noise, the same for every network.

    Sample i's time is the i-th van der Corput number, so it does not depend on `n`, and among the first 2^k samples
    each of 2^k equal parts of the band has exactly one.

    >>> [round(float(t), 4) for t in mid_band_times(4, 0.0, 1.0)]
    [0.0, 0.5, 0.25, 0.75]

    Raises:
      ValueError: `n` is below 1, or the band is not inside [0, 1].
    """
    if n < 1:
        raise ValueError(f"`n` must be at least 1, got {n}; 256 gives an interval of a few per cent")
    if not 0.0 <= low < high <= 1.0:
        raise ValueError(f"the band must satisfy 0 <= low < high <= 1, got low={low}, high={high}; use 0.45 and 0.6")
    index = np.arange(n)
    fraction = np.zeros(n)
    for bit in range(int(n - 1).bit_length()):
        fraction += ((index >> bit) & 1) / 2.0 ** (bit + 1)
    return jnp.asarray(low + (high - low) * fraction, dtype=jnp.float32)


def mean_estimate(losses: Float[np.ndarray, " n"] | Float[Array, " n"]) -> Estimate:
    """The mean of independent per-sample losses, with its 95 % interval by Student's t.

    A loss that is not finite makes the value NaN: the network failed, and the front refuses it.

    >>> mean_estimate(np.array([1.0, 3.0])).value
    2.0

    Raises:
      ValueError: There are fewer than two losses.
    """
    values = np.asarray(losses, dtype=np.float64)
    if values.size < 2:
        raise ValueError(f"an interval needs at least 2 losses, got {values.size}; evaluate more samples")
    if not np.all(np.isfinite(values)):
        return Estimate(float("nan"), n=values.size)
    half = stats.t.ppf(0.975, values.size - 1) * values.std(ddof=1) / np.sqrt(values.size)
    return Estimate(values.mean(), values.mean() - half, values.mean() + half, values.size)
