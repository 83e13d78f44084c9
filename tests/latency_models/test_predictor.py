"""The predictor: it finds a known machine, is honest on what it has not seen, and survives its file."""

import dataclasses
import json

import numpy as np
import pytest

from latency_models.fitting import fit
from latency_models.predictor import Predictor
from search_space import get_scale, layer_plan

FINGERPRINT = {"device": "additive machine"}


@pytest.fixture(scope="module")
def predictor(plans, machine, make_timing) -> Predictor:
    rng = np.random.default_rng(0)
    noisy = machine[:60] * np.exp(0.02 * rng.standard_normal(60))
    return fit(plans[:60], [make_timing(ms) for ms in noisy], fingerprint=FINGERPRINT)


@pytest.mark.parametrize("n", [32, 60])
def test_recovers_an_additive_machine_to_1_percent(plans, machine, make_timing, n):
    predictor = fit(plans[:n], [make_timing(ms) for ms in machine[:n]], fingerprint=FINGERPRINT)
    ms, low, high = predictor.predict(plans[60:])
    assert np.mean(np.abs(ms / machine[60:] - 1)) < 0.01
    assert np.all(low <= ms)
    assert np.all(ms <= high)
    assert predictor.held_out.mape < 0.01
    assert predictor.held_out.spearman > 0.99
    assert np.all(predictor.costs >= 0)


def test_held_out_error_is_that_of_fresh_networks(predictor, plans, machine):
    """Noise of 2 % in the labels: the error held out is of that size, on the exact machine it is smaller."""
    ms, _, _ = predictor.predict(plans[60:])
    assert 0.01 < predictor.held_out.mape < 0.04
    assert np.mean(np.abs(ms / machine[60:] - 1)) < predictor.held_out.mape


def test_interval_holds_what_it_says(predictor, plans, machine):
    """20 fresh networks under 90 %: fewer than 14 has a probability of 0.2 %."""
    _, low, high = predictor.predict(plans[60:])
    noisy = machine[60:] * np.exp(0.02 * np.random.default_rng(1).standard_normal(20))
    assert np.sum((low <= noisy) & (noisy <= high)) >= 14


def test_shuffled_labels_show_no_skill(plans, machine, make_timing):
    shuffled = np.random.default_rng(0).permutation(machine)
    held_out = fit(plans, [make_timing(ms) for ms in shuffled], fingerprint=FINGERPRINT).held_out
    assert abs(held_out.spearman) < 0.35  # 80 networks: three standard deviations of a chance correlation
    assert held_out.mape > 0.2


def test_file_gives_the_same_predictions_to_the_last_bit(predictor, plans, tmp_path):
    path = tmp_path / "predictor.json"
    predictor.save(path)
    loaded = Predictor.load(path)
    for one, other in zip(predictor.predict(plans), loaded.predict(plans), strict=True):
        assert one.tobytes() == other.tobytes()
    assert loaded.digest == predictor.digest
    assert loaded.held_out == predictor.held_out
    assert loaded.fingerprint == FINGERPRINT


def test_digest_tells_predictors_apart(predictor):
    assert dataclasses.replace(predictor, costs=2 * predictor.costs).digest != predictor.digest


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda r: r.update(schema=99), "key 'schema' must be 1, got 99; fit it anew"),
        (lambda r: r.pop("costs"), "key 'costs' is missing"),
        (lambda r: r.pop("held_out"), "key 'held_out' is missing"),
        (lambda r: r.update(columns=["x"]), "key 'columns' must be"),
        (lambda r: r["costs"].__setitem__(0, None), "key 'costs' must be"),
        (lambda r: r["costs"].__setitem__(0, -1.0), "none negative"),
        (lambda r: r["costs"].__setitem__(0, 7.0), "key 'digest' says"),
        (lambda r: r.update(macs_range=3), "of a wrong type"),
        (lambda r: r.update(fingerprint={}), "it was changed"),
    ],
)
def test_damaged_files_are_refused(predictor, tmp_path, damage, message):
    path = tmp_path / "predictor.json"
    predictor.save(path)
    record = json.loads(path.read_text())
    damage(record)
    path.write_text(json.dumps(record))
    with pytest.raises(ValueError, match=rf"predictor\.json.*{message}"):
        Predictor.load(path)


@pytest.mark.parametrize("text", ["", "{", "[]", "null"])
def test_files_that_are_no_predictor_are_refused(tmp_path, text):
    path = tmp_path / "predictor.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"latency predictor .*predictor\.json"):
        Predictor.load(path)


def test_other_sizes_and_scales_are_extrapolation(predictor, plans):
    proxy = layer_plan(plans[0].architecture, get_scale("digits-proxy"))
    largest = max(plans, key=lambda plan: plan.macs)
    smaller_range = dataclasses.replace(predictor, macs_range=(1, largest.macs - 1))
    assert list(smaller_range.extrapolates([proxy, largest, min(plans, key=lambda p: p.macs)])) == [True, True, False]


def test_bad_training_sets_are_refused(plans, make_timing):
    timings = [make_timing(1.0)] * 8
    with pytest.raises(ValueError, match="at least 8 networks, got 7"):
        fit(plans[:7], timings[:7], fingerprint={})
    with pytest.raises(ValueError, match="8 plans and 7 timings"):
        fit(plans[:8], timings[:7], fingerprint={})
    with pytest.raises(ValueError, match="share one clock"):
        fit(plans[:8], [*timings[:7], dataclasses.replace(timings[0], clock="wall")], fingerprint={})
