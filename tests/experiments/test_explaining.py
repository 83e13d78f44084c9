"""What explains a design: each choice's effect where the truth is known, and what is refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from experiments_fixtures.run_folders import make_run
from toy_problem import DIGITS, architectures

from experiments import cli, configs
from experiments.errors import InputError
from experiments.evaluation import Evaluation
from experiments.explain_texts import explanation_json, explanation_text, is_improvement
from experiments.explaining import LEAST_DONE, explain, importance
from experiments.ledger import Ledger
from experiments.run_folder import read_run
from objectives import Estimate
from objectives.cost import counted_costs
from search_space import get_scale
from search_space.changes import one_choice_changes

OBJECTIVES = ["denoising_loss", "macs"]
SCALE = get_scale("digits-deploy")


def loss(architecture):
    """Of two genes, one of which matters thrice as much; no other has an effect."""
    return 0.5 - 0.03 * architecture.levels[0].width + 0.02 * (architecture.levels[0].down.convolution == "separable")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    drawn = architectures(120)
    base = drawn[0]
    drawn.append(next(other for gene, *_, other in one_choice_changes(DIGITS, base) if gene == "up1.num_blocks"))
    return made_run(tmp_path_factory.mktemp("runs") / "digits", drawn, list(map(loss, drawn)))


def made_run(path, drawn, values, *, limits=None):
    """A run of the digits' space in which the architectures have these losses, in their order."""
    path.mkdir()
    shutil.copy(Path(configs.__path__[0]) / "digits.yaml", path / "sweep.yaml")
    macs = counted_costs(drawn, SCALE)["macs"]
    header = {"space": "digits", "objectives": OBJECTIVES, "limits": limits or {}}
    with Ledger.open(path / "ledger.jsonl", header=header) as ledger:
        for index, (architecture, value) in enumerate(zip(drawn, values, strict=True)):
            ledger.asked(index, architecture)
            estimates = {"denoising_loss": Estimate(value, value - 0.003, value + 0.003), "macs": Estimate.exact(macs[index])}
            ledger.record(Evaluation(index, architecture.digest, architecture, "done", estimates, "f0"))
    return read_run(path)


@pytest.fixture(scope="module")
def found(run):
    return explain(run, run.ledger.evaluations[0].digest)


def test_changes_are_every_other_choice_that_has_an_effect():
    base = architectures(1)[0]
    changes = one_choice_changes(DIGITS, base)
    assert len({other.digest for *_, other in changes}) == len(changes)
    own = dict(zip((g.name for g in DIGITS.genes), DIGITS.encode(base), strict=True))
    for gene, before, after, also, other in changes:
        genes = dict(zip((g.name for g in DIGITS.genes), DIGITS.encode(other), strict=True))
        choices = next(g.choices for g in DIGITS.genes if g.name == gene)
        assert (choices[own[gene]], choices[genes[gene]]) == (before, after)
        assert before != after
        for name, choice in also.items():
            assert name.endswith("num_blocks")
            assert next(g.choices for g in DIGITS.genes if g.name == name)[genes[name]] == choice
    told = {(gene, after) for gene, _, after, *_ in changes}
    for choice in DIGITS.genes[0].choices:
        assert ((DIGITS.genes[0].name, choice) in told) == (choice != base.levels[0].width)


def test_costs_of_changes_are_counted_exactly(found):
    own = found.evaluation.objectives["macs"].value
    macs = counted_costs([change.architecture for change in found.changes], SCALE)["macs"]
    assert [change.differences["macs"].value for change in found.changes] == (macs - own).tolist()


def test_quality_of_changes_is_told_with_an_interval_that_holds_the_truth(found):
    own = loss(found.evaluation.architecture)
    truths = np.array([loss(change.architecture) - own for change in found.changes])
    told = [change.differences["denoising_loss"] for change in found.changes]
    np.testing.assert_allclose([x.value for x in told], truths, atol=0.006)
    held = [x.low <= truth <= x.high for x, truth in zip(told, truths, strict=True)]
    assert np.mean(held) > 0.85
    assert found.model_tau["denoising_loss"].low > 0.8
    assert set(found.model_tau) == {"denoising_loss"}  # costs need no model


def test_a_change_that_was_measured_says_so(run, found):
    (measured,) = [change for change in found.changes if change.is_measured]
    assert measured.gene == "up1.num_blocks"
    difference = measured.differences["denoising_loss"]
    assert difference.value == pytest.approx(0, abs=1e-12)
    assert difference.half_width == pytest.approx(0.003 * 2**0.5)


def test_the_genes_that_matter_are_found(found):
    shares = found.importance["denoising_loss"]
    assert next(iter(shares)) == "level0.width"
    assert shares["level0.width"] > 0.5
    assert shares["level0.width"] > shares["down0.convolution"] > 3 * shares["mid.convolution"]
    assert 0.8 < sum(shares.values()) <= 1  # the effects add up, so that hardly anything is left to interactions


def test_interactions_are_no_genes_share(tmp_path):
    """Either gene alone tells nothing of whether both are alike."""
    drawn = architectures(160, seed=3)
    levels = [architecture.levels[0] for architecture in drawn]
    values = [float((x.down.convolution == "full") == (x.up.convolution == "full")) for x in levels]
    run = made_run(tmp_path / "run", drawn, values)
    shares = importance(run, DIGITS)["denoising_loss"]
    assert sum(shares.values()) < 0.6


def test_what_does_not_vary_has_no_shares_and_no_ranking(tmp_path):
    drawn = architectures(LEAST_DONE)
    run = made_run(tmp_path / "run", drawn, [1.0] * LEAST_DONE, limits={"latency_ms": 5.0})
    found = explain(run, drawn[0].digest)
    assert found.importance["denoising_loss"] == {}
    assert found.model_tau["denoising_loss"] is None
    assert "a tau of nothing: all are the same" in explanation_text(found)
    json.dumps(explanation_json(found))


def test_an_improvement_makes_nothing_worse(found):
    better = [change for change in found.changes if is_improvement(change, found.objectives)]
    assert 0 < len(better) < len(found.changes)
    for change in better:
        assert all(change.differences[name].value <= 0 for name in OBJECTIVES)
        assert any(change.differences[name].high < 0 for name in OBJECTIVES)


def test_the_command_tells_people_and_programs(run, found, capsys):
    digest, text = found.evaluation.digest, explanation_text(found)
    assert text.startswith(f"{digest}: denoising_loss ")
    first = min(found.changes, key=lambda change: change.differences["macs"].value)
    rows = text.split("One choice made otherwise")[1].splitlines()
    assert rows[1].startswith(first.gene)
    assert sum("measured" in row for row in rows[1 : len(found.changes) + 1]) == 1
    with pytest.raises(SystemExit) as ended:
        cli.main(["explain", str(run.path), "--id", digest[:10], "--json"])
    assert not ended.value.code
    record = json.loads(capsys.readouterr().out)
    assert len(record["changes"]) == len(found.changes)
    assert set(record["changes"][0]["differences"]) == set(OBJECTIVES)


def test_what_cannot_be_explained_is_refused(tmp_path):
    path = make_run(tmp_path / "run", num_done=LEAST_DONE - 1)
    shutil.copy(Path(configs.__path__[0]) / "digits.yaml", path / "sweep.yaml")
    run = read_run(path)
    with pytest.raises(InputError, match=f"{LEAST_DONE - 1} evaluations are too few to explain by"):
        explain(run, "knee")
    with pytest.raises(InputError, match="its quality was not measured, so there is nothing to explain"):
        explain(run, run.with_status("failed")[0].digest)
    with pytest.raises(InputError, match="no architecture of"):
        explain(run, "zzz")
