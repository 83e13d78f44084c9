"""The score fitted on anchors: what it tells, how sure it is, and how it chooses noise levels."""

import numpy as np
import pytest

from objectives.anchored import AnchoredScore, best_band
from objectives.rank import kendall_tau

NAMES = ("loss", "macs", "noise")


def _made_up(num, *, seed, noise=0.05):
    """Truths that follow two of three proxies."""
    rng = np.random.default_rng(seed)
    proxies = rng.normal(size=(num, 3)) * [1.0, 3.0, 1.0] + [0.0, 15.0, 2.0]
    log_truth = 3 + 0.5 * proxies[:, 0] - 0.1 * (proxies[:, 1] - 15)
    return proxies, np.exp(log_truth[:, None] + noise * rng.normal(size=(num, 2)))


def test_it_ranks_others_by_what_the_anchors_taught():
    score = AnchoredScore(NAMES, *_made_up(12, seed=0))
    proxies, truths = _made_up(60, seed=1)
    told = [score(row) for row in proxies]
    assert kendall_tau(np.array([x.value for x in told]), truths.mean(axis=1)).value > 0.85
    assert all(x.low < x.value < x.high and x.n == 12 for x in told)


def test_its_interval_holds_the_truth_about_as_often_as_it_says():
    held = []
    for seed in range(40):
        score = AnchoredScore(NAMES, *_made_up(12, seed=seed, noise=0.3))
        proxies, truths = _made_up(20, seed=1000 + seed, noise=0.3)
        told = [score(row) for row in proxies]
        held += [x.low <= truth <= x.high for x, truth in zip(told, truths.mean(axis=1), strict=True)]
    # 800 trials, of which those of one fit belong together; far outside, the interval would be a wrong one.
    assert 0.88 < np.mean(held) < 0.995


def test_proxies_that_say_nothing_give_the_mean_with_a_wide_interval():
    rng = np.random.default_rng(3)
    score = AnchoredScore(("noise",), rng.normal(size=(12, 1)), np.exp(rng.normal(3, 0.4, size=(12, 1))))
    low, high = score(np.array([-1.0])), score(np.array([1.0]))
    assert abs(np.log(low.value / high.value)) < 0.3
    assert low.high / low.low > 3


def test_an_anchor_is_told_without_its_own_truth():
    proxies, truths = _made_up(10, seed=4)
    moved = truths.copy()
    moved[3] *= 5
    told, changed = (AnchoredScore(NAMES, proxies, of).left_out() for of in (truths, moved))
    assert told[3] == pytest.approx(changed[3])
    assert np.abs(np.log(told / changed))[:3].max() > 0.01


def test_a_constant_proxy_does_no_harm():
    proxies, truths = _made_up(10, seed=5)
    proxies[:, 2] = 1.0
    assert np.isfinite(AnchoredScore(NAMES, proxies, truths)(proxies[0]).value)


@pytest.mark.parametrize(
    ("proxies", "truths", "told"),
    [
        (np.zeros((5, 3)), np.ones((5, 1)), "at least 6 anchors, each with 3 proxies and a truth, got proxies of shape"),
        (np.zeros((8, 2)), np.ones((8, 1)), "train more anchors"),
        (np.zeros((8, 3)), np.zeros((8, 1)), "truths positive; leave out anchors that diverged"),
        (np.full((8, 3), np.nan), np.ones((8, 1)), "proxies must be finite"),
    ],
)
def test_what_cannot_be_fitted_is_refused(proxies, truths, told):
    with pytest.raises(ValueError, match=told):
        AnchoredScore(NAMES, proxies, truths)


def test_the_band_is_where_losses_rank_the_anchors():
    rng = np.random.default_rng(6)
    truths = rng.random(12)
    losses = rng.random((12, 20))
    losses[:, 6:9] = truths[:, None] + 0.01 * rng.random((12, 3))
    assert best_band(losses, truths, num_levels=3, usual=9) == 6
    slightly = losses.copy()
    slightly[:, 9:12] = truths[:, None]
    slightly[0, 9:12] = truths[1] + 1e-6
    assert best_band(slightly, truths, num_levels=3, usual=9) == 9  # one anchor out of place is no evidence
    equal = np.tile(truths[:, None], (1, 20))
    assert best_band(equal, truths, num_levels=3, usual=9) == 9
