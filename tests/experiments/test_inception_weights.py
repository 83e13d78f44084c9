"""InceptionV3's weights from files: both layouts, every refusal, and the command that checks them."""

import pickle
import re

import numpy as np
import pytest
from safetensors.numpy import save_file

from experiments import cli
from experiments.commands import quality as commands
from experiments.errors import InputError
from experiments.inception_weights import read_inception
from objectives.inception import PREPROCESSING
from objectives.inception_layers import LAYOUTS

PYTORCH, TENSORFLOW = LAYOUTS
FIRST = "Conv2d_1a_3x3.conv.weight"
LAST = "Mixed_7c.branch_pool.bn.running_var"


def _run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as exit_:
        cli.main([str(argument) for argument in arguments])
    return exit_.value.code or 0


@pytest.fixture(scope="module")
def tensors():
    """In half precision, with one number of its own in each, and what the references' files have besides."""
    found = {name: np.ones(shape, np.float16) for name, shape in PYTORCH.shapes().items()}
    for index, values in enumerate(found.values()):
        values.flat[0] = 1 + index / 512
    besides = {"fc.weight": np.ones((1008, 4), np.float32), "Conv2d_1a_3x3.bn.num_batches_tracked": np.zeros((), np.int64)}
    return found | besides | {"fc.bias": np.ones(1008, np.float32)}


@pytest.fixture(scope="module")
def of_pytorch(tensors, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "inception.safetensors"
    save_file(tensors, path)
    return path


@pytest.fixture(scope="module")
def of_tensorflow(tensors, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "inception.npz"
    values = (np.asarray(tensors[name], np.float32) for name in PYTORCH.shapes())
    arrays = [x.transpose(2, 3, 1, 0) if x.ndim == 4 else x for x in values]
    np.savez(path, **dict(zip(TENSORFLOW.shapes(), arrays, strict=True)), **{"softmax/biases": np.ones(1008, np.float32)})
    return path


def test_both_layouts_hold_the_same_weights_and_each_has_its_references_preprocessing(of_pytorch, of_tensorflow):
    first, second = read_inception(of_pytorch), read_inception(of_tensorflow)
    assert first.digest == second.digest
    assert all((first.arrays[name] == second.arrays[name]).all() for name in first.arrays)
    assert first.num_parameters == 21_820_000
    one, other = first.extractor(), second.extractor()
    assert (one.preprocessing, other.preprocessing) == ("pytorch-fid", "tensorflow")
    assert one.digest == other.digest == first.digest
    assert one.settings() != other.settings() == first.extractor("tensorflow").settings()


@pytest.mark.parametrize(
    "added", [{"fc.weight": np.ones((1000, 4), np.float32)}, {"AuxLogits.fc.bias": np.ones(1000, np.float32)}]
)
def test_the_network_of_torchvision_is_refused(tensors, tmp_path, capsys, added):
    save_file(tensors | added, tmp_path / "inception.safetensors")
    assert _run("quality", "features", "--weights", tmp_path / "inception.safetensors") == 2
    assert "these are torchvision's weights, of another network by the same names" in capsys.readouterr().err


def test_the_command_checks_a_file(of_pytorch, capsys):
    assert _run("quality", "features", "--weights", of_pytorch) == 0
    shown = capsys.readouterr().out
    for text in (
        "PyTorch (pytorch-fid, torch-fidelity)",
        read_inception(of_pytorch).digest,
        "21,820,000",
        "pytorch-fid, unless",
    ):
        assert text in shown


def test_the_command_says_which_extractors_there_are_and_how_to_bring_weights(capsys):
    assert _run("quality", "features") == 0
    told = capsys.readouterr().out
    assert _run("quality", "features", "--help") == 0
    help_ = capsys.readouterr().out
    for line in told.splitlines():
        assert line in help_
    assert max(map(len, told.splitlines())) <= 120


def test_the_preprocessings_that_can_be_typed_are_those_there_are():
    assert list(commands.PREPROCESSING) == list(PREPROCESSING)


CHANGES = {
    "a tensor is missing": (
        lambda x: x.pop(LAST),
        rf"layout of PyTorch .*: 1 tensor is missing: {LAST}; `pocketunet quality feat",
    ),
    "a tensor has another shape": (
        lambda x: x.update({FIRST: np.ones((32, 1, 3, 3), np.float32)}),
        rf"1 tensor is of another shape: {FIRST} is \(32, 1, 3, 3\) and must be \(32, 3, 3, 3\)",
    ),
    "a tensor too many": (lambda x: x.update({"Mixed_8a.w": np.ones(2, np.float32)}), "1 tensor is left over: Mixed_8a.w"),
    "not a number": (lambda x: x.update({LAST: np.full(192, np.nan, np.float32)}), f"tensor '{LAST}' must hold finite numbers"),
    "another network": (
        lambda x: [x.clear(), x.update({"blocks.0.attn.qkv.weight": np.ones(2, np.float32)})],
        r"no known layout of InceptionV3's weights: its first name is 'blocks.0.attn.qkv.weight', known are PyTorch .* as "
        r"'Conv2d_1a_3x3.conv.weight'; TensorFlow's graph of 2015, as 'conv/conv2d_params'; `pocketunet quality features`",
    ),
    "nothing": (lambda x: x.clear(), "no known layout of InceptionV3's weights: it holds no tensor"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_weights_that_are_not_inceptions(case, tensors, tmp_path, capsys):
    change, message = CHANGES[case]
    changed = dict(tensors)
    change(changed)
    path = tmp_path / "weights.safetensors"
    save_file(changed, path)
    with pytest.raises(InputError, match=f"{re.escape(str(path))}: .*{message}"):
        read_inception(path)
    assert _run("quality", "features", "--weights", path) == 2
    assert re.search(message, capsys.readouterr().err)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "pt_inception.pth",
            pickle.dumps({FIRST: 1}),
            r"pth: this is a pickle, .* safetensors\.torch\.save_file\(.*'inception\.",
        ),
        ("graph.pb", b"1", r"graph\.pb: weights must be a \.safetensors or \.npz file, got 'graph\.pb'; `pocketunet quality"),
        ("cut.safetensors", b"\0" * 20, r"cut\.safetensors: this is no whole safetensors file"),
        ("cut.npz", b"PK\x03\x04 cut", r"cut\.npz: this is no whole npz file of plain numbers"),
        ("missing.npz", None, r"missing\.npz: there is no such weights file; `pocketunet quality features` says how"),
    ],
)
def test_files_that_cannot_be_read(name, content, message, tmp_path, capsys):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert _run("quality", "features", "--weights", tmp_path / name) == 2
    assert re.search(message, capsys.readouterr().err)


def test_python_objects_in_an_npz_are_not_opened(tmp_path):
    np.savez(tmp_path / "objects.npz", **{"conv/conv2d_params": np.array([{}], object)})
    with pytest.raises(InputError, match=r"objects\.npz: this is no whole npz file of plain numbers"):
        read_inception(tmp_path / "objects.npz")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--features", "inception"], "--features inception needs --weights FILE; `pocketunet quality features` says how"),
        (
            ["--weights", "x.npz"],
            "--weights and --preprocessing are InceptionV3's; add --features inception, or leave them out",
        ),
        (["--preprocessing", "tensorflow"], "--weights and --preprocessing are InceptionV3's"),
        (["--features", "inception", "--weights", "no.npz"], "no.npz: there is no such weights file"),
        (["--features", "dinov2"], "'dinov2' is not one of 'classifier', 'inception'"),
    ],
)
def test_what_is_typed_about_features(arguments, message, tmp_path, capsys):
    assert _run("quality", "measure", tmp_path, "--ids", "knee", *arguments) == 2
    assert message in capsys.readouterr().err
