import dataclasses
import functools
import math
import time

import pytest
from toy_problem import OBJECTIVES, costs, evaluation, quality, small_space, swept, tiny_space

from experiments.errors import InputError
from experiments.front import front_of
from experiments.ledger import Ledger
from experiments.ledger_contents import read_ledger
from experiments.searchers import get_searcher
from experiments.sweep import Workers, run_search
from objectives import Estimate

SPACE = small_space()
HEADER = {"space": "small", "fingerprint": "f"}


def sweep(path, num=20, *, name="nsga2", evaluator=None, space=SPACE, **settings):
    return swept(
        path,
        num,
        name=name,
        space=space,
        header=HEADER,
        evaluator_factory=lambda: evaluator or functools.partial(quality, space=space),
        **({"executor": "local"} | settings),
    )


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.jsonl"


def without_times(contents):
    return [(type(event), event.index, event.architecture, getattr(event, "objectives", None)) for event in contents.events]


def test_it_evaluates_as_many_as_asked_for_and_records_all(path):
    state = sweep(path, 20)
    assert (state.num_done, state.num_failed, state.num_infeasible, state.stopped) == (20, 0, 0, None)
    contents = read_ledger(path)
    assert [x.index for x in contents.evaluations] == list(range(20))
    assert all(set(x.objectives) == {"denoising_loss", "macs"} for x in contents.evaluations)
    assert all(x.seconds >= 0 for x in contents.evaluations)


@pytest.mark.parametrize("name", ["random", "nsga2", "motpe"])
def test_in_two_parts_it_does_what_it_does_in_one(tmp_path, name):
    sweep(tmp_path / "one", 14, name=name)
    sweep(tmp_path / "two", 5, name=name)
    sweep(tmp_path / "two", 14, name=name)
    one, two = (read_ledger(tmp_path / part) for part in ("one", "two"))
    assert without_times(one) == without_times(two)


def test_once_it_is_over_the_same_call_does_nothing(path):
    sweep(path, 6)
    before = path.read_bytes()
    state = sweep(path, 6, evaluator=lambda architecture: pytest.fail("evaluated again"))
    assert state.num_done == 6
    assert path.read_bytes() == before


def test_what_was_in_flight_is_evaluated_first(path):
    def killed(architecture):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep(path, 5, evaluator=killed)
    (in_flight,) = read_ledger(path).in_flight
    seen = []
    sweep(path, 5, evaluator=lambda architecture: seen.append(architecture) or quality(architecture, SPACE))
    assert seen[0] == in_flight.architecture
    assert len(set(seen)) == 5


def test_a_broken_limit_costs_no_evaluation_and_is_not_counted(path):
    evaluated = []
    state = sweep(
        path,
        12,
        name="random",
        limits={"macs": 0.5},
        evaluator=lambda architecture: evaluated.append(architecture) or quality(architecture, SPACE),
    )
    infeasible = [x for x in read_ledger(path).evaluations if x.status == "infeasible"]
    assert state.num_done == len(evaluated) == 12
    assert len(infeasible) == state.num_infeasible > 0
    assert all(set(x.objectives) == {"macs"} and x.objectives["macs"].value > 0.5 for x in infeasible)
    assert infeasible[0].reason.startswith("macs is 0.")
    assert "the limit is 0.5" in infeasible[0].reason


def test_limits_that_nothing_keeps_end_the_sweep(path):
    state = sweep(path, 1, name="random", limits={"macs": 1e-6}, evaluator=lambda architecture: pytest.fail("evaluated"))
    assert state.num_done == 0
    assert state.num_infeasible == 1020
    assert "broke the limits" in state.stopped
    assert "loosen the limits" in state.stopped


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ({"denoising_loss": Estimate(math.nan)}, "denoising_loss is nan"),
        ({"denoising_loss": Estimate(math.inf)}, "denoising_loss is inf"),
        ({}, "the evaluator gave no denoising_loss"),
        (ValueError("diverged"), r"ValueError: diverged (evaluator, line"),
    ],
)
def test_a_failure_has_its_reason_and_is_never_on_the_front(path, bad, reason):
    calls = []

    def evaluator(architecture):
        calls.append(architecture)
        if len(calls) % 2:
            return quality(architecture, SPACE)
        if isinstance(bad, Exception):
            raise bad
        return bad

    state = sweep(path, 10, evaluator=evaluator)
    evaluations = read_ledger(path).evaluations
    failed = [x for x in evaluations if x.status == "failed"]
    assert (state.num_done, state.num_failed, len(failed)) == (5, 5, 5)
    assert all(x.reason.startswith(reason) for x in failed)
    front = front_of(evaluations, OBJECTIVES)
    assert front
    assert all(x.status == "done" for x in front)


def test_costs_that_fail_are_a_failure_too(path):
    def cost(architecture):
        raise RuntimeError("no such kernel")

    state = sweep(path, 3, cost=cost)
    assert state.num_failed == 3
    assert "RuntimeError: no such kernel" in state.last.reason


def test_ten_failures_in_a_row_end_the_sweep(path):
    def evaluator(architecture):
        raise MemoryError("out of memory")

    state = sweep(path, 50, evaluator=evaluator)
    assert state.num_failed == 10
    assert state.stopped.startswith("the last 10 evaluations failed, the newest one: MemoryError: out of memory")


def test_an_exhausted_space_ends_the_sweep(path):
    state = sweep(path, 50, space=tiny_space())
    assert state.num_done == 8
    assert state.stopped == "all 8 architectures of space 'tiny' were asked for"


def test_an_evaluator_that_cannot_be_built_is_an_error_not_an_outcome(path):
    def factory():
        raise RuntimeError("no weights")

    with pytest.raises(RuntimeError, match="no weights"):
        swept(path, 3, space=SPACE, header=HEADER, evaluator_factory=factory, executor="local")
    assert read_ledger(path).evaluations == ()


def test_progress_is_told_after_every_outcome(path):
    states = []
    sweep(path, 4, progress=states.append)
    assert [state.num_done for state in states] == [0, 1, 2, 3, 4]
    assert states[0].last is None
    assert states[-1].last.index == 3


def test_another_search_cannot_go_on_with_a_ledger(path):
    sweep(path, 6, name="nsga2")
    with pytest.raises(InputError, match="its name, its settings, the seed or the version"):
        sweep(path, 12, name="random")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"executor": "cloud"}, "executor must be 'ray' or 'local', got 'cloud'"),
        ({"num": 0}, "num_evaluations and workers must be 1 or more, got 0 and 1"),
        ({"workers": Workers(0)}, "got 20 and 0"),
        ({"num": None}, "neither num_evaluations nor seconds is given"),
    ],
)
def test_refusals(path, settings, told):
    with pytest.raises(InputError, match=told):
        sweep(path, **settings)


def test_a_searcher_of_another_space_is_refused(path):
    with Ledger.open(path, header=HEADER) as ledger, pytest.raises(InputError, match="searches space 'tiny'"):
        run_search(
            space=SPACE,
            searcher=get_searcher("random", tiny_space(), objectives=OBJECTIVES, seed=0),
            ledger=ledger,
            evaluator_factory=lambda: quality,
            costs=costs,
            limits={},
            objectives=OBJECTIVES,
            fingerprint="f",
            num_evaluations=1,
            executor="local",
        )


def test_recorded_numbers_are_what_the_evaluator_said(path):
    sweep(path, 5)
    for found in read_ledger(path).evaluations:
        assert found.objectives == evaluation(found.index, found.architecture, space=SPACE).objectives


def test_time_ends_a_sweep_and_what_earlier_runs_spent_counts(path):
    def takes_a_moment(architecture):
        time.sleep(0.02)
        return quality(architecture, space=SPACE)

    first = sweep(path, None, evaluator=takes_a_moment, seconds=0.1)
    assert first.seconds >= 0.1
    assert 1 <= first.num_done <= 5
    assert sweep(path, None, evaluator=takes_a_moment, seconds=0.1) == dataclasses.replace(first, last=None)
    more = sweep(path, None, evaluator=takes_a_moment, seconds=0.2)
    assert more.seconds >= 0.2
    assert first.num_done < more.num_done <= 10
    assert sweep(path, more.num_done + 1, evaluator=takes_a_moment, seconds=100).num_done == more.num_done + 1
