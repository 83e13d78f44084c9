"""Weights in and out: bit by bit, by the tensor, and every refusal by its message, with nothing written."""

import json
import pickle
import re
import shutil
import tracemalloc

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml
from experiments_fixtures.unet_folders import CONFIG, FILE, make_unet_folder, unet_tensors
from safetensors.numpy import load_file, save_file

from experiments import cli
from experiments.bundle import Bundle, TrainingSettings, read_bundle, write_bundle
from experiments.bundle_quality import expectations
from experiments.weights import import_weights
from search_space import get_space
from supernet import XLA, UNet, load_unet, unet_parameters
from supernet.initializer import random_initializer


def _run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as exit_:
        cli.main([str(argument) for argument in arguments])
    return exit_.value.code or 0


@pytest.fixture
def unet(tmp_path):
    return make_unet_folder(tmp_path / "model" / "unet")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """An imported bundle that tests read."""
    folder = tmp_path_factory.mktemp("imported")
    return import_weights(make_unet_folder(folder / "model" / "unet"), folder / "bundle")


@pytest.fixture(scope="module")
def recording(bundle):
    """What the bundle's own network says of two examples, in the layout that `weights compare` takes."""
    read, rng = read_bundle(bundle), np.random.default_rng(0)
    x, context = rng.standard_normal((2, 3, 8, 8)), rng.standard_normal((2, 5, 6))
    inputs = (x.transpose(0, 2, 3, 1), np.array([3.0, 900.0]), context)
    network = load_unet(read.network(XLA), read.parameters["network"])
    y = jax.jit(network.__call__)(*(jnp.asarray(each, jnp.float32) for each in inputs))
    return {"x": x, "t": inputs[1], "context": context, "y": np.asarray(y).transpose(0, 3, 1, 2)}


@pytest.mark.parametrize("dtype", [np.float32, np.float16, jnp.bfloat16, np.float64])
@pytest.mark.parametrize("is_linear", [False, True])
def test_import_export_import_is_bit_identical(tmp_path, dtype, is_linear):
    source = make_unet_folder(tmp_path / "unet", dtype=dtype, use_linear_projection=is_linear)
    assert _run("weights", "import", source, "--out", tmp_path / "first") == 0
    assert _run("weights", "export", tmp_path / "first", "--format", "diffusers", "--out", tmp_path / "exported") == 0
    assert _run("weights", "import", tmp_path / "exported", "--out", tmp_path / "second") == 0
    for name in ("weights.safetensors", "architecture.json"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
    assert (tmp_path / "exported" / FILE).read_bytes() == (source / FILE).read_bytes()
    written = json.loads((tmp_path / "exported" / "config.json").read_text())
    assert {key: written[key] for key in CONFIG} == CONFIG
    assert written["_diffusers_version"]


def test_a_bundle_holds_float32_whatever_is_stored(tmp_path):
    source = make_unet_folder(tmp_path / "unet", dtype=jnp.bfloat16)
    read = read_bundle(import_weights(source, tmp_path / "bundle"))
    assert {array.dtype for array in read.parameters["network"].values()} == {jnp.dtype("float32")}
    stored = load_file(source / FILE)["conv_in.bias"]
    np.testing.assert_array_equal(read.parameters["network"]["blocks/input_convolution/conv/bias"], stored.astype(np.float32))


def test_types_may_differ_within_a_file(tmp_path):
    source = make_unet_folder(tmp_path / "unet")
    tensors = load_file(source / FILE)
    mixed = {name: array.astype(np.float16) if "norm" not in name else array for name, array in tensors.items()}
    save_file(mixed, source / FILE)
    import_weights(source, tmp_path / "bundle")
    assert {array.dtype.name for array in load_file(tmp_path / "bundle" / "weights.safetensors").values()} == {
        "float16", "float32"
    }  # fmt: skip


@pytest.mark.parametrize("index", [f"{FILE}.index.json", f"{FILE}.index.fp16.json"])
def test_shards_make_the_same_bundle_as_one_file(unet, tmp_path, index):
    import_weights(unet, tmp_path / "whole")
    tensors = load_file(unet / FILE)
    (unet / FILE).unlink()
    names, shards = sorted(tensors), ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    for shard, of in zip(shards, (names[::2], names[1::2]), strict=True):
        save_file({name: tensors[name] for name in of}, unet / shard)
    weight_map = {name: shards[i % 2] for i, name in enumerate(names)}
    (unet / index).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    import_weights(unet, tmp_path / "sharded")
    files = [(tmp_path / name / "weights.safetensors").read_bytes() for name in ("whole", "sharded")]
    assert files[0] == files[1]


def test_a_variant_is_taken_when_it_is_the_only_one(unet, tmp_path):
    (unet / FILE).rename(unet / "diffusion_pytorch_model.fp16.safetensors")
    assert _run("weights", "import", unet, "--out", tmp_path / "bundle") == 0


def test_a_pickle_beside_safetensors_is_left_alone(unet, tmp_path):
    (unet / "diffusion_pytorch_model.bin").write_bytes(b"not a pickle")
    assert _run("weights", "import", unet, "--out", tmp_path / "bundle") == 0


def test_importing_holds_a_tensor_not_the_network(tmp_path):
    source = make_unet_folder(tmp_path / "unet", block_out_channels=[64, 64], norm_num_groups=8)
    import_weights(source, tmp_path / "warm")  # what is imported once stays
    tracemalloc.start()
    import_weights(source, tmp_path / "bundle")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 0.5 * (source / FILE).stat().st_size


def test_a_bundle_says_where_it_comes_from_and_promises_its_counts(bundle):
    settings = yaml.safe_load((bundle / "training.yaml").read_text())
    assert settings["origin"] == "imported from model/unet"
    assert (settings["data"], settings["schedule"], settings["parameterisation"]) == (None, "scaled_linear", "eps")
    assert settings["scale"]["context_length"] == 77
    promises = json.loads((bundle / "expected.json").read_text())["promises"]
    assert promises.keys() == {"parameters", "macs"}
    assert promises["parameters"]["value"] == sum(array.size for array in unet_tensors(CONFIG).values())
    assert "denoising loss" not in (bundle / "README.md").read_text()


def test_verify_and_describe_work_on_an_imported_bundle(bundle, tmp_path, capsys):
    assert _run("verify", bundle) == 0
    kept = [["kept", f"{name}:"] for name in ("parameters", "macs", "weights_sha256")]
    assert [line.split()[:2] for line in capsys.readouterr().out.splitlines()] == kept
    assert _run("describe", bundle) == 0
    assert "at scale imported" in capsys.readouterr().out
    copy = shutil.copytree(bundle, tmp_path / "copy")
    expected = json.loads((copy / "expected.json").read_text())
    expected["promises"]["macs"]["value"] += 1
    (copy / "expected.json").write_text(json.dumps(expected))
    assert _run("verify", copy) == 1


@pytest.mark.parametrize(
    ("promises", "message"),
    [
        (None, "key 'promises' must be a mapping"),
        (
            {"speed": {"value": 1, "tolerance": 1}},
            "key 'promises.speed' is not known; known are parameters, macs, prediction, denoising_loss",
        ),
        ({"macs": {"value": 1, "tolerance": 1}}, "key 'promises.parameters.value' must be a number"),
    ],
)
def test_promises_are_checked(bundle, tmp_path, capsys, promises, message):
    copy = shutil.copytree(bundle, tmp_path / "copy")
    expected = {**json.loads((copy / "expected.json").read_text()), "promises": promises}
    (copy / "expected.json").write_text(json.dumps(expected))
    assert _run("verify", copy) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("command", ["train", "distill", "sample"])
def test_commands_that_need_data_say_what_to_set(bundle, capsys, command):
    assert _run(command, bundle) == 2
    error = capsys.readouterr().err
    assert f"{bundle / 'training.yaml'}: key 'data' is null" in error
    assert "set it to the name of one, or to a folder" in error
    assert not (bundle / "trained").exists()


def test_a_promise_of_a_loss_needs_data(bundle, tmp_path, capsys):
    copy = shutil.copytree(bundle, tmp_path / "copy")
    expected = json.loads((copy / "expected.json").read_text())
    expected["promises"]["denoising_loss"] = {"value": 1.0, "tolerance": 1.0}
    (copy / "expected.json").write_text(json.dumps(expected))
    assert _run("verify", copy) == 2
    assert "key 'data' is null" in capsys.readouterr().err


BETAS = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}


@pytest.mark.parametrize(
    ("place", "config", "parameterisation"),
    [
        ("unet/scheduler_config.json", {"prediction_type": "v_prediction"}, "v"),
        ("scheduler/scheduler_config.json", {"prediction_type": "sample", "rescale_betas_zero_snr": False}, "x0"),
        ("scheduler/scheduler_config.json", {"num_train_timesteps": 1000, "trained_betas": None}, "eps"),
    ],
)
def test_the_scheduler_says_what_is_predicted(unet, tmp_path, place, config, parameterisation):
    file = unet.parent / place
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(BETAS | config))
    imported = read_bundle(import_weights(unet, tmp_path / "bundle"))
    assert imported.settings.parameterisation == parameterisation


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {**BETAS, "prediction_type": "flow"},
            "key 'prediction_type' is \"flow\"; supported is one of epsilon, v_prediction, sample",
        ),
        ({"beta_schedule": "linear"}, 'key \'beta_schedule\' is "linear"; supported is "scaled_linear"; move the file away'),
        (
            {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000},
            "key 'beta_schedule' is missing, which means \"linear\"; supported is",
        ),
        ({**BETAS, "rescale_betas_zero_snr": True}, "key 'rescale_betas_zero_snr' is true; supported is false"),
        ({**BETAS, "trained_betas": [0.1, 0.2]}, "key 'trained_betas' is [0.1, 0.2]; supported is null"),
    ],
)
def test_another_scheduler_is_refused(unet, tmp_path, capsys, config, message):
    (unet / "scheduler_config.json").write_text(json.dumps(config))
    assert _run("weights", "import", unet, "--out", tmp_path / "bundle") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "bundle").exists()


def _replace(unet, name, content):
    (unet / name).write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())


def _change_tensors(unet, change):
    tensors = load_file(unet / FILE)
    change(tensors)
    save_file(tensors, unet / FILE)


def _to_pickle(unet, name):
    (unet / FILE).unlink()
    (unet / name).write_bytes(pickle.dumps({"conv_in.bias": 1}))


def _to_two_files(unet):
    (unet / FILE).rename(unet / "a.safetensors")
    shutil.copy(unet / "a.safetensors", unet / "b.safetensors")


def _to_shards(unet, weight_map):
    (unet / FILE).rename(unet / "shard.safetensors")
    _replace(unet, f"{FILE}.index.json", {"weight_map": weight_map})


BAD_FOLDERS = {
    "no configuration": (lambda unet: (unet / "config.json").unlink(), r"config\.json is missing: it says which architecture"),
    "no JSON": (lambda unet: _replace(unet, "config.json", b"{"), r"config\.json: this is no JSON"),
    "no object": (lambda unet: _replace(unet, "config.json", []), r"config\.json: this file must hold a JSON object, got list"),
    "another block": (
        lambda unet: _replace(unet, "config.json", {**CONFIG, "down_block_types": ["AttnDownBlock2D", "DownBlock2D"]}),
        r"config\.json: key 'down_block_types\[0\]' is \"AttnDownBlock2D\"; supported is DownBlock2D or CrossAttnDownBlock2D",
    ),
    "a width that the groups do not divide": (
        lambda unet: _replace(unet, "config.json", {**CONFIG, "norm_num_groups": 7}),
        r"config\.json: a width must be a multiple of norm_groups=7, got 8",
    ),
    "too many levels": (
        lambda unet: _replace(unet, "config.json", {**CONFIG, "sample_size": 7}),
        r"config\.json: resolution 7 of scale 'imported' cannot be halved 1 times",
    ),
    "no weights": (lambda unet: (unet / FILE).unlink(), rf"there is no safetensors file in it; put {FILE} beside config\.json"),
    "a pickle": (
        lambda unet: _to_pickle(unet, "diffusion_pytorch_model.bin"),
        r"diffusion_pytorch_model\.bin: this is a pickle, .*not opened here; .*safetensors\.torch\.save_file",
    ),
    "a checkpoint": (lambda unet: _to_pickle(unet, "model.ckpt"), r"model\.ckpt: this is a pickle"),
    "cut short": (
        lambda unet: (unet / FILE).write_bytes((unet / FILE).read_bytes()[:-10]),
        rf"{FILE}: this is no whole safetensors file",
    ),
    "two files": (_to_two_files, r"a\.safetensors, b\.safetensors: which of them is meant\?"),
    "missing": (
        lambda unet: _change_tensors(unet, lambda tensors: tensors.pop("conv_in.bias")),
        r"the weights are not those of config\.json: 1 tensor is missing: conv_in\.bias; nothing was written",
    ),
    "left over": (
        lambda unet: _change_tensors(unet, lambda tensors: tensors.update(extra=np.zeros(1, np.float32))),
        r"1 tensor is left over: extra; nothing was written",
    ),
    "another shape": (
        lambda unet: _change_tensors(unet, lambda tensors: tensors.update({"conv_in.bias": np.zeros(4, np.float32)})),
        r"1 tensor is of another shape: conv_in\.bias is \(4,\) and must be \(8,\)",
    ),
    "another network": (
        lambda unet: _replace(unet, "config.json", {**CONFIG, "layers_per_block": 2}),
        r"\d+ tensors are missing: down_blocks\.0\.resnets\.1\.norm1\.weight, .* \.\.\.",
    ),
    "integers": (
        lambda unet: _change_tensors(unet, lambda tensors: tensors.update({"conv_in.bias": np.zeros(8, np.int32)})),
        r"tensor 'conv_in\.bias' must be of type F64, F32, F16, BF16, got I32",
    ),
    "a missing shard": (
        lambda unet: _to_shards(unet, {"a": "gone.safetensors"}),
        r"gone\.safetensors is missing, and .* names it",
    ),
    "a shard elsewhere": (
        lambda unet: _to_shards(unet, {"a": "../x.safetensors"}),
        r"'\.\./x\.safetensors' must be the name of a file beside it",
    ),
    "no weight map": (lambda unet: _to_shards(unet, None), r"key 'weight_map' must map the names of tensors to files"),
}


@pytest.mark.parametrize("name", BAD_FOLDERS)
def test_a_bad_folder_is_one_message_exit_code_2_and_nothing_written(unet, tmp_path, capsys, name):
    damage, message = BAD_FOLDERS[name]
    damage(unet)
    assert _run("weights", "import", unet, "--out", tmp_path / "bundle") == 2
    error = capsys.readouterr().err.strip()
    assert "Traceback" not in error
    assert len(error.splitlines()) == 1
    assert str(unet) in error
    assert re.search(message, error)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_the_folder_of_a_whole_pipeline_names_its_unet(unet, capsys):
    root = unet.parent
    for name in ("v1-5-pruned.safetensors", "v1-5-pruned-emaonly.safetensors"):
        save_file({"x": np.zeros(1, np.float32)}, root / name)
    assert _run("weights", "import", root, "--out", root.parent / "bundle") == 2
    assert f"config.json is missing: it says which architecture the weights are of; give {unet}" in capsys.readouterr().err


def test_weights_that_were_changed_are_not_exported(bundle, tmp_path, capsys):
    copy = shutil.copytree(bundle, tmp_path / "copy")
    data = bytearray((copy / "weights.safetensors").read_bytes())
    data[-1] ^= 1
    (copy / "weights.safetensors").write_bytes(data)
    assert _run("weights", "export", copy, "--format", "diffusers", "--out", tmp_path / "unet") == 2
    assert "it is not the file that the bundle was written with" in capsys.readouterr().err
    assert not (tmp_path / "unet").exists()


def test_a_pickle_is_not_opened(unet, tmp_path, capsys):
    class Harm:
        def __reduce__(self):
            return (tmp_path.joinpath("harm").write_text, ("done",))

    (unet / FILE).unlink()
    (unet / "model.bin").write_bytes(pickle.dumps(Harm()))
    for given in (unet, unet / "model.bin"):
        assert _run("weights", "import", given, "--out", tmp_path / "bundle") == 2
        assert "this is a pickle" in capsys.readouterr().err
    assert not (tmp_path / "harm").exists()


def test_paths_that_are_not_what_they_should_be(unet, tmp_path, capsys):
    assert _run("weights", "import", tmp_path / "gone", "--out", tmp_path / "bundle") == 2
    assert "gone: there is no such folder; give the one that holds config.json" in capsys.readouterr().err
    assert _run("weights", "import", unet.parent, "--out", tmp_path / "bundle") == 2
    assert f"it says which architecture the weights are of; give {unet}" in capsys.readouterr().err
    assert _run("weights", "import", unet, "--out", unet) == 2
    assert "it exists already; choose another folder with --out" in capsys.readouterr().err
    assert _run("weights", "export", tmp_path / "gone", "--format", "diffusers", "--out", tmp_path / "x") == 2
    assert "there is no such bundle" in capsys.readouterr().err


def test_what_diffusers_cannot_express_is_refused_by_stage_and_field(unet, tmp_path, capsys):
    read = read_bundle(import_weights(unet, tmp_path / "like"))
    settings = TrainingSettings.model_validate({**read.settings.model_dump(), "origin": "searched"})
    searched = Bundle(get_space("digits-small").smallest(), settings, {"network": {}, "prompt": {}})
    weights = unet_parameters(UNet(searched.plan, init=random_initializer(0)))
    searched.parameters["network"].update(weights)
    write_bundle(tmp_path / "searched", searched, expected=expectations(searched), card="")
    assert _run("weights", "export", tmp_path / "searched", "--format", "diffusers", "--out", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert "searched: this architecture cannot be said in diffusers' UNet2DConditionModel: " in error
    assert "down0.convolution is 'separable'; there it is 'full'" in error
    assert not (tmp_path / "out").exists()


def test_a_comparison_is_equal_within_the_tolerance(bundle, recording, tmp_path, capsys):
    np.savez(tmp_path / "io.npz", **recording)
    assert _run("weights", "compare", bundle, tmp_path / "io.npz") == 0
    assert re.match(r"equal: relative error \S+ over 2 examples, at most 1e-05 allowed", capsys.readouterr().out)
    np.savez(tmp_path / "io.npz", **{**recording, "y": 1.01 * recording["y"]})
    assert _run("weights", "compare", bundle, tmp_path / "io.npz") == 1
    error = float(re.match(r"NOT EQUAL: relative error (\S+)", capsys.readouterr().out)[1])
    assert error == pytest.approx(0.01 / 1.01, rel=1e-2)
    assert _run("weights", "compare", bundle, tmp_path / "io.npz", "--tolerance", "0.02") == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"t": None}, "key 't' is missing; the file must hold x (n, channels, height, width), t (n,), context (n, tokens"),
        ({"x": np.zeros((2, 8, 8, 3))}, "x must have shape (n, 3, height, width) for this network, got (2, 8, 8, 3)"),
        ({"x": np.zeros(3)}, "x must have shape (n, 3, height, width) for this network, got (3,)"),
        ({"y": np.ones((2, 3, 8, 4))}, "y must have shape (2, 3, 8, 8) for this network, got (2, 3, 8, 4)"),
        ({"t": np.zeros(3)}, "t must have shape (2,) for this network, got (3,)"),
        ({"context": np.zeros((2, 5, 7))}, "context must have shape (2, tokens, 6) for this network, got (2, 5, 7)"),
        ({"context": np.zeros((2, 0, 6))}, "with at least one token of context"),
        (
            {"x": np.zeros((2, 3, 7, 8)), "y": np.ones((2, 3, 7, 8))},
            "x must hold examples whose height and width are multiples of 2",
        ),
        ({"y": np.zeros((2, 3, 8, 8))}, "y is all zeros"),
        ({"y": np.full((2, 3, 8, 8), np.nan)}, "y must hold finite numbers, got type float64"),
        ({"t": np.array(["a", "b"])}, "t must hold finite numbers, got type <U1"),
        ({"t": np.array([None, {}])}, "this is no whole npz file of plain numbers"),
    ],
)
def test_a_bad_recording_is_refused(bundle, recording, tmp_path, capsys, changes, message):
    arrays = {key: array for key, array in {**recording, **changes}.items() if array is not None}
    np.savez(tmp_path / "io.npz", **arrays)
    assert _run("weights", "compare", bundle, tmp_path / "io.npz") == 2
    error = capsys.readouterr().err
    assert f"{tmp_path / 'io.npz'}: " in error
    assert message in error


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", pickle.dumps({"x": 1})])
def test_files_that_are_no_recording_are_refused(bundle, tmp_path, capsys, content):
    (tmp_path / "io.npz").write_bytes(content)
    assert _run("weights", "compare", bundle, tmp_path / "io.npz") == 2
    assert "io.npz: this is no whole npz file of plain numbers" in capsys.readouterr().err


def test_one_array_or_no_file_is_refused(bundle, tmp_path, capsys):
    np.save(tmp_path / "x.npy", np.zeros(3))
    assert _run("weights", "compare", bundle, tmp_path / "x.npy") == 2
    assert "x.npy: this is no whole npz file of plain numbers" in capsys.readouterr().err
    assert _run("weights", "compare", bundle, tmp_path / "gone.npz") == 2
    assert "gone.npz: there is no such file; give an npz file of x, t, context, y" in capsys.readouterr().err
