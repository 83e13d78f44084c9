"""Exports run as their runtimes run them: the same numbers, a record that suffices to sample, and every refusal."""

import dataclasses
import functools
import hashlib
import itertools
import json
import shutil
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments_fixtures.unet_folders import make_unet_folder
from safetensors.numpy import load_file, save_file

from diffusion import sample_noise
from experiments import cli
from experiments.bundle import Bundle, TrainingSettings, apply_network, read_bundle, write_bundle
from experiments.bundle_quality import expectations
from experiments.config import load_config
from experiments.data.shapes import WORDS
from experiments.exports import formats
from experiments.exports.comparison import WrongExportError, compare_outputs
from experiments.exports.export import NUM_CALLS
from experiments.exports.sampling_record import sampling_record
from experiments.handoff import training_settings
from experiments.sampling import draw_images
from experiments.weights import import_weights
from latency_models.coreml_package import run_coreml, start_coreml
from latency_models.jax_reference import JaxProcess
from latency_models.network import blocks_alone
from search_space import Architecture, Level, Scale, Stage, get_space
from supernet import UNet, unet_parameters
from supernet.initializer import Initializer, random_initializer

SCALE = Scale(
    "tiny", 8, 1, 1, 8, context_length=3, context_width=8, time_features=8, time_width=16, vocabulary=5, norm_group_size=8,
    head_width=8, prompt_layers=1,
)  # fmt: skip
ARCHITECTURE = Architecture(
    (Level(2, Stage(1, transformer_depth=1, attention_function="relu"), Stage(1, convolution="separable")),)
)


def drawn() -> Initializer:
    """Draws parameters of which none is zero: what starts at zero would hide what lies before it."""
    draw = random_initializer(0)
    return lambda shape, *, std, mean=0.0: draw(shape, std=std or 0.1, mean=mean)


def make_bundle(folder, **settings: object):
    """A bundle that nobody trained; it computes something at every layer."""
    given = {"origin": "drawn", "scale": dataclasses.asdict(SCALE), "data": None, **settings}
    bundle = Bundle(ARCHITECTURE, TrainingSettings.model_validate(given), {})
    network, prompt = unet_parameters(UNet(bundle.plan, init=drawn())), bundle.task.prompt_parameters(1)
    bundle = dataclasses.replace(bundle, parameters={"network": network, "prompt": prompt})
    write_bundle(folder, bundle, expected=expectations(bundle), card="")
    return folder


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("bundle") / "unet")


@pytest.fixture
def copy(bundle, tmp_path):
    """A bundle that a test may harm."""
    return shutil.copytree(bundle, tmp_path / "copy")


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as exit_:
        cli.main(["export", *map(str, arguments)])
    return exit_.value.code or 0


def seeded_inputs(batch_size: int) -> dict[str, np.ndarray]:
    """Inputs of the network, none of which the export compared on."""
    rng = np.random.default_rng(7)
    return {
        "x": rng.standard_normal((batch_size, 8, 8, 1), np.float32),
        "timestep": np.linspace(3, 990, batch_size, dtype=np.float32),
        "context": rng.standard_normal((batch_size, 3, 8), np.float32),
    }


def _run_litert(out, inputs):
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(model_path=str(out / "network.tflite")).get_signature_runner("serving_default")
    return runner(**inputs)["output"].copy()


def _run_onnx(out, inputs):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(out / "network" / "model.onnx"), providers=["CPUExecutionProvider"])
    return session.run(["output"], inputs)[0]


def _run_stablehlo(out, inputs):
    return np.asarray(stablehlo(out / "network.stablehlo")(*inputs.values()))


def stablehlo(file) -> Callable:
    """The function of a file."""
    return jax.jit(jax.export.deserialize(bytearray(file.read_bytes())).call)


def _run_coreml(out, inputs):
    """In a child process: coremltools warns when it is imported, and warnings are errors here."""
    process = JaxProcess(start_coreml)
    try:
        return process.call(run_coreml, blocks_alone([], SCALE), out / "network.mlpackage", [tuple(inputs.values())])[0]
    finally:
        process.close()


RUNNERS: dict[str, Callable] = {
    "litert": _run_litert, "onnx": _run_onnx, "stablehlo": _run_stablehlo, "coreml": _run_coreml
}  # fmt: skip
# As large as each should be at least and at most for these weights: a type that was not applied has 1e-6.
ERRORS = {"float32": (0, 2e-5), "float16": (1e-5, 1e-2), "int8": (1e-3, 0.1)}


SLOW = {("onnx", "float16"), ("onnx", "int8"), ("stablehlo", "float16"), ("coreml", "float16"), ("coreml", "int8")}
CASES = [
    pytest.param(to, dtype, marks=[pytest.mark.slow] if (to, dtype) in SLOW else [])
    for to, entry in formats.FORMATS.items()
    if entry.is_graph
    for dtype in entry.dtypes
]


@pytest.mark.parametrize(("to", "dtype"), CASES)
def test_an_exported_file_computes_what_flax_computes(bundle, tmp_path, capsys, to, dtype):
    batch_size = {"float32": 1, "float16": 2, "int8": 1}[dtype]
    out = tmp_path / "out"
    assert run(bundle, "--format", to, "--dtype", dtype, "--batch-size", batch_size, "--out", out) == 0
    printed = capsys.readouterr().out.splitlines()
    record = json.loads((out / "export.json").read_text())
    network, prompt = record["graphs"]["network"], record["graphs"]["prompt"]
    assert printed[0].startswith(f"network: relative error {network['relative_error']:.2e}")
    assert printed[-1] == str(out)
    assert (network["num_calls"], network["dtype"], prompt["dtype"]) == (NUM_CALLS, dtype, "float32")
    assert ERRORS[dtype][0] <= network["relative_error"] <= ERRORS[dtype][1]
    assert prompt["relative_error"] <= ERRORS["float32"][1]

    inputs = seeded_inputs(batch_size)
    assert {entry["name"]: tuple(entry["shape"]) for entry in network["inputs"]} == {k: x.shape for k, x in inputs.items()}
    read = read_bundle(bundle)
    expected = np.asarray(jax.jit(functools.partial(apply_network, read.network()))(read.parameters["network"], **inputs))
    found = RUNNERS[to](out, inputs)
    assert found.shape == tuple(network["output"]["shape"]) == expected.shape
    assert compare_outputs([found], [expected], limit=ERRORS[dtype][1]).is_within_limit

    names = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert names == {*record["files"], "export.json"} == {*network["files"], *prompt["files"], "export.json"}
    for name, entry in record["files"].items():
        content = (out / name).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (entry["bytes"], entry["sha256"])
    if to == "litert":
        assert (network["xnnpack_partitions"], network["not_in_xnnpack"]) == (1, [])


def test_smaller_types_make_smaller_files_and_the_same_export_the_same_file(bundle, tmp_path):
    for i, dtype in enumerate(["float32", "float16", "int8", "float32"]):
        assert run(bundle, "--format", "stablehlo", "--dtype", dtype, "--out", tmp_path / str(i)) == 0
    contents = [(tmp_path / str(i) / "network.stablehlo").read_bytes() for i in range(4)]
    matrices = sum(x.size for x in read_bundle(bundle).parameters["network"].values() if x.ndim > 1)
    assert len(contents[0]) - len(contents[1]) > 1.8 * matrices
    assert len(contents[0]) - len(contents[2]) > 2.5 * matrices
    assert contents[3] == contents[0]
    assert b"unet.py" not in contents[0]  # a location of this machine


@pytest.mark.parametrize(
    ("sampler", "parameterisation", "schedule", "guidance_scale"),
    [
        ("ddim", "v", "cosine", 1.5),
        ("dpmpp_2m", "eps", "scaled_linear", 1.0),
        pytest.param("dpmpp_2m", "x0", "cosine", 2.0, marks=pytest.mark.slow),
    ],
)
def test_the_record_and_the_graphs_suffice_to_sample(tmp_path, sampler, parameterisation, schedule, guidance_scale):
    settings = {"sampler": sampler, "parameterisation": parameterisation, "schedule": schedule, "sample_steps": 4}
    path = make_bundle(tmp_path / "unet", guidance_scale=guidance_scale, **settings)
    assert run(path, "--format", "stablehlo", "--out", tmp_path / "out") == 0
    record = json.loads((tmp_path / "out" / "export.json").read_text())["sampling"]
    network, encoder = (stablehlo(tmp_path / "out" / f"{name}.stablehlo") for name in ("network", "prompt"))
    tokens = np.array([[2, 1, 0]], np.int32)
    contexts = [np.asarray(encoder(x)) for x in (np.array([record["prompts"]["null_prompt"]], np.int32), tokens)]
    x = np.asarray(sample_noise(5, jnp.arange(1), (8, 8, 1)))
    steps = [*record["steps"], record["end"]]
    estimates, scale = [], record["guidance_scale"]
    for i, (now, after) in enumerate(itertools.pairwise(steps)):
        time = np.array([now["timestep"]], np.float32)
        null, conditioned = (np.asarray(network(x, time, context)) for context in contexts)
        names = {"x": x, "output": null + scale * (conditioned - null), "alpha": now["alpha"], "sigma": now["sigma"]}
        denoised = eval(record["denoised"], {}, names)
        estimates.append(denoised)
        if record["sampler"] == "dpmpp_2m" and 0 < i < len(steps) - 2:
            half_log_snr = [np.log(step["alpha"] / step["sigma"]) for step in steps[i - 1 : i + 2]]
            lean = (half_log_snr[2] - half_log_snr[1]) / (2 * (half_log_snr[1] - half_log_snr[0]))
            denoised = denoised + lean * (denoised - estimates[-2])
        ratio = after["sigma"] / now["sigma"]
        x = ratio * x + (after["alpha"] - now["alpha"] * ratio) * denoised
    expected = draw_images(read_bundle(path), tokens, num=1, seed=5)
    np.testing.assert_allclose(x, expected, atol=2e-4 * np.abs(expected).max())


def test_the_record_has_the_words_and_labels_that_tokens_stand_for():
    for name, key, expected in (("shapes", "words", WORDS), ("digits", "labels", tuple("0123456789"))):
        config = load_config(name)
        bundle = Bundle(get_space(config.space).smallest(), training_settings(config, "-"), {})
        prompts = sampling_record(bundle)["prompts"]
        assert prompts[key] == expected
    gone = dataclasses.replace(bundle, settings=bundle.settings.model_copy(update={"data": "/nowhere"}))
    assert not {"words", "labels"} & sampling_record(gone)["prompts"].keys()


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_safetensors_are_read_back_by_diffusers_names(tmp_path, capsys, dtype):
    bundle = import_weights(make_unet_folder(tmp_path / "unet"), tmp_path / "bundle", context_length=4)
    assert run(bundle, "--format", "safetensors", "--dtype", dtype) == 0
    out = bundle / f"safetensors-{dtype}"
    assert capsys.readouterr().out.splitlines()[-1] == str(out)
    record = json.loads((out / "export.json").read_text())
    low, high = {"float32": (0, 0), "float16": (1e-5, 3e-3)}[dtype]
    assert low <= record["graphs"]["network"]["relative_error"] <= high
    assert record["sampling"]["prompts"]["contexts"].startswith("come encoded")
    theirs = load_file(tmp_path / "unet" / "diffusion_pytorch_model.safetensors")
    written = load_file(out / "diffusion_pytorch_model.safetensors")
    assert {name: x.dtype.name for name, x in written.items()} == dict.fromkeys(theirs, dtype)
    np.testing.assert_array_equal(written["conv_in.weight"], theirs["conv_in.weight"].astype(dtype))


@pytest.mark.parametrize("weight", ["blocks/input_convolution/conv/kernel", "blocks/output_head/conv/kernel"])
def test_a_file_with_one_wrong_weight_is_not_kept(bundle, copy, tmp_path, monkeypatch, capsys, weight):
    """The graph of a network one of whose kernels is off by a thousandth of its size, compared with the right one."""
    wrong = tmp_path / "wrong"
    shutil.move(copy, wrong)
    tensors = load_file(wrong / "weights.safetensors")
    tensors[f"network/{weight}"] *= 1.001
    save_file(tensors, wrong / "weights.safetensors")
    promises = (wrong / "expected.json").read_text()
    _without_digest(wrong)
    right = formats.FORMATS["stablehlo"]
    swapped = dataclasses.replace(
        right, export=lambda graph, folder, dtype: right.export(dataclasses.replace(graph, bundle=wrong), folder, dtype)
    )
    monkeypatch.setitem(formats.FORMATS, "stablehlo", swapped)
    assert run(bundle, "--format", "stablehlo", "--out", tmp_path / "out") == 1
    answer = capsys.readouterr()
    assert not answer.out
    assert "the network computes something else, and was not kept: relative error" in answer.err
    assert "at most 0.0001 allowed" in answer.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["wrong"]
    monkeypatch.undo()
    (wrong / "expected.json").write_text(promises)
    assert run(wrong, "--format", "stablehlo", "--out", tmp_path / "out") == 2  # such a bundle is not taken either
    assert "it is not the file that the bundle was written with" in capsys.readouterr().err


def _cut(copy):
    file = copy / "weights.safetensors"
    file.write_bytes(file.read_bytes()[:-5])


def _flip(copy):
    file = copy / "weights.safetensors"
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)


def _rewrite(change: Callable[[dict[str, np.ndarray]], None]) -> Callable:
    def damage(copy):
        tensors = load_file(copy / "weights.safetensors")
        change(tensors)
        save_file(tensors, copy / "weights.safetensors")
        _without_digest(copy)

    return damage


def _without_digest(copy):
    """As bundles were written once."""
    expected = json.loads((copy / "expected.json").read_text())
    del expected["weights_sha256"]
    (copy / "expected.json").write_text(json.dumps(expected))


BAD_BUNDLES: dict[str, tuple[Callable, str]] = {
    "cut short": (_cut, "this is no whole safetensors file"),
    "changed": (_flip, "it is not the file that the bundle was written with"),
    "not finite": (
        _rewrite(lambda tensors: tensors["network/blocks/output_head/conv/bias"].fill(np.nan)),
        "the network's own output is not finite",
    ),
    "never trained": (
        _rewrite(lambda tensors: [x.fill(0) for name, x in tensors.items() if "/output_head/conv/" in name]),
        "output is 0 everywhere, so that no error is relative to it; train it first",
    ),
    "no promises": (lambda copy: (copy / "expected.json").unlink(), "expected.json: cannot be read"),
    "no weights": (lambda copy: (copy / "weights.safetensors").unlink(), "weights.safetensors is missing"),
}


@pytest.mark.parametrize("name", BAD_BUNDLES)
def test_a_bad_bundle_is_one_message_and_nothing_is_written(copy, capsys, name):
    damage, message = BAD_BUNDLES[name]
    damage(copy)
    before = sorted(copy.parent.rglob("*"))
    assert run(copy, "--format", "stablehlo") == 2
    error = capsys.readouterr().err.strip()
    assert len(error.splitlines()) == 1
    assert message in error
    assert sorted(copy.parent.rglob("*")) == before


def test_what_cannot_be_exported_is_one_message(bundle, tmp_path, monkeypatch, capsys):
    def refused(*arguments: object) -> str:
        assert run(bundle, *arguments) == 2
        assert not (tmp_path / "out").exists()
        return capsys.readouterr().err.strip()

    out = ("--out", tmp_path / "out")
    (tmp_path / "there").mkdir()
    assert "there: it exists already" in refused("--format", "litert", "--out", tmp_path / "there")
    assert refused("--format", "tflite", *out).startswith(
        "pocketunet: --format tflite is not known; known are litert, onnx, stablehlo, coreml, safetensors"
    )
    assert "has no int8 weights, only float32, float16; for int8 use litert, onnx, stablehlo, coreml" in refused(
        "--format", "safetensors", "--dtype", "int8", *out
    )
    inexpressible = refused("--format", "safetensors", *out)
    assert "down0.attention_function is 'relu'; there it is 'softmax'" in inexpressible
    assert "try --format litert, onnx, stablehlo, coreml" in inexpressible
    assert "0 is not in the range" in refused("--format", "litert", "--batch-size", "0", *out)

    def refuse(*_: object) -> None:
        raise ValueError("LiteRT's converter refuses this network: in block down0.0.residual: fft")

    monkeypatch.setitem(formats.FORMATS, "litert", dataclasses.replace(formats.FORMATS["litert"], export=refuse))
    assert "in block down0.0.residual: fft; try --format onnx, stablehlo, coreml" in refused("--format", "litert", *out)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "needs jax2onnx and onnx and onnxruntime, not installed here; `make install` brings it" in refused(
        "--format", "onnx", *out
    )
    assert "needs coremltools and stablehlo-coreml, not installed here; `make install` brings" in refused(
        "--format", "coreml", *out
    )
    assert "with --dtype int8 needs ai-edge-litert and litert-converter and ai-edge-quantizer" in refused(
        "--format", "litert", "--dtype", "int8", *out
    )


def test_outputs_of_another_shape_are_refused():
    with pytest.raises(WrongExportError, match=r"the exported graph returns shape \(2,\), Flax \(1, 2\)"):
        compare_outputs([np.ones(2)], [np.ones((1, 2))], limit=1.0)


def test_help_names_every_format(capsys):
    assert run("--help") == 0
    shown = capsys.readouterr().out
    assert [name for name in formats.FORMATS if name not in shown] == []


def test_errors_are_shares_of_the_output():
    found = compare_outputs([np.array([1.0, 2.0]), np.array([4.5])], [np.array([1.0, 2.0]), np.array([4.0])], limit=0.1)
    assert found.relative_error == pytest.approx(0.5 / 4)
    assert found.relative_rms_error == pytest.approx(0.5 / np.sqrt(1 + 4 + 16))
    assert not found.is_within_limit
    assert not compare_outputs([np.array([np.nan])], [np.array([1.0])], limit=0.5).is_within_limit
