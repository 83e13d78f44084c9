"""Non-negative costs from few networks: least squares of relative errors with a prior."""

import numpy as np
from jaxtyping import Float
from scipy.optimize import nnls

_STRENGTHS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
_INNER_FOLDS = 5


def fit_costs(
    x: Float[np.ndarray, "n columns"],
    ms: Float[np.ndarray, " n"],
    prior: Float[np.ndarray, " columns"],
    *,
    strength: float,
) -> Float[np.ndarray, " columns"]:
    """Milliseconds per unit of each column: minimises relative errors plus distance to the prior machine, both squared.

    The prior machine is scaled to the measurements first, so only its ratios enter. Unknowns are multiples of its
    coefficients: z >= 0 minimises mean((x prior z / ms - 1)^2) + strength^2 mean((z - 1)^2).
    """
    scaled = prior * np.median(ms / (x @ prior))
    rows = x * scaled / ms[:, None] / np.sqrt(len(ms))
    anchor = strength * np.eye(len(prior)) / np.sqrt(len(prior))
    target = np.concatenate([np.full(len(ms), 1 / np.sqrt(len(ms))), np.full(len(prior), strength / np.sqrt(len(prior)))])
    multiples, _ = nnls(np.concatenate([rows, anchor]), target)
    return scaled * multiples


def choose_strength(
    x: Float[np.ndarray, "n columns"], ms: Float[np.ndarray, " n"], prior: Float[np.ndarray, " columns"]
) -> float:
    """The prior's strength with the smallest cross-validated relative error."""
    folds = np.arange(len(ms)) % min(_INNER_FOLDS, len(ms))

    def error(strength: float) -> float:
        held_out = np.empty(len(ms))
        for fold in range(folds.max() + 1):
            rest = folds != fold
            costs = fit_costs(x[rest], ms[rest], prior, strength=strength)
            held_out[~rest] = x[~rest] @ costs / ms[~rest] - 1
        return float(np.sqrt(np.mean(held_out**2)))

    return min(_STRENGTHS, key=error)
