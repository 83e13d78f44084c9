"""A score fitted on anchors: how good a network will be once trained alone, told from proxies of it.

A few architectures (the anchors) are trained alone. Bayesian ridge regression of the logarithm of their truth on standardised
proxies then tells that of any other, with an interval; it shrinks towards the anchors' mean where proxies say little.

Source: MacKay 1992 (evidence for the strength of the ridge).
"""

import dataclasses
from functools import cached_property

import numpy as np
from jaxtyping import Float
from scipy import stats
from sklearn.linear_model import BayesianRidge

from objectives.estimate import Estimate

MIN_ANCHORS = 6
_NUM_RESAMPLES, _SURE = 1000, 0.95


@dataclasses.dataclass(frozen=True, eq=False)
class AnchoredScore:
    """The regression; it is fitted again wherever it is built, from the numbers that it keeps.

    Attributes:
        names: of the proxies.
        proxies: of the anchors.
        truths: of the anchors, positive, a column for each seed.
    """

    names: tuple[str, ...]
    proxies: Float[np.ndarray, "anchors proxies"]
    truths: Float[np.ndarray, "anchors seeds"]

    def __post_init__(self) -> None:
        """Refuses what cannot be fitted."""
        if len(self.proxies) < MIN_ANCHORS or self.proxies.shape != (len(self.truths), len(self.names)):
            raise ValueError(
                f"a score needs at least {MIN_ANCHORS} anchors, each with {len(self.names)} proxies and a truth, got proxies "
                f"of shape {self.proxies.shape} and truths of shape {self.truths.shape}; train more anchors"
            )
        if not (np.isfinite(self.proxies).all() and np.isfinite(self.truths).all() and (self.truths > 0).all()):
            raise ValueError("proxies must be finite and truths positive; leave out anchors that diverged")

    def __call__(self, proxies: Float[np.ndarray, " proxies"]) -> Estimate:
        """What the truth of a network with these proxies will be, with its 95 % interval for the mean over seeds."""
        value, deviation = self._fitted.predict(self._standardised(proxies[None]), return_std=True)
        half = stats.t.ppf(0.975, len(self.proxies) - 1) * deviation[0]
        low, middle, high = np.exp([value[0] - half, value[0], value[0] + half])
        return Estimate(middle, low, high, len(self.proxies))

    def left_out(self) -> Float[np.ndarray, " anchors"]:
        """What each anchor is told to be by a score fitted on all the others.

        Raises:
            ValueError: the others are fewer than a score needs.
        """
        keep = ~np.eye(len(self.proxies), dtype=bool)
        told = [
            dataclasses.replace(self, proxies=self.proxies[row], truths=self.truths[row])(own).value
            for row, own in zip(keep, self.proxies, strict=True)
        ]
        return np.array(told)

    @cached_property
    def _fitted(self) -> BayesianRidge:
        return BayesianRidge().fit(self._standardised(self.proxies), np.log(self.truths.mean(axis=1)))

    def _standardised(self, proxies: Float[np.ndarray, "n proxies"]) -> Float[np.ndarray, "n proxies"]:
        deviation = self.proxies.std(axis=0)
        return (proxies - self.proxies.mean(axis=0)) / np.where(deviation > 0, deviation, 1.0)


def best_band(
    losses: Float[np.ndarray, "anchors levels"],
    truths: Float[np.ndarray, " anchors"],
    *,
    num_levels: int,
    usual: int,
) -> int:
    """The first of so many neighbouring noise levels whose mean loss ranks the anchors best.

    A dozen anchors rank by many bands about equally well by chance. Another band takes the place of the usual one only where it
    ranks better in 95 % of bootstrap resamples of the anchors.

    Args:
        losses: mean loss of each anchor at each level.
        truths: of the anchors, the smaller the better.
        num_levels: that are taken together.
        usual: the first level where nothing speaks for another.
    """
    firsts = np.arange(losses.shape[1] - num_levels + 1)
    means = np.stack([losses[:, first : first + num_levels].mean(axis=1) for first in firsts], axis=1)
    truth_signs = np.sign(truths[:, None] - truths[None])
    agreements = np.sign(means[:, None] - means[None]) * truth_signs[..., None]  # [anchors, anchors, bands]
    drawn = np.random.default_rng(0).integers(0, len(truths), (_NUM_RESAMPLES, len(truths)))
    draws = np.stack([np.bincount(row, minlength=len(truths)) for row in drawn])
    resampled = np.einsum("ri,rj,ijb->rb", draws, draws, agreements, optimize=True)
    is_surely_better = (resampled > resampled[:, [usual]]).mean(axis=0) >= _SURE
    total = np.where(is_surely_better, agreements.sum(axis=(0, 1)), -np.inf)
    return int(total.argmax()) if is_surely_better.any() else usual
