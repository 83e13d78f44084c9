"""How wrong predictions of positive numbers are: shares, ranks, and the interval that held-out errors allow."""

import dataclasses

import numpy as np
from jaxtyping import Float
from scipy.stats import rankdata


@dataclasses.dataclass(frozen=True)
class Score:
    """Error on networks that a fit has not seen.

    Attributes:
      mape: Mean absolute relative error.
      within_5: Share of networks within 5 %.
      within_10: Share of networks within 10 %.
      spearman: Rank correlation.
      n: Number of networks.
    """

    mape: float
    within_5: float
    within_10: float
    spearman: float
    n: int


def score(predicted: Float[np.ndarray, " n"], measured: Float[np.ndarray, " n"]) -> Score:
    """Scores predictions of positive numbers.

    >>> score(np.array([1.0, 2.06, 4.4]), np.array([1.0, 2.0, 4.0])).within_5
    0.6666666666666666
    """
    errors = np.abs(predicted / measured - 1)
    within_5, within_10 = (float((errors <= limit).mean()) for limit in (0.05, 0.10))
    spearman = float(np.corrcoef(rankdata(predicted), rankdata(measured))[0, 1])
    return Score(float(errors.mean()), within_5, within_10, spearman, len(measured))


def attainable(coverage: float, *, n: int) -> float:
    """The share that an interval by `n` held-out residuals can promise to hold: fewer than nine cannot promise 90 %."""
    return min(coverage, n / (n + 1))


def conformal_margin(predicted: Float[np.ndarray, " n"], measured: Float[np.ndarray, " n"], *, coverage: float) -> float:
    """Cross-conformal half width (Vovk 2015): held-out log residual number ceil((n + 1) coverage), at most the largest.

    >>> round(float(np.exp(conformal_margin(np.ones(9), np.arange(1.0, 10.0), coverage=0.9))), 6)
    9.0
    """
    residuals = np.sort(np.abs(np.log(measured / predicted)))
    rank = int(np.ceil((len(measured) + 1) * coverage))
    return float(residuals[min(rank, len(measured)) - 1])
