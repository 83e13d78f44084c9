"""How far the outputs of an exported graph are from Flax's, on the same inputs."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from experiments.errors import InputError

# float32 is to be the same but for rounding. For smaller types the error is a property of the weights, and is stated; an
# operation that is left out or misread has an error of the order of 1, whatever the type.
LIMITS = {"float32": 1e-4, "float16": 0.05, "int8": 0.5}


class WrongExportError(RuntimeError):
    """What was exported computes something else than the network; nothing of it is kept."""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The errors of several calls together.

    Attributes:
        relative_error: the largest difference, as a share of the largest output.
        relative_rms_error: the root mean square of the difference, as a share of that of the output.
        num_calls: how many calls.
        limit: up to which relative error the graph counts as the same.
    """

    relative_error: float
    relative_rms_error: float
    num_calls: int
    limit: float

    @property
    def is_within_limit(self) -> bool:
        """Whether the graph is what it should be; an error that is no number is not."""
        return self.relative_error <= self.limit

    def __str__(self) -> str:
        """One line for people."""
        told = f"relative error {self.relative_error:.2e}, root mean square {self.relative_rms_error:.2e}"
        return f"{told} over {self.num_calls} calls; at most {self.limit:g} allowed"


def compare_outputs(outputs: Sequence[np.ndarray], references: Sequence[np.ndarray], *, limit: float) -> Comparison:
    """Holds outputs to Flax's, call by call.

    Raises:
        InputError: Flax's own output is not finite, or is zero everywhere, so that no error is relative to it.
        WrongExportError: an output has another shape.
    """
    for output, reference in zip(outputs, references, strict=True):
        if output.shape != reference.shape:
            raise WrongExportError(f"the exported graph returns shape {output.shape}, Flax {reference.shape}")
    found, expected = (np.concatenate([x.ravel() for x in each]).astype(np.float64) for each in (outputs, references))
    if not np.isfinite(expected).all():
        raise InputError("the network's own output is not finite: its weights are damaged; make the bundle anew")
    if not expected.any():
        raise InputError("the network's own output is 0 everywhere, so that no error is relative to it; train it first")
    difference = found - expected
    return Comparison(
        float(np.abs(difference).max() / np.abs(expected).max()),
        float(np.sqrt((difference**2).mean() / (expected**2).mean())),
        len(outputs),
        limit,
    )
