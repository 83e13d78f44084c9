import numpy as np
import pytest
from toy_problem import point, small_space

from experiments.errors import InputError
from experiments.feasibility import feasibility, rendered

SPACE = small_space()


def cost(architectures):
    macs = np.array([point(architecture, SPACE)[1] for architecture in architectures])
    return {"macs": 1e6 * macs, "latency_ms": 10 * macs + 1}


def test_ranges_and_shares_are_those_of_the_sample():
    found = feasibility(SPACE, cost, limits={"latency_ms": 6.0}, num_samples=400, seed=3)
    macs, latency = found.ranges
    assert (macs.name, macs.limit, macs.excluded) == ("macs", None, None)
    rng = np.random.default_rng(3)
    sample = cost([SPACE.sample(rng) for _ in range(400)])
    assert latency.median == np.median(sample["latency_ms"])
    assert latency.excluded == np.mean(sample["latency_ms"] > 6.0)
    assert found.feasible == pytest.approx(1 - latency.excluded)
    assert macs.smallest == cost([SPACE.smallest()])["macs"][0]
    assert macs.largest == cost([SPACE.largest()])["macs"][0]
    assert macs.least <= macs.median <= macs.most


def test_it_follows_its_seed():
    one, same, other = (feasibility(SPACE, cost, limits={}, num_samples=50, seed=seed) for seed in (1, 1, 2))
    assert one == same
    assert one != other


def test_without_limits_all_is_feasible():
    assert feasibility(SPACE, cost, limits={}, num_samples=20).feasible == 1.0


def test_where_nothing_is_feasible_the_nearest_miss_is_told():
    with pytest.raises(InputError, match=r"no architecture of space 'small'.* has latency_ms 3.35 ms against 0.500 ms; loosen"):
        feasibility(SPACE, cost, limits={"latency_ms": 0.5}, num_samples=50)


def test_a_limit_on_what_is_not_computed_is_refused():
    with pytest.raises(InputError, match="no cost parameters is computed here, .* known are macs, latency_ms"):
        feasibility(SPACE, cost, limits={"parameters": 1.0}, num_samples=5)


def test_the_table_says_it_all():
    text = rendered(feasibility(SPACE, cost, limits={"latency_ms": 6.0}, num_samples=100))
    assert "Space 'small': 6,912 architectures, 100 looked at" in text
    latency, macs = (next(line for line in text.splitlines() if name in line) for name in ("latency_ms", "macs"))
    assert "6.00 ms" in latency
    assert " M" in macs
    assert "% of the sample keep all limits" in text
    assert max(map(len, text.splitlines())) <= 110
