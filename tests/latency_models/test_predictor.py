"""The predictor: it finds a known machine, is honest on what it has not seen, and survives its files."""

import dataclasses
import json
import math

import numpy as np
import pytest
from known_machines import measured_on, random_networks, tiled_machine, true_ms

from latency_models.fitting import fit
from latency_models.kernels import Kernel
from latency_models.network import Network, network_of
from latency_models.peak_memory import _cross_validate
from latency_models.predictor import ARRAYS_FILE, RECORD_FILE, Predictor
from search_space import get_scale, layer_plan


@pytest.fixture(scope="module")
def networks() -> list[Network]:
    return random_networks(70)


@pytest.fixture(scope="module")
def predictor(networks) -> Predictor:
    return fit(measured_on(tiled_machine, networks[:50], noise=0.02, profiled=True))


@pytest.fixture(scope="module")
def truth(networks) -> np.ndarray:
    return np.array([true_ms(network, tiled_machine) for network in networks])


def test_held_out_error_is_the_noise_and_the_truth_is_nearer(predictor, networks, truth):
    """Noise of 2 %: its mean magnitude is 1.6 %."""
    ms, low, high = predictor.predict(networks[50:])
    error = np.mean(np.abs(ms / truth[50:] - 1))
    assert 0.01 < predictor.held_out.score.mape < 0.035
    assert error < predictor.held_out.score.mape
    assert np.all(low < ms)
    assert np.all(ms < high)
    assert predictor.held_out.score.n == 50


def test_interval_holds_what_it_says(predictor, networks, truth):
    """20 fresh networks under 90 %: fewer than 14 has a probability of 0.2 %."""
    _, low, high = predictor.predict(networks[50:])
    noisy = truth[50:] * np.exp(0.02 * np.random.default_rng(1).standard_normal(20))
    assert np.sum((low <= noisy) & (noisy <= high)) >= 14


def test_shuffled_labels_show_no_skill(networks):
    measured = measured_on(tiled_machine, networks)
    timings = [m.timings for m in measured.measurements.values()]
    order = np.random.default_rng(0).permutation(len(timings))
    shuffled = {
        key: dataclasses.replace(m, timings=timings[i])
        for (key, m), i in zip(measured.measurements.items(), order, strict=True)
    }
    score = fit(dataclasses.replace(measured, measurements=shuffled)).held_out.score
    assert abs(score.spearman) < 0.4  # 70 networks: more than three standard deviations of a chance correlation
    assert score.mape > 0.2


def test_a_batch_of_architectures_is_predicted_as_their_networks_are(predictor, networks):
    architectures = [network.architecture for network in networks]
    batch = predictor.predict_architectures(architectures, networks[0].scale)
    for one, other in zip(batch, predictor.predict(networks), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


def test_stages_and_kinds_add_up_to_the_prediction(predictor, networks):
    explained = predictor.explain(networks[3])
    ms = predictor.predict(networks[3:4])[0][0]
    assert sum(explained.by_stage.values()) + explained.per_run_ms == pytest.approx(ms)
    assert sum(explained.by_kind.values()) + explained.per_run_ms == pytest.approx(ms)
    assert next(iter(explained.by_stage)) == "time"
    assert list(explained.by_kind.values()) == sorted(explained.by_kind.values(), reverse=True)
    assert explained.far_ms == 0


def test_files_give_the_same_predictions_to_the_last_bit(predictor, networks, tmp_path):
    predictor.save(tmp_path / "P")
    loaded = Predictor.load(tmp_path / "P")
    for one, other in zip(predictor.predict(networks), loaded.predict(networks), strict=True):
        assert one.tobytes() == other.tobytes()
    assert (loaded.digest, loaded.held_out, loaded.memory) == (predictor.digest, predictor.held_out, predictor.memory)
    assert loaded.fingerprint == {"device": "known machine"}


def test_the_predictor_of_another_device_is_not_overwritten(predictor, tmp_path):
    predictor.save(tmp_path)
    before = (tmp_path / RECORD_FILE).read_bytes()
    other = dataclasses.replace(predictor, fingerprint={**predictor.fingerprint, "device": "phone"})
    with pytest.raises(ValueError, match=r"options \(device is '.*' and 'phone'\); choose another folder"):
        other.save(tmp_path)
    assert (tmp_path / RECORD_FILE).read_bytes() == before
    dataclasses.replace(predictor, coverage=0.5).save(tmp_path)
    assert Predictor.load(tmp_path).coverage == 0.5
    (tmp_path / RECORD_FILE).write_text("{")
    other.save(tmp_path)
    assert Predictor.load(tmp_path).fingerprint["device"] == "phone"


def test_digest_tells_predictors_apart(predictor):
    other = dataclasses.replace(predictor.costs, per_network=1.0)
    assert dataclasses.replace(predictor, costs=other).digest != predictor.digest
    assert dataclasses.replace(predictor, log_margin=1.0).digest != predictor.digest


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda r: r.update(schema=99), "key 'schema' must be 4, got 99; fit it anew"),
        (lambda r: r.pop("held_out"), "key 'held_out' is missing"),
        (lambda r: r["held_out"].pop("score"), "key 'score' is missing"),
        (lambda r: r.update(macs_range=3), "of a wrong type"),
        (lambda r: r.update(fingerprint={}), "it was changed"),
        (lambda r: r.update(log_margin=0.5), "key 'digest' says"),
    ],
)
def test_damaged_records_are_refused(predictor, tmp_path, damage, message):
    predictor.save(tmp_path)
    path = tmp_path / RECORD_FILE
    record = json.loads(path.read_text())
    damage(record)
    path.write_text(json.dumps(record))
    with pytest.raises(ValueError, match=rf"predictor\.json.*{message}"):
        Predictor.load(tmp_path)


def test_a_flipped_byte_of_the_arrays_changes_nothing_or_is_refused(predictor, tmp_path):
    predictor.save(tmp_path)
    whole, refused = (tmp_path / ARRAYS_FILE).read_bytes(), []
    for place in np.linspace(100, len(whole) // 2, 40).astype(int):
        (tmp_path / ARRAYS_FILE).write_bytes(whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :])
        try:
            assert Predictor.load(tmp_path).digest == predictor.digest  # where it says nothing, as in a date
        except ValueError as error:
            refused.append(str(error))
    assert len(refused) > 20
    assert all("predictor.json" in message for message in refused)


def test_changed_or_torn_arrays_are_refused(predictor, tmp_path):
    predictor.save(tmp_path)
    arrays = predictor.costs.to_arrays()
    np.savez(tmp_path / ARRAYS_FILE, allow_pickle=False, **{**arrays, "prices": 2 * arrays["prices"]})
    with pytest.raises(ValueError, match="key 'digest' says"):
        Predictor.load(tmp_path)
    (tmp_path / ARRAYS_FILE).write_bytes((tmp_path / ARRAYS_FILE).read_bytes()[:100])
    with pytest.raises(ValueError, match=r"predictor\.json: File is not a zip file; fit it anew"):
        Predictor.load(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "null"])
def test_files_that_are_no_predictor_are_refused(predictor, tmp_path, text):
    predictor.save(tmp_path)
    (tmp_path / RECORD_FILE).write_text(text)
    with pytest.raises(ValueError, match=r"latency predictor .*predictor\.json"):
        Predictor.load(tmp_path)


def test_a_scale_of_which_nothing_was_measured_is_refused(predictor, networks):
    proxy = network_of(layer_plan(networks[0].architecture, get_scale("digits-proxy")))
    message = "fitted on scale digits-deploy, not on 'digits-proxy'; predict at one of these, or measure"
    for ask in (predictor.predict, predictor.is_outside, lambda given: predictor.explain(given[0])):
        with pytest.raises(ValueError, match=message):
            ask([proxy])


def _without(kind: str, networks: list[Network]) -> list[Network]:

    return [n for n in networks if all(k.kind != kind for k in n.kernels)]


def test_what_was_not_measured_is_flagged(networks, predictor):
    assert predictor.is_outside(networks[:50]).mean() == 0
    largest = max(networks, key=lambda n: n.macs)
    small = dataclasses.replace(predictor, macs_range=(1, largest.macs - 1))
    assert small.is_outside([largest]).all()
    slower = dataclasses.replace(predictor, held_out=dataclasses.replace(predictor.held_out, largest_ms=0.1))
    assert slower.is_outside(networks[:50]).all()
    plain = _without("softmax", random_networks(120, seed=5))[:20]
    with_softmax = [n for n in networks if n not in _without("softmax", networks)]
    narrow = fit(measured_on(_dear_softmax, plain))
    assert narrow.is_outside(with_softmax).all()


def _dear_softmax(kernel: Kernel) -> float:
    return (20 if kernel.kind == "softmax" else 1) * tiled_machine(kernel)


def test_too_few_networks_are_refused(networks):
    with pytest.raises(ValueError, match="at least 8 networks, got 7; measure more"):
        fit(measured_on(tiled_machine, networks[:7]))


def test_peak_memory_is_learned_and_held_out(predictor, networks):
    memory = predictor.memory
    assert memory is not None
    assert memory.n == 50
    assert memory.per_weight_byte == pytest.approx(2, rel=0.1)
    bytes_ = memory.predict([n.architecture for n in networks[:5]], networks[0].scale)
    assert bytes_.shape == (5,)
    assert (bytes_ > [2 * n.weight_bytes for n in networks[:5]]).all()


@pytest.mark.parametrize(("unrolls", "softmax_matrices"), [(True, -1), (False, 1)])
def test_a_runtimes_habits_with_memory_are_learned(networks, unrolls, softmax_matrices):
    """LiteRT's own kernels unroll convolutions and write a softmax over its scores; XLA holds one matrix more."""

    def peak(network: Network) -> int:
        plan = layer_plan(network.architecture, network.scale)
        convolutions = sum(kernel.weight_bytes for kernel in network.kernels if kernel.kind == "convolution")
        alive = []
        for bytes_, x in zip(plan.live_bytes, plan.operations, strict=True):
            unrolled = 36 * math.prod(x.out_shape[:-1]) * x.in_shape[-1] if x.kind == "conv3x3" and unrolls else 0
            alive.append(bytes_ + unrolled + softmax_matrices * x.output_bytes * (x.kind == "softmax"))
        return max(alive) + 2 * network.weight_bytes + 3 * convolutions + 60_000 * len(network.kernels)

    measured = measured_on(tiled_machine, networks)
    known = {
        key: dataclasses.replace(m, loaded=dataclasses.replace(m.loaded, peak_bytes=peak(m.network)))
        for key, m in measured.measurements.items()
    }
    memory = fit(dataclasses.replace(measured, measurements=known)).memory
    assert (memory.unrolls, memory.softmax_matrices) == (unrolls, softmax_matrices)
    assert memory.per_kernel_bytes == pytest.approx(60_000, rel=0.05)
    assert memory.per_convolution_byte - memory.per_weight_byte == pytest.approx(3, rel=0.05)
    predicted = memory.predict([n.architecture for n in networks], networks[0].scale)
    assert predicted == pytest.approx([peak(network) for network in networks], rel=0.01)


def test_how_a_peak_is_told_does_not_depend_on_it(networks):
    """Else the choice of the habits would make the error of those that were held out look small."""
    rng = np.random.default_rng(0)
    columns = {habit: rng.uniform(1, 2, (12, 5)) for habit in ((False, 0), (False, 1), (True, 0))}
    peaks = rng.uniform(5, 10, 12)
    told = _cross_validate(columns, peaks)
    for i in range(12):
        for factor in (0.1, 10.0):
            changed = peaks * np.where(np.arange(12) == i, factor, 1.0)
            assert _cross_validate(columns, changed)[i] == told[i]


def test_without_measured_peaks_there_is_no_memory(networks):
    measured = measured_on(tiled_machine, networks[:10])
    blind = {
        key: dataclasses.replace(m, loaded=dataclasses.replace(m.loaded, peak_bytes=None))
        for key, m in measured.measurements.items()
    }
    assert fit(dataclasses.replace(measured, measurements=blind)).memory is None
