"""LoRA with every way to train: nothing at first, low rank afterwards, an ordinary bundle, and a file that its base takes."""

import dataclasses
import functools
import shutil

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from experiments import cli
from experiments.bundle import Bundle, file_sha256, read_bundle, with_settings, write_bundle
from experiments.bundle_quality import verify_bundle
from experiments.config import load_config
from experiments.denoising_task import load_examples, training_examples
from experiments.distilling.distill import distill_as_asked
from experiments.distilling.methods import METHODS
from experiments.distilling.relu_attention import with_relu_attention
from experiments.errors import InputError
from experiments.fitting import Given
from experiments.handoff import training_settings
from experiments.lora_file import with_lora, write_lora
from experiments.progress import silent_progress
from experiments.safetensors_stream import read_header
from experiments.training import denoising_phase, train_bundle, with_fresh_weights
from search_space import get_space

RANK = 2
SETTINGS = training_settings(load_config("digits-small"), "fresh weights").model_copy(
    update={"batch_size": 16, "learning_rate": 1e-2, "warmup_steps": 0, "ema_decay": 0.5, "lora_rank": RANK}
)


def started(seed):
    """A bundle none of whose kernels is zero: behind zeros, nothing would learn at first."""
    bundle = with_fresh_weights(Bundle(get_space("digits-small").smallest(), SETTINGS, {}), seed)
    network = {path: x + 0.05 for path, x in bundle.parameters["network"].items()}
    return dataclasses.replace(bundle, parameters={**bundle.parameters, "network": network})


BASE = started(0)
TRAININGS = {
    "train": [],
    "knowledge": [],
    "progressive": ["steps=2", "from_steps=4"],
    "ufogen": [],
}


@functools.cache
def batch():
    scale = BASE.task.scale
    return next(training_examples(load_examples("digits", scale, split="train"), scale, batch_size=16, seed=0))


def phase_of(method, folder):
    if method == "train":
        return denoising_phase(BASE, 4)
    keys = dict(key.split("=") for key in TRAININGS[method])
    settings = METHODS[method].settings.model_validate({"method": method, "updates": 4, **{k: int(x) for k, x in keys.items()}})
    return METHODS[method].phases(Given(BASE, started(1), 0, folder, silent_progress()), settings)[0]


@pytest.mark.parametrize("method", TRAININGS)
def test_a_training_starts_from_the_network_as_it_is_and_leaves_differences_of_low_rank(method, tmp_path):
    fitting = phase_of(method, tmp_path).fitting(BASE)
    handed = fitting.trained(fitting.state)
    assert handed.keys() == BASE.parameters.keys()
    for path, x in BASE.parameters["network"].items():
        np.testing.assert_array_equal(handed["network"][path], x)
    state = fitting.state
    for number in (1, 2, 3):
        state, losses = fitting.step(state, jnp.uint32(0), jnp.uint32(number), *batch(), jnp.float32(1))
    assert np.isfinite(losses["loss"])
    handed = fitting.trained(state)
    for path, x in BASE.parameters["network"].items():
        difference = np.asarray(handed["network"][path] - x)
        if path.endswith("/kernel"):
            ranks = np.linalg.matrix_rank(difference.reshape(-1, difference.shape[-1]), tol=1e-5)
            assert 1 <= ranks <= RANK, path
        else:
            assert not difference.any(), path
    for path, x in BASE.parameters["prompt"].items():
        np.testing.assert_array_equal(handed["prompt"][path], x)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lora")
    write_bundle(folder / "bundle", with_settings(BASE, lora_rank=None), expected={}, card="")
    return folder / "bundle"


@pytest.fixture(scope="module")
def made(bundle):
    """After two halvings."""
    keys = ("lora_rank=2", "updates=2", "from_steps=4")
    [made] = distill_as_asked(bundle, keys, method="progressive", steps="1")
    return made


def assert_base_takes(base, made):
    merged = read_bundle(made)
    found = with_lora(read_bundle(base), base, made / "lora.safetensors").parameters["network"]
    for path, x in merged.parameters["network"].items():
        np.testing.assert_allclose(found[path], x, atol=1e-6, err_msg=path)
    assert merged.settings.lora_rank is None  # what is trained next is trained as its own keys say
    assert all(check.is_kept for check in verify_bundle(made))


def test_a_method_writes_an_ordinary_bundle_and_updates_that_its_base_takes(bundle, made):
    assert_base_takes(bundle, made)
    shapes = {name: tensor.type.shape for name, tensor in read_header(made / "lora.safetensors")[0].items()}
    assert shapes["blocks/down0_downsample/conv/kernel/down"][1] == 2 * RANK


def test_train_does_so_where_the_file_says_so(bundle, tmp_path):
    other = shutil.copytree(bundle, tmp_path / "other", ignore=shutil.ignore_patterns("distilled"))
    file = other / "training.yaml"
    file.write_text(file.read_text().replace("lora_rank: null", "lora_rank: 1"))
    assert_base_takes(bundle, train_bundle(other, steps=2, out=tmp_path / "made"))


def test_no_rank_is_not_a_rank(bundle, tmp_path):
    with pytest.raises(InputError, match="key 'lora_rank'"):
        distill_as_asked(bundle, ("lora_rank=0",), method="ufogen", out=tmp_path / "made")


def run(*arguments):
    with pytest.raises(SystemExit) as exit_:
        cli.main([str(argument) for argument in arguments])
    return exit_.value.code or 0


def test_sample_adds_the_updates_and_refuses_those_of_another_bundle(bundle, made, tmp_path, capsys):
    lora, pictures = made / "lora.safetensors", [tmp_path / f"{i}.png" for i in range(3)]
    common = ("--num", 4, "--steps", 1, "--guidance", 1)
    assert run("sample", bundle, *common, "--out", pictures[0]) == 0
    assert run("sample", bundle, *common, "--out", pictures[1], "--lora", lora) == 0
    assert run("sample", made, *common, "--out", pictures[2]) == 0
    plain, added, merged = (np.asarray(Image.open(picture), int) for picture in pictures)
    assert np.abs(added - merged).max() <= 1  # grey level
    assert np.abs(added - plain).max() > 1
    capsys.readouterr()
    for base, file, message in (
        (made, lora, "its updates are of base"),
        (bundle, made / "weights.safetensors", "its updates are of base unknown"),
        (bundle, pictures[0], "this is no whole safetensors file"),
        (bundle, tmp_path / "none", "none' does not exist"),
    ):
        assert run("sample", base, "--lora", file) == 2
        assert message in capsys.readouterr().err


def test_updates_that_lead_to_another_architecture_are_refused(tmp_path):
    softmax = with_fresh_weights(Bundle(get_space("digits").largest(), SETTINGS, {}), 0)
    relu = dataclasses.replace(softmax, architecture=with_relu_attention(softmax.architecture))
    write_bundle(tmp_path / "bundle", softmax, expected={}, card="")
    file = tmp_path / "lora.safetensors"
    write_lora(file, softmax, relu, rank=1, base=file_sha256(tmp_path / "bundle" / "weights.safetensors"))
    with pytest.raises(InputError, match=r"its updates are of architecture \w{16}, that of .*bundle is"):
        with_lora(softmax, tmp_path / "bundle", file)
