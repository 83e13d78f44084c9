"""Our networks compute what diffusers computed for the same weights: recorded by `make parity`, held here without torch."""

import json
import pathlib
import shutil

import pytest
from parity.seeded_weights import seeded_tensor
from safetensors.numpy import save_file

from experiments import cli

GOLDEN = pathlib.Path(__file__).parent / "golden"
NAMES = sorted(path.name for path in GOLDEN.iterdir() if path.is_dir())
FILE = "diffusion_pytorch_model.safetensors"


def _run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as exit_:
        cli.main([str(argument) for argument in arguments])
    return exit_.value.code or 0


@pytest.fixture(params=NAMES)
def case(request, tmp_path) -> pathlib.Path:
    """A recorded case as a folder with its `unet/`, whose weights are made anew from the tensors' names."""
    golden, unet = GOLDEN / request.param, tmp_path / "unet"
    unet.mkdir()
    shutil.copy(golden / "config.json", unet)
    shutil.copy(golden / "io.npz", tmp_path)
    shapes = json.loads((golden / "tensors.json").read_text())
    tensors = {name: seeded_tensor(name, tuple(shape)) for name, shape in shapes.items()}
    save_file(tensors, unet / FILE, metadata={"format": "pt"})
    return tmp_path


def test_the_imported_network_computes_what_diffusers_does_and_goes_back_as_it_came(case, capsys):
    assert _run("weights", "import", case / "unet", "--out", case / "bundle") == 0
    assert _run("weights", "compare", case / "bundle", case / "io.npz", "--tolerance", "1e-5") == 0, capsys.readouterr().out
    assert _run("weights", "export", case / "bundle", "--format", "diffusers", "--out", case / "exported") == 0
    assert (case / "exported" / FILE).read_bytes() == (case / "unet" / FILE).read_bytes()
    written, recorded = (json.loads((case / name / "config.json").read_text()) for name in ("exported", "unet"))
    without_effect = {"upcast_attention"}
    assert {key: value for key, value in written.items() if recorded[key] != value} == {}
    assert all(value == written.get(key, value) for key, value in recorded.items() if key not in without_effect)


def test_recordings_are_small_and_say_their_versions():
    assert len(NAMES) >= 6
    assert sum(path.stat().st_size for path in GOLDEN.rglob("*") if path.is_file()) < 5e6
    assert json.loads((GOLDEN / "versions.json").read_text()).keys() == {"diffusers", "torch", "numpy"}
