"""Anchors: the record, what is predicted of it, and a sweep that predicts quality."""

import json

import numpy as np
import pytest

from experiments.anchors import Anchor, AnchorsRecord, QualityPredictor, anchors_of, read_predictor, recorded_anchors
from experiments.config import evaluation_settings, judged_at, ledger_header, load_config
from experiments.errors import InputError
from experiments.proxies import LEVELS, ProxyValues
from objectives.fingerprint import fingerprint
from objectives.rank import kendall_tau
from search_space import get_space

PREDICTS = ["objectives=[predicted_frechet,latency_ms]"]
COSTS = {"macs": 1e6, "latency_ms": 3.0}


def _anchor(hidden, rng):
    """Proxies that follow a hidden quality in noise levels 4 to 6 and in samples; truths that follow it with noise."""
    losses = rng.random(LEVELS) + 0.5
    losses[4:7] = np.exp(0.5 * hidden + 0.02 * rng.normal(size=3))
    sampled = {
        name: float(np.exp(hidden + 0.3 * rng.normal())) for name in ("paired_distance", "sliced_wasserstein", "frechet")
    }
    truths = (20 * np.exp(hidden + 0.05 * rng.normal(size=2))).tolist()
    architecture = get_space("digits").sample(rng).to_json()
    return Anchor(architecture=architecture, losses=losses.tolist(), sampled=sampled, truths=truths)


def _costs(architectures):
    return {"macs": np.full(len(architectures), 1e6), "latency_ms": np.full(len(architectures), 3.0)}


def _record(num=12, seed=0, name="f0"):
    rng = np.random.default_rng(seed)
    return AnchorsRecord(fingerprint=name, anchors=[_anchor(hidden, rng) for hidden in rng.normal(size=num)])


def test_the_predictor_finds_the_band_and_tells_the_truth_of_others():
    predict = QualityPredictor.of(_record(), _costs)
    assert predict.levels == range(4, 7)
    others = _record(40, seed=1).anchors
    assert predict.levels == range(4, 7)
    told = [predict(ProxyValues(anchor.losses[4:7], anchor.sampled), COSTS) for anchor in others]
    assert kendall_tau(np.array([x.value for x in told]), np.array([np.mean(x.truths) for x in others])).value > 0.85
    assert str(predict).startswith(
        "predicted_frechet: fitted on 12 anchors, noise levels 0.2 to 0.35; each told by all others in"
    )


def test_anchors_that_diverged_are_left_out():
    record = _record()
    diverged = record.anchors[2].model_copy(update={"truths": [None, 3.0]})
    unusable = record.anchors[3].model_copy(update={"sampled": None, "losses": []})
    assert Anchor.model_validate_json(unusable.model_dump_json()) == unusable
    found = QualityPredictor.of(record.model_copy(update={"anchors": [*record.anchors, diverged, unusable]}), _costs)
    assert found.score.truths.shape == (12, 2)
    for num, told in ((6, "only 6 of 8 anchors did not diverge, and a score needs 7; lower supernet"), (0, "only 0 of 2")):
        few = record.model_copy(update={"anchors": [diverged, unusable, *record.anchors[:num]]})
        with pytest.raises(ValueError, match=told):
            QualityPredictor.of(few, _costs)
    assert str(QualityPredictor.of(record.model_copy(update={"anchors": record.anchors[:7]}), _costs))


def test_what_is_at_no_distance_is_told_as_what_is_at_little():
    """The largest subnet's samples are at no distance from themselves."""
    predict, anchor = QualityPredictor.of(_record(), _costs), _record().anchors[0]
    none, little = (
        predict(ProxyValues(anchor.losses[4:7], {**anchor.sampled, "paired_distance": distance}), COSTS).value
        for distance in (0.0, 0.001)
    )
    assert none == pytest.approx(little, rel=0.1)


def test_anchors_are_asked_for_where_something_predicts():
    config = load_config("digits", PREDICTS)
    assert config.anchors is not None
    assert config.anchors.num == 12
    assert load_config("digits").anchors is None
    assert anchors_of(load_config("digits")) == []
    as_rung = load_config("digits", ["rungs=[{objective: predicted_frechet, num_samples: 256, fine_tune_steps: 20}]"])
    assert as_rung.anchors == config.anchors
    judged = judged_at(as_rung, as_rung.rungs[0])
    assert judged.objectives == ("predicted_frechet", "latency_ms")
    assert (judged.quality.num_samples, judged.quality.fine_tune_steps) == (256, 20)
    assert judged_at(as_rung, None).quality.fine_tune_steps is None
    tuned = load_config("digits", ["quality.fine_tune_steps=7", "rungs=[{num_samples: 256}]"])
    assert judged_at(tuned, tuned.rungs[0]).quality.fine_tune_steps == 7
    both = "rungs=[{objective: predicted_frechet, num_samples: 256}, {objective: predicted_frechet, num_samples: 256%s}]"
    assert load_config("digits", [both % ", fine_tune_steps: 9"]).rungs[1].fine_tune_steps == 9
    with pytest.raises(InputError, match="must draw more samples than what is below it, or train on for longer, got 256 and"):
        load_config("digits", [both % ""])
    with pytest.raises(
        InputError, match=r"^digits\.yaml: anchors serve predicted_frechet alone, which nothing asks for; list it, or leave"
    ):
        load_config("digits", ["anchors.num=10"])
    with pytest.raises(InputError, match=r"anchors\.num.*8"):
        load_config("digits", [*PREDICTS, "anchors.num=4"])


def test_new_keys_changed_no_fingerprint_of_sweeps_that_do_not_use_them():
    settings = evaluation_settings(load_config("digits"))
    assert "anchors" not in settings
    assert "fine_tune_steps" not in settings["quality"]
    as_rung = load_config("digits", ["rungs=[{objective: predicted_frechet, num_samples: 256}]"])
    assert ledger_header(as_rung) == ledger_header(load_config("digits"))
    assert ledger_header(load_config("digits", PREDICTS))["fingerprint"] != ledger_header(as_rung)["fingerprint"]
    assert not {"recovery_steps", "rate_by_complexity", "stage_distillation"} & set(settings["supernet"])


def test_anchors_are_none_of_the_architectures_that_trust_draws():
    from experiments.truths import stratified

    config = load_config("digits-small", [*PREDICTS, "anchors.num=16"])
    anchors = anchors_of(config)
    assert len(anchors) == 16 == len({x.digest for x in anchors})
    drawn = stratified(config, 40, stream=1, excluded=anchors)
    assert not {x.digest for x in anchors} & {x.digest for x in drawn}
    assert all(get_space(config.space).validate(x) is None for x in anchors)


def test_a_record_that_is_missing_damaged_or_of_other_settings_is_refused(tmp_path):
    config = judged_at(load_config("digits", PREDICTS), None)
    name = fingerprint(**evaluation_settings(config))
    with pytest.raises(
        InputError, match=rf"anchors/{name}\.json: there are no anchors for these settings; run the sweep again"
    ):
        read_predictor(config, tmp_path, _costs)
    path = tmp_path / "anchors" / f"{name}.json"
    path.parent.mkdir()
    path.write_text(_record(name=name).model_dump_json())
    assert read_predictor(config, tmp_path, _costs).levels == range(4, 7)
    assert [x.to_json() for x in recorded_anchors(tmp_path)] == [x.architecture for x in _record(name=name).anchors]
    for text, told in (
        ("{", "no JSON file"),
        (json.dumps({"fingerprint": name}), "key 'anchors': field required; delete it, `pocketunet sweep` measures it again"),
        (_record(name="f1").model_dump_json(), rf"^\S*/{name}\.json: key 'fingerprint' says f1, wanted is {name}"),
        (
            _record(name=name).model_dump_json().replace('"frechet":', '"frechets":', 1),
            "key 'anchors.0': value error, losses of 20 noise levels belong together with paired_distance, sliced_wasserstein",
        ),
        (_record(5, name=name).model_dump_json(), "only 5 of 5 anchors did not diverge"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=told):
            read_predictor(config, tmp_path, _costs)


SHRUNK = ("supernet.num_steps=4", "supernet.largest_steps=2", "features.num_steps=20", "latency.num_architectures=8")
SHRUNK += ("latency.rounds=2", "trials=6", "search.population=4", "search.executor=local", "quality.num_steps=2")
SHRUNK += ("quality.num_samples=64", "distill.num_steps=2", "anchors={num: 8, num_seeds: 1, num_steps: 2, num_samples: 40}")


@pytest.mark.slow
def test_a_sweep_predicts_quality_and_does_so_again_after_a_short_training(tmp_path):
    from experiments.pipeline import run_sweep
    from experiments.progress import silent_progress
    from experiments.run_folder import read_run

    rung = "rungs=[{objective: predicted_frechet, num_samples: 96, share: 0.5, fine_tune_steps: 3}]"
    run_dir = tmp_path / "run"
    config = load_config("digits-small", [*SHRUNK, *PREDICTS, rung, f"run_dir={json.dumps(str(run_dir))}"])
    run_sweep(config, silent_progress())
    run = read_run(run_dir)
    assert len(list((run_dir / "anchors").glob("*.json"))) == 2
    truths = list((run_dir / "anchors").glob("*/*.json"))
    assert len(truths) == 8  # one truth serves both records
    search, judged = run.levels
    assert {len(search.done), len(judged.done)} == {6, 3}
    for evaluation in (*search.done, *judged.done):
        told = evaluation.objectives["predicted_frechet"]
        assert told.low < told.value < told.high
    times = [path.stat().st_mtime_ns for path in truths]
    run_sweep(config, silent_progress())
    assert [path.stat().st_mtime_ns for path in truths] == times
