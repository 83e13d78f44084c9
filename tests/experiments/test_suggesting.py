"""Searches without a sweep: `suggest`, `observe`, and the page of the guide that shows them."""

import math
import re
from pathlib import Path

import pytest
from toy_problem import OBJECTIVES, architectures, evaluation, small_space, tiny_space

from experiments.errors import InputError
from experiments.evaluation import evaluated
from experiments.searchers import SpaceExhaustedError, get_searcher, searcher_names

PAGE = Path(__file__).parents[2] / "docs" / "searching.md"
SPACE = small_space()


def test_the_page_of_the_guide_runs_as_it_stands():
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    names = {}
    exec(code, names)
    assert names["searcher"].suggest(1)
    found = names["counted_costs"](names["architectures"], names["scale"])
    assert max(found["macs"]) <= names["limits"]["macs"]


def test_the_page_lists_every_searcher():
    table = PAGE.read_text("utf-8")
    assert [name for name in searcher_names() if f"`{name}`" not in table] == []


@pytest.mark.parametrize("name", searcher_names())
def test_what_is_suggested_together_is_distinct_and_observed_in_any_order(name):
    searcher = get_searcher(name, SPACE, objectives=OBJECTIVES, seed=0, population=4)
    seen = []
    while len(seen) < 20:
        suggested = searcher.suggest(3)
        assert 1 <= len(suggested) <= 3
        seen += suggested
        searcher.observe(evaluation(i, x, space=SPACE) for i, x in enumerate(suggested[::-1]))
    assert len(set(seen)) == len(seen)


def test_a_generation_is_suggested_to_its_end_and_no_further():
    searcher = get_searcher("nsga2", SPACE, objectives=OBJECTIVES, seed=0, population=4)
    assert [len(searcher.suggest(3)) for _ in range(3)] == [3, 1, 0]


def test_a_space_is_suggested_to_its_end_and_then_it_says_so():
    searcher = get_searcher("random", tiny_space(), objectives=OBJECTIVES, seed=0)
    assert [len(searcher.suggest(6)) for _ in range(2)] == [6, 2]
    with pytest.raises(SpaceExhaustedError, match="all 8 architectures"):
        searcher.suggest(1)


def test_a_number_below_one_is_refused():
    with pytest.raises(InputError, match="1 or more, got 0"):
        get_searcher("random", SPACE, objectives=OBJECTIVES, seed=0).suggest(0)


def test_outcomes_that_lack_an_objective_are_refused_all_together():
    searcher = get_searcher("random", SPACE, objectives=OBJECTIVES, seed=0)
    one, other = searcher.suggest(2)
    wrong = evaluated(other, {"macs": 3.0})
    with pytest.raises(InputError, match=rf"the outcome of {other.digest} has no denoising_loss, .* it has macs"):
        searcher.observe([evaluated(one, {"denoising_loss": 0.5, "macs": 3.0}), wrong])
    searcher.observe([evaluated(one, {"denoising_loss": 0.5, "macs": 3.0})])


def test_plain_numbers_make_an_outcome():
    (architecture,) = architectures(1)
    done = evaluated(architecture, {"denoising_loss": 0.5, "macs": 3.0}, limits={"macs": 3.0, "latency_ms": 1.0})
    assert (done.status, done.reason, done.digest) == ("done", None, architecture.digest)
    assert done.objectives["macs"].value == 3.0
    failed = evaluated(architecture, {"denoising_loss": math.nan, "macs": 9.0}, limits={"macs": 3.0})
    assert (failed.status, failed.reason, set(failed.objectives)) == ("failed", "denoising_loss is nan", {"macs"})
    infeasible = evaluated(architecture, {"macs": 9.0}, limits={"macs": 3.0})
    assert (infeasible.status, infeasible.reason) == ("infeasible", "macs is 9 MACs, the limit is 3")
