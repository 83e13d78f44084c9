"""Rungs above the search: who is promoted, and that it is a function of the ledger alone."""

import dataclasses
import functools
import random

import numpy as np
import pytest
from toy_problem import OBJECTIVES, architectures, costs, evaluation, point, small_space, swept

from experiments.config import SweepConfig, changed_settings, load_config, planned_rungs
from experiments.errors import InputError
from experiments.ledger import Ledger
from experiments.ledger_check import check_ledger, quarantine
from experiments.ledger_contents import read_ledger
from experiments.ledger_export import table
from experiments.progress import silent_progress
from experiments.records import Rung
from experiments.rungs import levels, promoted, rungs_json, saved_share, top
from experiments.searching import judge_on_rungs
from experiments.sweep import run_search
from objectives import Estimate, get_objective

SPACE = small_space()
HEADER = {"space": "small", "fingerprint": "f", "objectives": [objective.name for objective in OBJECTIVES]}
NAMES = ("frechet_classifier", "macs")
RUNGS = (Rung("few", NAMES, 0.4, 64), Rung("many", NAMES, 0.5, 512))
NUM = 20


class Killed(Exception):
    pass


def factory(shift):
    """Evaluators whose distance is not quite in the order of the loss; one in seven diverges."""

    def judged(architecture):
        if int(architecture.digest, 16) % 7 == 0:
            raise ArithmeticError("diverged")
        loss = point(architecture, SPACE)[0] + shift * (int(architecture.digest[:4], 16) / 65536 - 0.5)
        return {"frechet_classifier": Estimate(loss, low=loss - 0.01, high=loss + 0.01, n=64)}

    return lambda: judged


def quality(architecture):
    return {"denoising_loss": Estimate(point(architecture, SPACE)[0], n=4)}


class Told:
    """Progress that keeps what it is told."""

    def __init__(self, said):
        self.say = said.append
        self.stage = silent_progress().stage


def run(path, *, rungs=RUNGS, num=NUM, kill_after=None, factories=None, said=None):
    """A search and its rungs; killed after so many lines of the ledger."""
    swept(path, num, space=SPACE, evaluator_factory=lambda: quality, header=HEADER, executor="local")
    with Ledger.open(path, header=HEADER) as ledger:
        append, written = ledger._append, 0

        def counted(event):
            nonlocal written
            if written == kill_after:
                raise Killed
            append(event)
            written += 1

        ledger._append = counted
        ledger.plan(rungs)
        evaluate = functools.partial(run_search, costs=functools.partial(costs, space=SPACE), limits={}, executor="local")
        factories = factories or [factory(0.1 / position) for position in range(1, len(rungs) + 1)]
        progress = silent_progress() if said is None else Told(said)
        judge_on_rungs(SPACE, ledger, OBJECTIVES, factories, evaluate=evaluate, progress=progress)
    return levels(read_ledger(path), OBJECTIVES)


def valued(index, loss, macs, half=0.0):
    found = evaluation(index, NETS[index])
    estimates = {"denoising_loss": Estimate(loss, low=loss - half, high=loss + half), "macs": Estimate.exact(macs)}
    return dataclasses.replace(found, objectives=estimates)


NETS = architectures(24)
PARETO = [valued(0, 1.0, 5.0), valued(1, 2.0, 2.0), valued(2, 5.0, 1.0)]


def test_the_front_is_promoted_before_what_it_dominates():
    behind = [valued(3, 1.1, 5.1), valued(4, 2.1, 2.1), valued(5, 6.0, 6.0)]
    best = promoted([*behind, *PARETO], OBJECTIVES, share=0.5)
    assert {x.index for x in best} == {0, 1, 2}
    assert [x.index for x in promoted([*behind, *PARETO], OBJECTIVES, share=1.0)][3:] == [3, 4, 5]


def test_what_may_be_on_the_front_is_promoted_before_what_cannot():
    """Point 4 is nearer to the front than 3, and is certainly behind it; 3 may be on it."""
    uncertain, certain = valued(3, 2.6, 2.5, half=0.7), valued(4, 2.1, 2.1)
    best = promoted([*PARETO, certain, uncertain], OBJECTIVES, share=0.8)
    assert {x.index for x in best} == {0, 1, 2, 3}


def test_no_objective_alone_decides():
    """The worst loss of all is promoted for its cost, before a better loss that something dominates."""
    best = promoted([*PARETO, valued(3, 2.5, 2.5)], OBJECTIVES, share=0.75)
    assert {x.index for x in best} == {0, 1, 2}


def test_promotion_does_not_depend_on_the_order_of_outcomes():
    rng = np.random.default_rng(0)
    done = [valued(i, *rng.random(2), half=0.1) for i in range(12)]
    expected = [x.index for x in promoted(done, OBJECTIVES, share=0.5)]
    for seed in range(10):
        shuffled = random.Random(seed).sample(done, len(done))
        assert [x.index for x in promoted(shuffled, OBJECTIVES, share=0.5)] == expected


def test_ties_are_not_broken_by_which_outcome_came_first():
    """Of equal parameters, as many architectures have, another would count as the neighbour each time."""
    rng = np.random.default_rng(1)
    objectives = (*OBJECTIVES, get_objective("parameters"))
    counts = [Estimate.exact(int(count)) for count in rng.integers(1, 4, size=24)]
    done = [valued(i, *rng.random(2)) for i in range(24)]
    done = [dataclasses.replace(x, objectives=x.objectives | {"parameters": n}) for x, n in zip(done, counts, strict=True)]
    expected = {x.index for x in promoted(done, objectives, share=0.2)}
    for seed in range(50):
        shuffled = random.Random(seed).sample(done, len(done))
        assert {x.index for x in promoted(shuffled, objectives, share=0.2)} == expected


@pytest.mark.parametrize(("share", "num"), [(0.25, 3), (0.26, 4), (1 / 12, 1), (5 / 12, 5), (7 / 12, 7), (11 / 12, 11)])
def test_a_share_is_rounded_up_but_not_by_rounding_errors(share, num):
    assert len(promoted([valued(i, i, -i) for i in range(12)], OBJECTIVES, share=share)) == num


def test_of_any_at_least_one_is_promoted():
    assert promoted([], OBJECTIVES, share=0.5) == []
    assert len(promoted(PARETO, OBJECTIVES, share=0.01)) == 1


def test_the_share_of_each_level_is_judged_on_the_next(tmp_path):
    search, few, many = run(tmp_path / "ledger.jsonl")
    assert (len(search.done), len(few.promoted)) == (NUM, 8)
    failed = {x.digest for x in few.contents.evaluations if x.status == "failed"}
    assert {x.digest for x in few.done} == {x.digest for x in few.promoted} - failed
    assert len(many.promoted) == -(-len(few.done) // 2)
    assert {x.digest for x in many.promoted} <= {x.digest for x in few.done}
    for level, fingerprint in ((search, "f"), (few, "few"), (many, "many")):
        assert {x.fingerprint for x in level.contents.evaluations} == {fingerprint}
        assert all(objective.name in x.objectives for x in level.done for objective in level.objectives)
    assert many.is_complete
    assert top((search, few, many)) is many


def test_killed_before_any_line_it_ends_as_if_it_had_not_been(tmp_path):
    def told(path):
        contents = read_ledger(path)
        asked = [(x.index, x.architecture.digest, x.rung) for x in contents.asked]
        return asked, [(x.index, x.status, x.objectives) for x in contents.evaluations]

    run(tmp_path / "whole.jsonl")
    num_lines = len(read_ledger(tmp_path / "whole.jsonl").events) - len(read_ledger(tmp_path / "whole.jsonl").at(None).events)
    for kill_after in range(num_lines):
        path = tmp_path / f"{kill_after}.jsonl"
        with pytest.raises(Killed):
            run(path, kill_after=kill_after)
        run(path)
        assert told(path) == told(tmp_path / "whole.jsonl"), kill_after


def test_nothing_is_judged_twice_when_the_search_goes_on(tmp_path):
    path = tmp_path / "ledger.jsonl"
    before = run(path)
    after = run(path, num=2 * NUM)
    assert len(after[1].promoted) == 16
    for level, earlier in zip(after, before, strict=True):
        digests = [x.digest for x in level.contents.evaluations]
        assert len(set(digests)) == len(digests)
        assert level.contents.evaluations[: len(earlier.contents.evaluations)] == earlier.contents.evaluations
        assert not level.left


def test_the_plan_may_change_between_runs(tmp_path):
    path = tmp_path / "ledger.jsonl"
    run(path, rungs=())
    assert [level.rung for level in levels(read_ledger(path), OBJECTIVES)] == [None]
    run(path, rungs=RUNGS[:1])
    wider = dataclasses.replace(RUNGS[0], share=0.8)
    levelled = run(path, rungs=(wider,))
    assert len(levelled[1].promoted) == 16
    assert not levelled[1].left
    num_lines = len(read_ledger(path).events)
    other = dataclasses.replace(RUNGS[0], fingerprint="others", num_samples=128)
    assert len(run(path, rungs=(other,))[1].contents.evaluations) == 8
    assert len(read_ledger(path).at("few").evaluations) == 16  # kept
    assert len(read_ledger(path).events) == num_lines + 1 + 16


def test_a_rung_that_stops_early_is_no_ground_for_the_next(tmp_path):
    """Out of memory, say: what is judged dearly must not depend on when that was."""
    broken, said = [], []

    def sometimes():
        def judged(architecture):
            broken.append(architecture)
            if len(broken) > 2:
                raise MemoryError
            return factory(0.1)()(architecture) if int(architecture.digest, 16) % 7 else quality(architecture)

        return judged

    path = tmp_path / "ledger.jsonl"
    found = run(path, num=2 * NUM, factories=[sometimes, factory(0.05)], said=said)
    assert found[1].left
    assert not found[2].contents.asked
    assert "rung 1 stopped early: the last 10 evaluations failed" in said[0]
    assert "the same command goes on" in said[0]
    again = run(path, num=2 * NUM)
    assert not again[1].left
    assert again[2].is_complete


def test_a_rung_on_which_all_fail_says_so_each_time(tmp_path):
    def fails():
        def judged(architecture):
            raise MemoryError("too many samples")

        return judged

    for _ in range(2):
        said: list[str] = []
        found = run(tmp_path / "ledger.jsonl", factories=[fails, factory(0.05)], said=said)
        assert top(found) is found[0]
        assert "rung 1: all failed, and the front stays that of the level below; the last: MemoryError: too many" in said[0]


def test_many_that_were_in_flight_and_a_repair_bring_in_no_stranger(tmp_path):
    path = tmp_path / "ledger.jsonl"
    everyone = (dataclasses.replace(RUNGS[0], share=1.0),)
    run(path, num=30, rungs=())
    with Ledger.open(path, header=HEADER) as ledger:
        ledger.plan(everyone)
        left = levels(ledger.contents, OBJECTIVES)[1].left
        for index, below in enumerate(left[:25], start=30):
            ledger.asked(index, below.architecture, rung="few")
    lines = path.read_bytes().splitlines(keepends=True)
    lines[1] = lines[1].replace(b'"num_blocks"', b'"num_blocxs"', 1)
    path.write_bytes(b"".join(lines))
    quarantine(path)
    found = run(path, num=30, rungs=everyone)
    judged = {x.digest for x in found[1].contents.evaluations}
    assert judged == {x.digest for x in found[1].promoted}
    assert judged == {x.digest for x in found[0].done}


def test_the_front_is_that_of_the_highest_rung_that_is_complete(tmp_path):
    with pytest.raises(Killed):
        run(tmp_path / "ledger.jsonl", kill_after=9)
    found = levels(read_ledger(tmp_path / "ledger.jsonl"), OBJECTIVES)
    assert 0 < len(found[1].left) < len(found[1].promoted)
    assert top(found) is found[0]
    assert rungs_json(found)[1]["num_left"] == len(found[1].left)


def test_the_search_knows_nothing_of_rungs(tmp_path):
    """Resumed, it asks for what it would have asked for without them, and its own limit of evaluations counts its own."""
    run(tmp_path / "rungs.jsonl", num=8)
    run(tmp_path / "rungs.jsonl", num=NUM)
    run(tmp_path / "none.jsonl", rungs=())
    search, alone = (read_ledger(tmp_path / name).at(None) for name in ("rungs.jsonl", "none.jsonl"))
    assert [x.architecture for x in search.asked] == [x.architecture for x in alone.asked]
    assert search.num_ended == NUM


def test_quarantined_lines_of_a_rung_are_judged_again(tmp_path):
    path = tmp_path / "ledger.jsonl"
    run(path)
    whole = levels(read_ledger(path), OBJECTIVES)
    lines = path.read_bytes().splitlines(keepends=True)
    damaged = [i for i, line in enumerate(lines) if b'"rung":"few"' in line][2]
    for number in (damaged, damaged + 3):  # an ask, and the outcome of the next one
        lines[number] = lines[number].replace(b'"num_blocks"', b'"num_blocxs"', 1)
    path.write_bytes(b"".join(lines))
    with pytest.raises(InputError, match=f":{damaged + 1}: the line is damaged"):
        read_ledger(path)
    assert len(quarantine(path).damaged) == 2
    assert not check_ledger(path).damaged
    again = run(path)
    for level, before in zip(again, whole, strict=True):
        assert {(x.digest, x.status) for x in level.contents.evaluations} == {
            (x.digest, x.status) for x in before.contents.evaluations
        }


def test_saved_time_is_told_once_the_last_rung_is_complete(tmp_path):
    path = tmp_path / "ledger.jsonl"
    assert saved_share(run(path, rungs=())) is None
    with Ledger.open(path, header=HEADER) as ledger:
        ledger.plan(RUNGS[:1])
        level = levels(ledger.contents, OBJECTIVES)[1]
        assert len(level.left) == 8
        for index, below in enumerate(level.left, start=NUM):
            assert saved_share(levels(ledger.contents, OBJECTIVES)) is None
            ledger.asked(index, below.architecture, rung="few")
            estimates = costs(below.architecture, SPACE) | {"frechet_classifier": Estimate(1.0)}
            ledger.record(dataclasses.replace(below, index=index, fingerprint="few", objectives=estimates, seconds=100.0))
        saved = saved_share(levels(ledger.contents, OBJECTIVES))
    assert saved == pytest.approx(1 - 8 / NUM, abs=1e-3)


def test_what_an_earlier_ledger_knew_saves_nothing(tmp_path):
    """Its outcomes took no time here, and would take none without rungs."""
    run(tmp_path / "earlier.jsonl", rungs=())
    known = read_ledger(tmp_path / "earlier.jsonl").evaluations
    path = tmp_path / "ledger.jsonl"
    swept(path, 1, space=SPACE, evaluator_factory=lambda: quality, header=HEADER, executor="local", outcomes=known)
    (search, few) = run(path, num=1, rungs=(dataclasses.replace(RUNGS[0], share=1.0),))
    assert (len(search.done), search.contents.num_taken_over) == (NUM + 1, NUM)
    assert saved_share([search, few]) < 0  # one was judged as the last rung does, and all the others beside it


def test_the_table_says_which_rung(tmp_path):
    run(tmp_path / "ledger.jsonl")
    contents = read_ledger(tmp_path / "ledger.jsonl")
    columns = table(contents, SPACE)
    counts = {position: columns["rung"].count(position) for position in (0, 1, 2)}
    assert counts == {i: len(contents.at(name).evaluations) for i, name in enumerate((None, "few", "many"))}


RUNG = "{num_samples: 64, share: 0.5}"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["rungs=[{num_samples: 39}]"], "rungs.0.num_samples"),
        (["rungs=[{num_samples: 64, share: 0}]"], "rungs.0.share"),
        (["rungs=[{num_samples: 64, share: 1.5}]"], "rungs.0.share"),
        (["rungs=[{num_samples: 64, objective: denoising_loss}]"], "rungs.0.objective"),
        (
            [f"rungs=[{RUNG}, {RUNG}]"],
            "each rung must draw more samples than what is below it, or train on for longer, got 64 and",
        ),
        (["objectives=[frechet_classifier, macs]", "rungs=[{num_samples: 64}]"], "got 512 and then 64"),
        (["objectives=[macs, latency_ms]", f"rungs=[{RUNG}]"], "no objective is a quality"),
    ],
)
def test_bad_rungs_are_refused(overrides, message):
    with pytest.raises(InputError, match=message):
        load_config("digits", overrides)


def config(*overrides) -> SweepConfig:
    return load_config("digits", list(overrides))


def test_a_rung_is_named_by_how_it_measures():
    plain, rungs = config(), config("rungs=[{num_samples: 64, share: 0.5}, {num_samples: 512}]")
    assert changed_settings(plain, rungs) == {}  # the search's own numbers are the same
    few, many = planned_rungs(rungs)
    assert few.objectives == ("frechet_classifier", "latency_ms")
    assert (few.share, many.share) == (0.5, 0.25)
    assert len({few.fingerprint, many.fingerprint}) == 2
    others = config("rungs=[{num_samples: 64, share: 0.1}, {num_samples: 512}]", "trials=7")
    assert [x.fingerprint for x in planned_rungs(others)] == [few.fingerprint, many.fingerprint]
    kid = config("rungs=[{num_samples: 64, objective: kid_classifier}]")
    steps = config("rungs=[{num_samples: 64}]", "quality.num_steps=9")
    assert few.fingerprint not in {planned_rungs(kid)[0].fingerprint, planned_rungs(steps)[0].fingerprint}
