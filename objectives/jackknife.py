"""The delete-a-block jackknife: how uncertain, and how biased, a statistic of samples is.

Samples are cut into blocks in the order in which they stand, and each block is left out in turn. Leaving a block out
makes n smaller by a known factor, so the jackknife's bias is the linear extrapolation in 1/n from two sizes to
infinitely many samples.

Source: Quenouille 1956; Efron and Stein 1981; Kunsch 1989 for blocks.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from scipy import stats

from objectives.estimate import Estimate

# What is kept of an array of samples: all of it, or all but one block.
Keep = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class Jackknifed:
    """A statistic of samples, and of all but each block of them.

    The difference of two on samples that were drawn in pairs, block by block, has the interval of the difference.

    Attributes:
      whole: Of all samples.
      without: [blocks], of all but each block.
      n: The number of samples.
      fingerprint: How it was measured, where that is known; what was measured otherwise is no number to compare it with.
    """

    whole: float
    without: Float[np.ndarray, " blocks"]
    n: int
    fingerprint: str = ""

    def __sub__(self, other: "Jackknifed") -> "Jackknifed":
        """The difference of two statistics of samples that were drawn in pairs.

        Raises:
          ValueError: They were measured otherwise, or are of another number of samples or blocks.
        """
        if self.fingerprint != other.fingerprint:
            raise ValueError(
                f"numbers of different fingerprints are never compared, got {self.fingerprint or 'none'} (n = {self.n}) and "
                f"{other.fingerprint or 'none'} (n = {other.n}); measure both in the features of one extractor, at one n"
            )
        if (self.n, len(self.without)) != (other.n, len(other.without)):
            raise ValueError(
                f"paired samples must be equally many, got {self.n} in {len(self.without)} blocks and {other.n} in "
                f"{len(other.without)}; measure both with one n"
            )
        return dataclasses.replace(self, whole=self.whole - other.whole, without=self.without - other.without)

    def estimate(self, *, extrapolates: bool = False) -> Estimate:
        """With its 95 % interval; on request, extrapolated to infinitely many samples. NaN where it is not finite."""
        last = len(self.without) - 1
        mean = self.without.mean()
        value = self.whole - last * (mean - self.whole) if extrapolates else self.whole
        half = stats.t.ppf(0.975, last) * np.sqrt(last * np.mean((self.without - mean) ** 2))
        if not np.isfinite([value, half]).all():
            return Estimate(float("nan"), n=self.n)
        return Estimate(value, value - half, value + half, self.n)


def jackknife(statistic: Callable[[Keep], float], *, n: int, num_blocks: int) -> Jackknifed:
    """Computes a statistic of all samples, and of all but each block.

    >>> values = np.arange(6.0)
    >>> jackknife(lambda keep: float(keep(values).mean()), n=6, num_blocks=3).estimate().value
    2.5

    Args:
      statistic: Computed from what `keep` leaves of each of its arrays of samples; arrays that samples are drawn from
        together lose the same block together.
      n: The number of samples, for the record.
      num_blocks: How many blocks are left out in turn.
    """
    without = [statistic(lambda values, i=i: _without(values, i, num_blocks)) for i in range(num_blocks)]
    return Jackknifed(statistic(lambda values: values), np.array(without), n)


def _without(values: np.ndarray, block: int, num_blocks: int) -> np.ndarray:
    return np.delete(values, np.array_split(np.arange(len(values)), num_blocks)[block], axis=0)
