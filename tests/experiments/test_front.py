import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_problem import OBJECTIVES, architectures, evaluation, point

from experiments.errors import InputError
from experiments.front import front_of, summary, write_front
from experiments.ledger_contents import LedgerContents
from experiments.records import Asked, evaluation_from_json
from objectives import Estimate

NETS = architectures(12)


def valued(index, loss, macs, *, status="done", fingerprint="f"):
    base = evaluation(index, NETS[index], status=status, fingerprint=fingerprint)
    return dataclasses.replace(base, objectives={"denoising_loss": Estimate(loss), "macs": Estimate(macs)})


def contents(*evaluations, header=None):
    events = [event for x in evaluations for event in (Asked(x.index, x.architecture), x)]
    return LedgerContents(header or {"objectives": ["denoising_loss", "macs"]}, tuple(events), torn=False)


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.sampled_from(["done", "failed", "infeasible"])), max_size=12)
)
def test_the_front_is_what_nothing_done_dominates(rows):
    evaluations = [valued(i, float(a), float(b), status=status) for i, (a, b, status) in enumerate(rows)]
    done = [(a, b, i) for i, (a, b, status) in enumerate(rows) if status == "done"]
    expected = {
        i for a, b, i in done if not any(c <= a and d <= b and (c, d) != (a, b) for c, d, _ in done)
    }  # fmt: skip
    front = front_of(evaluations, OBJECTIVES)
    assert {x.index for x in front} == expected
    assert [x.objectives["denoising_loss"].value for x in front] == sorted(x.objectives["denoising_loss"].value for x in front)
    assert {x.index for x in front_of(evaluations[::-1], OBJECTIVES)} == expected


def test_numbers_measured_in_different_ways_are_refused():
    with pytest.raises(InputError, match="never compared, got the fingerprints f, g"):
        front_of([valued(0, 1.0, 1.0), valued(1, 2.0, 2.0, fingerprint="g")], OBJECTIVES)


def test_an_objective_that_was_not_measured_is_named():
    only_cost = dataclasses.replace(evaluation(3, NETS[3]), objectives={"macs": Estimate(1.0)})
    with pytest.raises(InputError, match="evaluation 3 has no denoising_loss; compare what it has: macs"):
        front_of([only_cost], OBJECTIVES)


def test_the_summary_counts_and_is_strict_json():
    evaluations = [valued(0, 1.0, 4.0), valued(1, 3.0, 1.0), valued(2, 4.0, 4.0)]
    evaluations += [evaluation(3, NETS[3], status="failed"), evaluation(4, NETS[4], status="infeasible")]
    found = summary(contents(*evaluations))
    assert (found["num_done"], found["num_failed"], found["num_infeasible"], found["num_in_flight"]) == (3, 1, 1, 0)
    assert [evaluation_from_json(x) for x in found["front"]] == evaluations[:2]
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_the_hypervolume_is_a_share_of_the_box_to_the_stated_reference():
    found = summary(contents(valued(0, 1.0, 4.0), valued(1, 3.0, 1.0), valued(2, 2.0, 2.0)))["hypervolume"]
    assert found["reference"] == {"denoising_loss": pytest.approx(3.2), "macs": pytest.approx(4.3)}
    assert found["ideal"] == {"denoising_loss": 1.0, "macs": 1.0}
    assert found["index"] == [0, 1, 2]
    box = 2.2 * 3.3
    first, second = 2.2 * 0.3, 2.2 * 0.3 + 0.2 * 3.0
    third = second + (3.0 - 2.0) * (4.0 - 2.0)
    assert found["history"] == pytest.approx([first / box, second / box, third / box])


def test_the_hypervolume_never_falls():
    rows = [evaluation(i, net) for i, net in enumerate(NETS)]
    history = summary(contents(*rows))["hypervolume"]["history"]
    assert np.all(np.diff(history) >= 0)
    assert 0 < history[-1] < 1
    assert point(NETS[0]) != point(NETS[1])


def test_a_ledger_without_outcomes_has_an_empty_front():
    found = summary(LedgerContents({"objectives": ["macs"]}, (Asked(0, NETS[0]),), torn=False))
    assert (found["front"], found["hypervolume"], found["num_in_flight"]) == ([], None, 1)


def test_one_evaluation_is_a_front():
    found = summary(contents(valued(0, 1.0, 1.0)))
    assert len(found["front"]) == 1
    assert found["hypervolume"]["history"] == [1.0]


def test_without_objectives_there_is_nothing_to_compare():
    with pytest.raises(InputError, match="names no objectives"):
        summary(contents(valued(0, 1.0, 1.0), header={"space": "digits"}))


def test_the_file_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "front.json"
    write_front(path, summary(contents(valued(0, 1.0, 1.0))))
    write_front(path, summary(contents(valued(0, 1.0, 1.0), valued(1, 0.5, 2.0))))
    assert len(json.loads(path.read_text())["front"]) == 2
    assert [x.name for x in tmp_path.iterdir()] == ["front.json"]
