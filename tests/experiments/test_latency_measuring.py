"""What is measured anew and what is kept, and what is refused before anything is trained."""

import pytest
from known_machines import measured_on, random_networks, tiled_machine

from experiments.config import load_config
from experiments.errors import InputError
from experiments.latency import check_measuring
from experiments.latency_measuring import measure_into
from experiments.locks import locked
from experiments.progress import silent_progress
from latency_models.csv_device import read_table
from latency_models.device import get_device
from latency_models.measurements import RECORDS_FILE, MeasurementSet

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
