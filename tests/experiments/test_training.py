"""Training of a bundle on real digits: over devices, in parts, in low precision, with less memory; killed, and gone on with."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments_fixtures.networks import TINY

from experiments.bundle import Bundle, read_bundle, with_settings, write_bundle
from experiments.bundle_folders import resumable_folder
from experiments.config import load_config
from experiments.denoising_task import load_examples
from experiments.errors import InputError
from experiments.fitting import training_apply
from experiments.fitting_loop import fit_phases
from experiments.handoff import training_settings
from experiments.progress import silent_progress
from experiments.training import denoising_phase, train_bundle, with_fresh_weights

ROOT = Path(__file__).parents[2]
CONFIG = load_config("digits-small")
SETTINGS = training_settings(CONFIG, "fresh weights").model_copy(
    update={"batch_size": 16, "learning_rate": 1e-2, "warmup_steps": 0}
)
NUM_STEPS = 3


@pytest.fixture(scope="module")
def bundle():
    return with_fresh_weights(Bundle(TINY, SETTINGS, {}), 0)


def weights_after(bundle, num_steps=NUM_STEPS):
    phases = [denoising_phase(bundle, num_steps)]
    return fit_phases(bundle, phases, seed=1, folder=None, progress=silent_progress()).parameters["network"]


def assert_same_training(found, wanted, start, *, share):
    """Weights agree to a share of how far the largest of each array has moved."""
    for path, values in wanted.items():
        moved = np.abs(values - start[path]).max()
        np.testing.assert_allclose(found[path], values, atol=share * moved + 1e-7, err_msg=path)


@pytest.fixture(scope="module")
def plain(bundle):
    return weights_after(bundle)


def test_parts_of_a_batch_and_blocks_computed_again_give_the_same_training(bundle, plain):
    other = with_settings(bundle, accumulation=4, remat=True)
    assert_same_training(weights_after(other), plain, bundle.parameters["network"], share=0.03)


def test_low_precision_rounds_and_keeps_weights_as_they_are(bundle, plain):
    low = with_settings(bundle, precision="bfloat16")
    inputs = (jax.random.normal(jax.random.key(0), (4, 8, 8, 1)), jnp.full(4, 300.0))
    context = jnp.ones((4, low.task.scale.context_length, low.task.scale.context_width))
    parameters = {key: x + 0.1 for key, x in bundle.parameters["network"].items()}
    exact, rounded = (training_apply(of)(parameters, *inputs, context) for of in (bundle, low))
    assert rounded.dtype == jnp.float32
    error = float(jnp.max(jnp.abs(rounded - exact)) / jnp.max(jnp.abs(exact)))
    assert 1e-4 < error < 0.05
    found = weights_after(low)
    assert {x.dtype for x in jax.tree.leaves(found)} == {jnp.dtype("float32")}
    distance = lambda one, other: np.sqrt(sum(np.sum((one[k] - other[k]) ** 2) for k in one))  # noqa: E731
    assert 0 < distance(found, plain) < 0.5 * distance(plain, bundle.parameters["network"])


@pytest.mark.parametrize(("key", "value"), [("accumulation", 3), ("precision", "float16"), ("remat", "yes")])
def test_settings_that_do_not_go_are_refused(bundle, key, value):
    with pytest.raises(InputError, match=key):
        with_settings(bundle, **{key: value})


def saved(bundle, folder):
    write_bundle(folder, bundle, expected={}, card="")
    return folder


TWO_DEVICES = """
import sys
from pathlib import Path
import jax, numpy as np
from experiments.bundle import read_bundle
from experiments.fitting_loop import fit_phases
from experiments.progress import silent_progress
from experiments.training import denoising_phase
bundle = read_bundle(Path(sys.argv[1]))
assert jax.device_count() == 2
found = fit_phases(bundle, [denoising_phase(bundle, int(sys.argv[3]))], seed=1, folder=None, progress=silent_progress())
np.savez(sys.argv[2], **found.parameters["network"])
"""


WITH_A_TEACHER = """
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from experiments.fitting import compiled
mesh = Mesh(np.array(jax.devices()), ("examples",))
assert mesh.size == 2
teacher = jnp.arange(4.0)
step = compiled(lambda state, images: (state + teacher * images.sum(), images.mean()))
state, images = (jax.device_put(jnp.ones(4), NamedSharding(mesh, PartitionSpec(*axes))) for axes in ((), ("examples",)))
with jax.transfer_guard_device_to_device("disallow"):
    state, _ = step(state, images)
assert state.tolist() == [1.0, 5.0, 9.0, 13.0]
"""


def test_what_a_step_closes_over_is_on_every_device_already():
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2"
    subprocess.run([sys.executable, "-c", WITH_A_TEACHER], cwd=ROOT, env={**os.environ, "XLA_FLAGS": flags}, check=True)


def test_two_devices_train_as_one(bundle, plain, tmp_path):
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2"
    arguments = [saved(bundle, tmp_path / "bundle"), tmp_path / "found.npz", NUM_STEPS]
    subprocess.run(
        [sys.executable, "-c", TWO_DEVICES, *map(str, arguments)], check=True, env={**os.environ, "XLA_FLAGS": flags}, cwd=ROOT
    )
    found = dict(np.load(tmp_path / "found.npz"))
    assert_same_training(found, plain, bundle.parameters["network"], share=0.03)


def test_a_training_writes_a_bundle_that_says_how_it_was_made(bundle, tmp_path):
    made = train_bundle(saved(bundle, tmp_path / "bundle"), steps=2, seed=7, out=tmp_path / "made")
    asked = json.loads((made / "made_by.json").read_text())
    assert asked["method"] == {"method": "train", "updates": 2}
    assert (asked["seed"], asked["settings"]["learning_rate"]) == (7, 0.01)
    assert sorted(path.name for path in made.iterdir()) == [
        "README.md", "architecture.json", "expected.json", "history.json", "made_by.json", "samples", "tensorboard",
        "training.yaml", "weights.safetensors",
    ]  # fmt: skip
    assert read_bundle(made).settings.origin == "fresh weights, then trained for 2 steps"
    assert "![Samples](samples/2.png)" in (made / "README.md").read_text()
    assert (made / "samples" / "2.png").is_file()
    assert {path.name for path in tmp_path.iterdir()} == {"bundle", "made"}


def begun(folder, asked):
    """A training that was interrupted."""
    with resumable_folder(folder, asked) as partial:
        (partial / "work" / "checkpoints").mkdir()
        raise KeyboardInterrupt


def test_another_request_does_not_go_on_with_what_is_there(bundle, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        begun(tmp_path / "made", {"method": {"updates": 2, "steps": 8}, "seed": 1})
    with pytest.raises(InputError, match=r"made.partial: .* another request \(method.updates was 2, and is 3\)"):
        begun(tmp_path / "made", {"method": {"updates": 3, "steps": 8}, "seed": 1})
    with pytest.raises(InputError, match="of other keys"):
        begun(tmp_path / "made", {"method": {"updates": 2}, "seed": 1})


def test_what_ends_before_anything_is_kept_leaves_nothing(tmp_path):
    with pytest.raises(KeyError), resumable_folder(tmp_path / "made", {"seed": 1}):
        raise KeyError
    assert not (tmp_path / "made.partial").exists()


def test_two_processes_do_not_train_into_one_folder(tmp_path):
    with resumable_folder(tmp_path / "made", {"seed": 1}) as partial:
        (partial / "work" / "checkpoints").mkdir()
        with (
            pytest.raises(InputError, match="another process writes this training"),
            resumable_folder(tmp_path / "made", {"seed": 1}),
        ):
            pass
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


TRAIN = "from experiments.cli import main; main()"


@pytest.mark.slow
def test_a_training_that_is_killed_five_times_has_the_curve_of_one_that_was_not(bundle, tmp_path):
    path = saved(dataclasses.replace(bundle, settings=SETTINGS), tmp_path / "bundle")
    whole = train_bundle(path, steps=400, out=tmp_path / "whole")
    command = [sys.executable, "-c", TRAIN, "train", str(path), "--steps", "400", "--out", str(tmp_path / "cut")]
    history, kills = tmp_path / "cut.partial" / "history.json", 0
    for at in (20, 90, 130, 270, 390):
        process = subprocess.Popen(command, cwd=ROOT)
        while process.poll() is None:
            points = json.loads(history.read_text()) if history.is_file() else []
            if points and points[-1]["step"] >= at:
                process.send_signal(signal.SIGKILL)
                process.wait()
                kills += 1
                break
            time.sleep(0.02)
    subprocess.run(command, check=True, cwd=ROOT)
    assert kills == 5
    one, other = (json.loads((folder / "history.json").read_text()) for folder in (whole, tmp_path / "cut"))
    assert [point["step"] for point in one] == [point["step"] for point in other]
    np.testing.assert_allclose([p["loss"] for p in one], [p["loss"] for p in other], rtol=1e-6)
    found, wanted = (read_bundle(folder).parameters["network"] for folder in (tmp_path / "cut", whole))
    for name, values in wanted.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)),) * 2)
from experiments.cli import main
main()
"""


def test_a_full_disk_ends_with_one_message_and_leaves_the_last_checkpoint(bundle, tmp_path):
    path = saved(bundle, tmp_path / "bundle")
    load_examples("digits", bundle.task.scale, split="train")  # is prepared while there is room
    command = ["train", str(path), "--steps", "30", "--out", str(tmp_path / "made")]
    found = subprocess.run(
        [sys.executable, "-c", LIMITED, "20000", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert found.returncode == 2, found.stderr
    message = found.stderr.strip().splitlines()[-1]
    assert "a checkpoint cannot be written" in message
    assert "mend that (a full disk wants room), and give the same command again" in message
    subprocess.run([sys.executable, "-c", TRAIN, *command], cwd=ROOT, check=True)
    assert read_bundle(tmp_path / "made").settings.origin.endswith("trained for 30 steps")
