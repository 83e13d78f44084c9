"""What is measured anew and what is kept, and what is refused before anything is trained."""

import dataclasses
import json

import pytest
import yaml
from known_machines import measured_on, random_networks, tiled_machine

from experiments import latency
from experiments.config import load_config
from experiments.errors import InputError
from experiments.latency import check_measuring, fit_predictor, measure_latency
from experiments.latency_measuring import measure_into, named_network
from experiments.locks import locked
from experiments.progress import silent_progress
from experiments.run_folder import Run
from latency_models.csv_device import read_table
from latency_models.device import get_device
from latency_models.measurements import RECORDS_FILE, MeasurementSet
from latency_models.phone_profiles import phone_profile
from latency_models.predictor import Predictor
from search_space import get_scale, get_space

TABLE = "# device: phone\n# runtime: made up\narchitecture,scale,ms\nsd15,sd15,{ms}\nbk-sdm-base,sd15,300\n"


def test_a_corrected_table_is_looked_up_anew(tmp_path):
    folder = tmp_path / "M"
    for ms in (500.0, 50.0):
        table = tmp_path / f"corrected-{ms}.csv"  # a process reads each once
        table.write_text(TABLE.format(ms=ms))
        networks = read_table(table).networks
        found = measure_into(folder, get_device(f"csv:{table}"), networks, rounds=2, profiled=False, progress=silent_progress())
        assert sorted(x.timing.ms for x in found.measurements.values()) == sorted([ms, 300.0])


def test_a_table_of_another_device_does_not_take_a_folders_place(tmp_path):
    measured = measured_on(tiled_machine, random_networks(3), profiled=True)
    measured.save(tmp_path / "M")
    table = tmp_path / "phone.csv"
    table.write_text(TABLE.format(ms=7))
    networks = read_table(table).networks
    with pytest.raises(ValueError, match="do not mix: .*device is 'known machine' and 'phone'"):
        measure_into(tmp_path / "M", get_device(f"csv:{table}"), networks, rounds=2, profiled=False, progress=silent_progress())
    assert MeasurementSet.load(tmp_path / "M") == measured


def test_a_folder_into_which_another_process_measures_is_refused(tmp_path):
    table = tmp_path / "phone.csv"
    table.write_text(TABLE.format(ms=7))
    with locked(tmp_path / RECORDS_FILE, what="folder of measurements"), pytest.raises(InputError, match="another process"):
        measure_into(
            tmp_path, get_device(f"csv:{table}"), read_table(table).networks, rounds=2, profiled=False,
            progress=silent_progress(),
        )  # fmt: skip


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["latency.device=litert-cpu:thread=2"], "latency.device: "),
        (["latency.device=csv:nowhere.csv"], "latency.device 'csv:nowhere.csv' cannot be used: "),
        (
            ["space=digits-small[*.width=2,*.num_blocks=1,*.convolution=full,*.transformer_depth=0]"],
            "latency.num_architectures is 10, and space",
        ),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_is_trained(tmp_path, overrides, told):
    with pytest.raises(InputError) as caught:
        check_measuring(load_config("digits-small", overrides), tmp_path)
    assert str(caught.value).startswith(told)
    (tmp_path / "latency").mkdir()
    (tmp_path / "latency" / "predictor.json").touch()  # fitted before, wherever that was
    check_measuring(load_config("digits-small", overrides), tmp_path)


@pytest.fixture(scope="module")
def phone(tmp_path_factory):
    """The folder of a predictor of a phone that is not here."""
    folder = tmp_path_factory.mktemp("phone") / "S24"
    phone_profile("Galaxy S24").save(folder)
    return folder


def test_with_a_predictor_nothing_is_measured_and_the_run_has_it(tmp_path, phone):
    config = load_config("digits-small", [f"latency.predictor={phone}", "latency.device=csv:nowhere.csv"])
    check_measuring(config, tmp_path)
    assert fit_predictor(config, tmp_path, silent_progress()).digest == Predictor.load(phone).digest
    without = load_config("digits-small")
    assert fit_predictor(without, tmp_path, silent_progress()).digest == Predictor.load(tmp_path / "latency").digest
    assert Run(tmp_path, (), {"latency": {"device": "csv"}}).latency_device.startswith("Galaxy S24 (")
    assert Run(tmp_path / "none", (), {"latency": {"device": "csv"}}).latency_device == "csv"


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["latency.predictor={tmp}/none"], "latency.predictor: .*none"),
        (
            ["latency.predictor={tmp}/wide"],
            "latency.predictor: this predictor was fitted on scale sd15, not on 'digits",
        ),
        (["latency.predictor={tmp}/damaged"], r"latency.predictor: latency predictor .*predictor\.json: .*fit it anew"),
        (
            ["latency.predictor={phone}", "objectives=[denoising_loss, peak_memory_bytes]"],
            "latency.predictor: .*S24 tells no peak_memory_bytes; leave it out",
        ),
    ],
)
def test_a_predictor_that_does_not_serve_is_refused(tmp_path, phone, overrides, told):
    dataclasses.replace(Predictor.load(phone), scales=("sd15",)).save(tmp_path / "wide")
    phone_profile("Galaxy S24").save(tmp_path / "damaged")
    (tmp_path / "damaged" / "predictor.json").write_text("{")
    filled = [x.format(tmp=tmp_path, phone=phone) for x in overrides]
    with pytest.raises(InputError, match=told):
        check_measuring(load_config("digits-small", filled), tmp_path / "run")


def test_no_latency_is_measured_in_the_place_of_another_devices(tmp_path, phone, monkeypatch):
    config = load_config("digits-small", [f"latency.predictor={phone}", "latency.device=xla-cpu"])
    fit_predictor(config, tmp_path, silent_progress())
    smallest = get_space("digits-small").smallest()
    with pytest.raises(InputError, match=r"latencies of Galaxy S24 .* \(device is 'Galaxy S24 .*' and 'xla-cpu'\); measure"):
        measure_latency(config, tmp_path, smallest)
    monkeypatch.setattr(latency, "measure", lambda _, networks, *__, **___: measured_on(tiled_machine, networks))
    own = dataclasses.replace(Predictor.load(phone), fingerprint=get_device("xla-cpu").fingerprint())
    own.save(tmp_path / "own" / "latency")
    found, measured_on_it = measure_latency(config, tmp_path / "own", smallest)
    assert found.value > 0
    assert measured_on_it == own.fingerprint
    other = load_config("digits-small", ["latency.device=xla-cpu"])  # it fitted its own, and says where it measures now
    assert measure_latency(other, tmp_path, smallest)[1]["device"] == "xla-cpu"


def test_a_memory_that_the_runs_own_predictor_does_not_tell_is_refused(tmp_path, phone):
    Predictor.load(phone).save(tmp_path / "latency")
    config = load_config("digits-small", ["objectives=[denoising_loss, peak_memory_bytes]"])
    with pytest.raises(InputError, match="the run folder's predictor tells no peak_memory_bytes; leave it out"):
        fit_predictor(config, tmp_path, silent_progress())


def bundle_at(folder, scale):
    folder.mkdir()
    (folder / "architecture.json").write_text(json.dumps(get_space("digits").smallest().to_json()))
    (folder / "training.yaml").write_text(yaml.safe_dump({"scale": dataclasses.asdict(scale)}))
    return str(folder)


def test_a_bundle_is_taken_at_its_own_scale_where_that_is_known(tmp_path):
    proxy, deploy = map(get_scale, ("digits-proxy", "digits-deploy"))
    bundle = bundle_at(tmp_path / "unet", proxy)
    for known, scale in (((), proxy), (("digits-deploy", "digits-proxy"), proxy), (("digits-deploy", "sd15"), deploy)):
        assert named_network(bundle, scale_name=None, known=known).scale == scale
    assert named_network(bundle, scale_name="digits-deploy").scale == deploy
    bare = tmp_path / "architecture.json"
    bare.write_text((tmp_path / "unet" / "architecture.json").read_text())
    assert named_network(str(bare), scale_name=None, known=("digits-deploy",)).scale == deploy
    with pytest.raises(InputError, match="the scale is not known; give --scale"):
        named_network(str(bare), scale_name=None)


@pytest.mark.parametrize("changes", [{"name": "imported"}, {"resolution": 16}])
def test_a_scale_that_no_record_could_name_is_refused(tmp_path, changes):
    bundle = bundle_at(tmp_path / "unet", dataclasses.replace(get_scale("digits-proxy"), **changes))
    with pytest.raises(InputError, match=r"unet: its scale '\S+' is none of those that ship; give --scale"):
        named_network(bundle, scale_name=None, known=("digits-deploy",))
    assert named_network(bundle, scale_name="digits-deploy").scale == get_scale("digits-deploy")
