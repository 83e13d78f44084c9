"""What a number means: name, unit, which way is better; and the one place where directions are handled."""

import dataclasses
import difflib
from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float


@dataclasses.dataclass(frozen=True)
class Objective:
    """A quantity that a search improves.

    Attributes:
      name: The key under which evaluations carry it; lower-case words joined by underscores.
      direction: Which way is better.
      unit: For people: 'ms', 'bytes', 'MACs'; '' for a dimensionless number.
      description: One sentence for the report.
      is_cost: True where it follows from the architecture alone (and a predictor), without weights or samples.
    """

    name: str
    direction: Literal["minimize", "maximize"]
    unit: str
    description: str
    is_cost: bool

    def __post_init__(self) -> None:
        """Refuses a direction that no reader of the front would understand."""
        if self.direction not in ("minimize", "maximize"):
            raise ValueError(f"`direction` of objective {self.name!r} must be 'minimize' or 'maximize', got {self.direction!r}")


PREDICTED = "predicted_frechet"
OBJECTIVES: tuple[Objective, ...] = (
    Objective(
        "denoising_loss",
        "minimize",
        "",
        "Mean squared error of the network's prediction at medium noise (t in 0.45 to 0.6), on held-out images.",
        is_cost=False,
    ),
    Objective(
        "frechet_classifier",
        "minimize",
        "",
        "Fréchet distance of samples to images in the features of a small classifier trained on this data set.",
        is_cost=False,
    ),
    Objective(
        "kid_classifier",
        "minimize",
        "",
        "Kernel distance (unbiased squared MMD) in the features of a small classifier trained on this data set.",
        is_cost=False,
    ),
    Objective(
        PREDICTED,
        "minimize",
        "",
        "Fréchet distance that the network is told to have once trained alone, by proxies fitted on a few that were.",
        is_cost=False,
    ),
    Objective("parameters", "minimize", "parameters", "Trainable numbers of the stand-alone network.", is_cost=True),
    Objective(
        "macs",
        "minimize",
        "MACs",
        "Multiply-accumulates of one network call for one image, attention products included.",
        is_cost=True,
    ),
    Objective("latency_ms", "minimize", "ms", "Time of one network call on the target device.", is_cost=True),
    Objective(
        "image_ms",
        "minimize",
        "ms",
        "Time of one image on the target device: prompt encoder, steps times guidance times one network call, decoder.",
        is_cost=True,
    ),
    Objective(
        "peak_memory_bytes",
        "minimize",
        "bytes",
        "Most memory that loading and running the network needs on the target device, beyond the runtime's own.",
        is_cost=True,
    ),
    Objective(
        "peak_activation_bytes",
        "minimize",
        "bytes",
        "Most float32 activation memory alive at once in one network call for one image.",
        is_cost=True,
    ),
)


def get_objective(name: str) -> Objective:
    """The known objective of that name.

    >>> get_objective("macs").unit
    'MACs'

    Raises:
      ValueError: No objective has that name; the message gives the nearest one.
    """
    known = {objective.name: objective for objective in OBJECTIVES}
    if name in known:
        return known[name]
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
    raise ValueError(f"no objective is called {name!r}; did you mean {nearest!r}? Known: {', '.join(known)}")


def as_minimized(
    objectives: Sequence[Objective], values: Float[np.ndarray, "*points objectives"]
) -> Float[np.ndarray, "*points objectives"]:
    """Turns every column so that smaller is better; applied twice it gives the values back.

    >>> as_minimized([get_objective("macs")], np.array([[3.0], [4.0]])).ravel().tolist()
    [3.0, 4.0]

    Args:
      objectives: One for each column, in order.
      values: Objective values, in each objective's own direction.

    Raises:
      ValueError: The number of columns is not the number of objectives.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim < 1 or values.shape[-1] != len(objectives):
        raise ValueError(
            f"the last axis of `values` must have one entry per objective ({len(objectives)}), got shape {values.shape}"
        )
    signs = np.array([1.0 if objective.direction == "minimize" else -1.0 for objective in objectives])
    return values * signs
