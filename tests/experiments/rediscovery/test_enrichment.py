"""Enrichment against counts whose exact answers are known, and random designs within a band."""

import math

import numpy as np
import pytest

from experiments.rediscovery.enrichment import enrichments, holm, random_designs
from experiments.rediscovery.traits import TRAITS, Trait
from objectives.cost import counted_costs
from search_space import get_design, get_scale, get_space

WIDE = Trait("wide", "", lambda x: x.levels[0].width == 3, given=lambda x: x)
SPACE, SCALE = get_space("digits"), get_scale("digits-deploy")


def drawn(*, num_wide, num_narrow):
    rng, found = np.random.default_rng(0), {True: [], False: []}
    while len(found[True]) < num_wide or len(found[False]) < num_narrow:
        architecture = SPACE.sample(rng)
        found[bool(WIDE.of(architecture))].append(architecture)
    return found[True][:num_wide] + found[False][:num_narrow]


def test_the_test_is_fishers():
    """The lady tasting tea: 3 of 4 against 1 of 4, p = 17/70 to either side."""
    [found] = enrichments(drawn(num_wide=3, num_narrow=1), drawn(num_wide=1, num_narrow=3), [WIDE])
    assert (found.found, found.random) == ((3, 4), (1, 4))
    assert found.p_value == found.adjusted == pytest.approx(2 * 17 / 70)
    assert found.odds_ratio == pytest.approx(6.408, abs=1e-3)
    ways = np.array([1, 16, 36, 16, 1])  # to have 0 to 4 wide ones of 4
    low, high = (ways * ratio ** np.arange(5.0) for ratio in (found.low, found.high))
    assert (low[3:].sum() / low.sum(), high[:4].sum() / high.sum()) == pytest.approx((0.025, 0.025))


def test_what_all_have_on_one_side_has_an_interval_that_is_open():
    [found] = enrichments(drawn(num_wide=4, num_narrow=0), drawn(num_wide=2, num_narrow=4), [WIDE])
    assert math.isinf(found.odds_ratio)
    assert math.isinf(found.high)
    assert 0 < found.low < math.inf


def test_designs_of_which_it_cannot_be_said_are_not_asked():
    unsaid = Trait("unsaid", "", lambda _: None, given=lambda x: x)
    [found] = enrichments(drawn(num_wide=1, num_narrow=1), drawn(num_wide=1, num_narrow=1), [unsaid])
    assert (found.found, found.random) == ((0, 0), (0, 0))
    assert math.isnan(found.odds_ratio)
    assert found.p_value == 1.0


def test_a_trait_that_is_rarer_is_as_sure_as_one_that_is_more_frequent():
    [often] = enrichments(drawn(num_wide=8, num_narrow=1), drawn(num_wide=1, num_narrow=8), [WIDE])
    [rarely] = enrichments(drawn(num_wide=1, num_narrow=8), drawn(num_wide=8, num_narrow=1), [WIDE])
    assert often.p_value == pytest.approx(rarely.p_value)
    assert rarely.p_value < 0.01
    assert rarely.odds_ratio == pytest.approx(1 / often.odds_ratio, rel=1e-3)


def test_p_values_are_adjusted_for_being_many():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]


def test_random_designs_lie_in_their_bands_and_keep_the_limits():
    costs = lambda architectures: counted_costs(architectures, SCALE)  # noqa: E731
    ends = costs([SPACE.smallest(), SPACE.largest()])
    middle = math.sqrt(math.prod(ends["macs"]))
    limits = {"parameters": float(np.median(costs(drawn(num_wide=20, num_narrow=20))["parameters"]))}
    bands = [("macs", middle, 2 * middle), ("macs", middle / 2, middle)]
    both = random_designs(SPACE, costs, num=30, seed=1, bands=bands, limits=limits)
    for found, (_, least, most) in zip(both, bands, strict=True):
        columns = costs(found)
        assert len({x.digest for x in found}) == 30
        assert ((columns["macs"] >= least) & (columns["macs"] <= most)).all()
        assert (columns["parameters"] <= limits["parameters"]).all()
    for found, band in zip(both, bands, strict=True):
        assert random_designs(SPACE, costs, num=30, seed=1, bands=[band], limits=limits) == [found]


def test_a_band_in_which_there_is_nothing_is_refused(monkeypatch):
    monkeypatch.setattr("experiments.rediscovery.enrichment._MOST_DRAWS", 2)
    costs = lambda architectures: counted_costs(architectures, SCALE)  # noqa: E731
    with pytest.raises(ValueError, match=r"2,000 random architectures of space 'digits' hold 0 with macs .* widen the band"):
        random_designs(SPACE, costs, num=3, seed=0, bands=[("macs", 1.0, 2.0)], limits={})


def test_nothing_to_compare_is_refused():
    with pytest.raises(ValueError, match="got 0 of a front"):
        enrichments([], [get_design("sd15").architecture], TRAITS)
