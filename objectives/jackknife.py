"""The delete-a-block jackknife: how uncertain, and how biased, a statistic of samples is.

Samples are cut into blocks in the order in which they stand, and each block is left out in turn. Leaving a block out
makes n smaller by a known factor, so the jackknife's bias is the linear extrapolation in 1/n from two sizes to
infinitely many samples.

Source: Quenouille 1956; Efron and Stein 1981; Kunsch 1989 for blocks.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from scipy import stats

from objectives.estimate import Estimate

# What is kept of an array of samples: all of it, or all but one block.
Keep = Callable[[np.ndarray], np.ndarray]


def jackknife(statistic: Callable[[Keep], float], *, n: int, num_blocks: int, removes_bias: bool = False) -> Estimate:
    """A statistic with its 95 % interval.

    >>> values = np.arange(6.0)
    >>> jackknife(lambda keep: float(keep(values).mean()), n=6, num_blocks=3).value
    2.5

    Args:
      statistic: Computed from what `keep` leaves of each of its arrays of samples; arrays that samples are drawn from
        together lose the same block together.
      n: The number of samples, for the record.
      num_blocks: How many blocks are left out in turn.
      removes_bias: Whether the value is extrapolated to infinitely many samples.
    """
    whole = statistic(lambda values: values)
    without = np.array([statistic(lambda values, i=i: _without(values, i, num_blocks)) for i in range(num_blocks)])
    return jackknife_estimate(whole, without, n=n, removes_bias=removes_bias)


def jackknife_estimate(whole: float, without: Float[np.ndarray, " blocks"], *, n: int, removes_bias: bool = False) -> Estimate:
    """The same from the statistic of all samples, and of all but each block."""
    last = len(without) - 1
    value = whole - last * (without.mean() - whole) if removes_bias else whole
    error = np.sqrt(last * np.mean((without - without.mean()) ** 2))
    half = stats.t.ppf(0.975, last) * error
    return Estimate(value, value - half, value + half, n)


def _without(values: np.ndarray, block: int, num_blocks: int) -> np.ndarray:
    return np.delete(values, np.array_split(np.arange(len(values)), num_blocks)[block], axis=0)
