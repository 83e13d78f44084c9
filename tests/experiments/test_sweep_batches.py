"""Batches: what a search finds depends on neither the order in which outcomes come nor on kills."""

import functools
import random

import pytest
from toy_problem import OBJECTIVES, architectures, columns, costs, evaluation, point, quality, small_space

from experiments.front import front_of
from experiments.ledger import Ledger
from experiments.ledger_contents import read_ledger
from experiments.records import Asked
from experiments.searchers import get_searcher, searcher_names
from experiments.sweep_session import Outcome, SweepSession

SPACE = small_space()
HEADER = {"space": "small", "objectives": [objective.name for objective in OBJECTIVES]}
LIMITS = {"macs": 0.6}
NUM, BATCH = 24, 5


class Killed(Exception):
    pass


def run(path, name, seed, *, num_workers=3, kill_after=None, starts=(0, 0)):
    """A sweep whose outcomes come in a seeded random order, killed after so many lines of the ledger.

    It starts from so many designs, and with so many outcomes of an earlier one.
    """
    num_designs, num_outcomes = starts
    known = architectures(num_designs + num_outcomes, space=SPACE)
    rng = random.Random(seed)
    with Ledger.open(path, header=HEADER) as ledger:
        append, written = ledger._append, 0

        def counted(event):
            nonlocal written
            append(event)
            written += 1
            if written == kill_after:
                raise Killed

        ledger._append = counted
        session = SweepSession(
            searcher=get_searcher(
                name, SPACE, objectives=OBJECTIVES, seed=0, limits=LIMITS, population=6, batch=BATCH,
                costs=functools.partial(columns, space=SPACE),
            ),
            ledger=ledger, costs=functools.partial(costs, space=SPACE), limits=LIMITS, objectives=OBJECTIVES, fingerprint="f",
            num_evaluations=NUM, seconds=float("inf"), progress=None, designs=known[:num_designs],
            outcomes=[evaluation(i, x, space=SPACE) for i, x in enumerate(known[num_designs:])],
        )  # fmt: skip
        out = []
        while session.has_work or out:
            while len(out) < num_workers and (asked := session.next()) is not None:
                out.append(asked)
            asked = out.pop(rng.randrange(len(out)))
            session.finish(asked.index, outcome(asked.architecture))


def outcome(architecture):
    if int(architecture.digest, 16) % 11 == 0:
        return Outcome({}, "diverged", 0.1)
    return Outcome(quality(architecture, SPACE), None, 0.1)


def asked(path):
    return [(x.index, x.architecture.digest) for x in read_ledger(path).asked]


def outcomes(path):
    return {x.index: (x.digest, x.status, x.objectives) for x in read_ledger(path).evaluations}


@pytest.mark.parametrize("name", searcher_names())
def test_the_order_of_outcomes_and_the_number_of_workers_do_not_matter(tmp_path, name):
    run(tmp_path / "one.jsonl", name, 0, num_workers=1)
    for seed, num_workers in ((1, 2), (2, 5), (3, 8)):
        path = tmp_path / f"{seed}.jsonl"
        run(path, name, seed, num_workers=num_workers)
        assert asked(path) == asked(tmp_path / "one.jsonl")
        assert outcomes(path) == outcomes(tmp_path / "one.jsonl")


@pytest.mark.parametrize("name", ["random", "nsga2", "motpe", "pocket"])
def test_killed_after_any_line_it_ends_with_the_front_of_the_uninterrupted_run(tmp_path, name):
    run(tmp_path / "whole.jsonl", name, 0)
    whole = read_ledger(tmp_path / "whole.jsonl")
    rng = random.Random(0)
    for kill_after in rng.sample(range(1, len(whole.events)), 20):
        path = tmp_path / f"{kill_after}.jsonl"
        with pytest.raises(Killed):
            run(path, name, kill_after, kill_after=kill_after)
        run(path, name, kill_after + 1)
        assert asked(path) == asked(tmp_path / "whole.jsonl"), kill_after
        assert outcomes(path) == outcomes(tmp_path / "whole.jsonl"), kill_after
        fronts = [front_of(contents.evaluations, OBJECTIVES) for contents in (read_ledger(path), whole)]
        assert {x.digest for x in fronts[0]} == {x.digest for x in fronts[1]}


@pytest.mark.parametrize("starts", [(16, 0), (3, 7)])
def test_killed_while_a_batch_is_asked_for_it_is_filled_whatever_the_search_started_from(tmp_path, starts):
    run(tmp_path / "whole.jsonl", "random", 0, starts=starts)
    for kill_after in (6, 12, 18, 19, 22, 27):
        path = tmp_path / f"{kill_after}.jsonl"
        with pytest.raises(Killed):
            run(path, "random", kill_after, kill_after=kill_after, starts=starts)
        run(path, "random", kill_after + 1, starts=starts)
        assert batches(path) == batches(tmp_path / "whole.jsonl"), kill_after


def batches(path):
    """What was evaluated together: a batch begins when nothing else is in flight."""
    contents, found, in_flight = read_ledger(path), [], set()
    outcomes = {event.index: event.status for event in contents.evaluations}
    for event in contents.events:
        if not isinstance(event, Asked):
            in_flight.discard(event.index)
        elif event.origin != "ledger" and outcomes[event.index] != "infeasible":
            found += [] if in_flight else [[]]
            found[-1].append(event.index)
            in_flight.add(event.index)
    return found


def test_a_batch_is_whole_before_the_next_one_begins(tmp_path):
    run(tmp_path / "ledger.jsonl", "random", 0)
    waiting = 0
    for event in read_ledger(tmp_path / "ledger.jsonl").events:
        if type(event).__name__ == "Asked":
            waiting += point(event.architecture, SPACE)[1] <= LIMITS["macs"]
            assert waiting <= BATCH
        elif event.status != "infeasible":
            waiting -= 1
    assert waiting == 0


def test_told_in_any_order_a_batch_is_learnt_in_the_order_of_its_asks():
    """Outside a sweep, too."""
    found = []
    for order in ((0, 1, 2), (2, 0, 1)):
        searcher = get_searcher("pocket", SPACE, objectives=OBJECTIVES, seed=0, population=2, batch=3)
        for _ in range(3):
            suggested = searcher.suggest(3)
            outcomes = [evaluation(0, x, space=SPACE) for x in suggested]  # `evaluated` gives no index either
            searcher.observe(outcomes[i] for i in order)
        found.append(searcher.suggest(3))
    assert found[0] == found[1]
