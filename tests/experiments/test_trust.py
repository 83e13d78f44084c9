"""How far to trust the search's ranking."""

import json
from pathlib import Path

import numpy as np
import pytest
from experiments_fixtures.run_folders import make_run

from experiments.config import load_config
from experiments.errors import InputError
from experiments.locks import locked
from experiments.report_trust import trust_notes
from experiments.run_folder import read_run
from experiments.trust import correlations
from experiments.trust_record import BASELINES, FILE, TrustRecord, read_trust, trust_text, trust_warnings
from experiments.truths import stratified
from objectives.cost import counted_costs
from search_space import get_scale

NUM = 24


def made_up(*, knows_size_only=False, num_seeds=2):
    """Truths that fall with size and with something else, which a score of size alone does not know."""
    rng = np.random.default_rng(0)
    macs = np.geomspace(1e6, 6e6, NUM)
    else_ = rng.normal(size=NUM)
    truths = -np.log(macs)[:, None] + 0.5 * else_[:, None] + 0.01 * rng.normal(size=(NUM, num_seeds))
    score = -np.log(macs) + (0.0 if knows_size_only else 0.5) * else_ + 0.01 * rng.normal(size=NUM)
    return correlations({"denoising_loss": score}, truths, {"macs": macs, "parameters": macs**0.5})


def record(**settings):
    how = {"num": NUM, "num_seeds": 2, "num_steps": 600, "num_samples": 1000}
    return TrustRecord(search_fingerprint="f0", fingerprint="t0", architectures=[], **how, **made_up(**settings))


def test_a_score_that_knows_more_than_size_is_told_from_size():
    found = made_up()
    assert found["tau"]["denoising_loss"].value > 0.9
    assert found["tau_equal_cost"]["denoising_loss"].low > 0.7
    assert 0 < found["tau"]["macs"].value == found["tau"]["parameters"].value < 0.8
    assert found["tau_equal_cost"]["macs"].low < 0.3
    assert found["between_seeds"].value > 0.9
    assert made_up(num_seeds=1)["between_seeds"] is None
    assert not trust_warnings(record())


def test_a_score_that_knows_size_alone_is_warned_about():
    (warning,) = trust_warnings(record(knows_size_only=True))
    assert warning.startswith("among networks of about equal MACs, denoising_loss may rank by chance: its tau there is ")
    text = trust_text(record(knows_size_only=True))
    assert "trained alone with 2 seeds for 600 steps" in text
    assert text.splitlines()[-1] == f"Careful: {warning}"


def test_what_diverged_is_left_out_and_counted():
    rng = np.random.default_rng(0)
    macs, score, truths = np.geomspace(1, 2, 12), rng.random(12), rng.random((12, 2))
    costs = {"macs": macs, "parameters": macs}
    broken, unscored = truths.copy(), score.copy()
    broken[3, 1], unscored[7] = np.nan, np.nan
    found = correlations({"denoising_loss": unscored}, broken, costs)
    kept = np.delete(np.arange(12), [3, 7])
    expected = correlations({"denoising_loss": score[kept]}, truths[kept], {name: cost[kept] for name, cost in costs.items()})
    assert found == {**expected, "num_left_out": 2}
    assert found["tau"]["denoising_loss"].n == 10


def test_a_score_that_nothing_has_is_warned_about():
    rng = np.random.default_rng(0)
    costs = {"macs": np.geomspace(1, 2, 12), "parameters": np.geomspace(1, 3, 12)}
    found = correlations({"frechet_classifier": np.full(12, np.nan)}, rng.random((12, 1)), costs)
    how = {"num": 12, "num_seeds": 1, "num_steps": 600, "num_samples": 1000}
    told = TrustRecord(search_fingerprint="f0", fingerprint="t0", architectures=[], **how, **found)
    assert told.num_left_out == 12
    assert trust_warnings(told) == [
        "among networks of about equal MACs, frechet_classifier may rank by chance: its tau there is not known"
    ]


def test_a_score_that_ranks_backwards_is_told_so():
    found = record()
    tau = found.tau_equal_cost["denoising_loss"]
    turned = tau.model_copy(update={"value": -tau.value, "low": -tau.high, "high": -tau.low})
    backwards = found.model_copy(update={"tau_equal_cost": {**found.tau_equal_cost, "denoising_loss": turned}})
    (warning,) = trust_warnings(backwards)
    assert warning.startswith("among networks of about equal MACs, denoising_loss ranks backwards: its tau there is -")


def test_scores_that_are_all_the_same_rank_nothing():
    rng = np.random.default_rng(0)
    costs = {"macs": np.geomspace(1, 2, 12), "parameters": np.ones(12)}
    found = correlations({"denoising_loss": rng.random(12)}, rng.random((12, 1)), costs)
    assert found["tau"]["parameters"] is None
    assert found["tau"]["denoising_loss"] is not None


def test_a_baseline_that_one_architecture_lacks_ranks_the_others():
    rng = np.random.default_rng(0)
    macs, score, truths, lacking = np.geomspace(1, 2, 12), rng.random(12), rng.random((12, 1)), rng.random(12)
    lacking[5] = np.nan
    found = correlations({"denoising_loss": score}, truths, {"macs": macs, "snip": lacking})
    kept = np.delete(np.arange(12), 5)
    others = {"macs": macs[kept], "snip": lacking[kept]}
    expected = correlations({"denoising_loss": score[kept]}, truths[kept], others)
    for key in ("tau", "tau_equal_cost"):
        assert found[key]["snip"] == expected[key]["snip"]
    assert (found["tau"]["snip"].n, found["tau"]["macs"].n, found["num_left_out"]) == (11, 12, 0)


def test_few_pairs_of_equal_cost_claim_nothing():
    """One pair alone is ranked right in every resample that has it, which would look like certainty."""
    rng = np.random.default_rng(0)
    macs = np.array([1.0, 1.1, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6])
    found = correlations({"denoising_loss": rng.random(8)}, rng.random((8, 1)), {"macs": macs, "parameters": macs})
    assert found["num_pairs"] == 1
    assert found["tau_equal_cost"]["denoising_loss"] is None


def test_where_no_two_are_of_equal_cost_nothing_is_claimed():
    rng = np.random.default_rng(0)
    costs = {"macs": 2.0 ** np.arange(8), "parameters": np.arange(8.0)}
    found = correlations({"denoising_loss": rng.random(8)}, rng.random((8, 1)), costs)
    assert found["tau_equal_cost"] == {"denoising_loss": None, "macs": None, "parameters": None}


def test_architectures_are_spread_over_the_costs_and_keep_the_limits():
    config = load_config("digits")
    found = stratified(config, 12, stream=1)
    assert found == stratified(config, 12, stream=1)
    others = stratified(config, 12, stream=1, excluded=found)
    assert not {x.digest for x in found} & {x.digest for x in others}
    assert stratified(config, 12, stream=2) != found
    macs = counted_costs(found, get_scale(config.deploy_scale))["macs"]
    assert len({x.digest for x in found}) == 12
    assert (np.diff(macs) > 0).all()
    assert macs[-1] > 3 * macs[0]
    limit = float(np.median(macs))
    kept = stratified(load_config("digits", [f"limits.macs={limit}"]), 12, stream=1)
    assert counted_costs(kept, get_scale(config.deploy_scale))["macs"].max() <= limit
    with pytest.raises(InputError, match=r"--n 12: only 0 of \d+ random architectures keep the limits; ask for fewer"):
        stratified(load_config("digits", ["limits.macs=1000"]), 12, stream=1)


def test_the_report_says_how_far_to_trust_it_or_that_nobody_looked(tmp_path):
    path = make_run(tmp_path / "run")
    assert any("pocketunet quality trust" in text for _, text in trust_notes(read_run(path)))
    (path / "trust").mkdir()
    (path / FILE).write_text(record(knows_size_only=True).model_dump_json())
    notes = trust_notes(read_run(path))
    assert any(
        level == "note" and text.startswith("Kendall's tau with the truth, of denoising_loss 0.") for level, text in notes
    )
    assert any(
        level == "warning" and text.startswith("Among networks of about equal MACs, denoising_loss") for level, text in notes
    )
    (path / FILE).write_text(record().model_copy(update={"search_fingerprint": "another"}).model_dump_json())
    assert read_trust(read_run(path)) is None
    missing = "key 'search_fingerprint': field required; delete it, `pocketunet quality trust"
    for text, told in (("{}", missing), ("{", "no JSON file")):
        (path / FILE).write_text(text)
        with pytest.raises(InputError, match=told):
            read_trust(read_run(path))


SHRUNK = ("supernet.num_steps=4", "supernet.largest_steps=2", "features.num_steps=20", "latency.num_architectures=8")
SHRUNK += ("latency.rounds=2", "trials=4", "search.population=4", "quality.loss_samples=64", "quality.num_steps=2")
SHRUNK += ("distill.num_steps=2",)


@pytest.mark.slow
def test_networks_are_trained_alone_once(tmp_path, capsys):
    from experiments import cli
    from experiments.pipeline import run_sweep
    from experiments.progress import silent_progress

    run = tmp_path / "run"
    run_sweep(load_config("digits-small", [*SHRUNK, f"run_dir={json.dumps(str(run))}"]), silent_progress())
    capsys.readouterr()
    trained: dict[Path, int] = {}
    arguments = ["quality", "trust", str(run), "--n", "8", "--samples", "40", "--json"]
    for seeds, num_trained in (("1", 8), ("2", 16), ("2", 16)):
        with pytest.raises(SystemExit) as ended:
            cli.main([*arguments, "--seeds", seeds])
        assert not ended.value.code
        kept = {path: path.stat().st_mtime_ns for path in (run / FILE).parent.glob("*/*.json")}
        assert len(kept) == num_trained
        assert trained.items() <= kept.items()
        trained = kept
    found = TrustRecord.model_validate_json(capsys.readouterr().out.split("\n}\n")[-2] + "\n}")
    assert read_trust(read_run(run)) == found
    assert len({x["digest"] for x in found.architectures}) == 8
    assert list(found.tau) == ["denoising_loss", *BASELINES]
    assert all(len(x["truths"]) == 2 and set(x["scores"]) == {"denoising_loss"} for x in found.architectures)
    assert found.between_seeds.n == 8
    with locked(run / FILE, what="record"), pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    assert "another process writes this record (process " in capsys.readouterr().err
    (run / "sweep.yaml").write_text((run / "sweep.yaml").read_text().replace("loss_samples: 64", "loss_samples: 65"))
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    assert "begun with fingerprint" in capsys.readouterr().err
