"""The loop that all training shares: it goes on where it was interrupted, and steps back from divergence."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiments_fixtures.networks import TINY

from experiments.bundle import Bundle
from experiments.bundle_folders import WORK
from experiments.checkpoints import Checkpoints
from experiments.config import load_config
from experiments.errors import InputError
from experiments.fitting import Fitting, Phase, single_loss
from experiments.fitting_loop import fit_phases
from experiments.handoff import training_settings
from experiments.progress import silent_progress
from experiments.training import with_fresh_weights

CONFIG = load_config("digits-small")
NUM_STEPS = 100
SETTINGS = training_settings(CONFIG, "fresh weights").model_copy(update={"batch_size": 16, "learning_rate": 1e-2})
BUNDLE = with_fresh_weights(Bundle(TINY, SETTINGS, {}), 0)


class Interrupted(Exception):
    pass


@pytest.fixture(autouse=True)
def without_pictures(whole, monkeypatch):
    """Compiling the sampler takes most of the time; `whole` has drawn, before this."""
    monkeypatch.setattr("experiments.fitting_loop.grid_drawer", lambda bundle, *, seed: lambda parameters, out: out)


class Interrupting:
    """Progress that ends a training at a step, and keeps what is said."""

    def __init__(self, at=None):
        self.at, self.count, self.said = at, 0, []

    def stage(self, title, total, *, done=0):
        self.titles = [*getattr(self, "titles", []), (title, total, done)]
        return silent_progress().stage(title, total, done=done) if self.at is None else _Stage(self)

    def say(self, text):
        self.said.append(text)


class _Stage:
    def __init__(self, progress):
        self.progress = progress

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def advance(self, steps=1, *, note=""):
        self.progress.count += steps
        if self.progress.count == self.progress.at:
            raise Interrupted


def mean_phase(num_steps=NUM_STEPS, title="Mean", poisoned=None, most_rate=None):
    """Trains one number to the mean of the images and noise, seen with a state that depends on every step's batch and seed.

    Where `poisoned`, its loss is not a number at that step unless the learning rate is below `most_rate`.
    """

    def fitting(bundle):
        @jax.jit
        def step(state, seed, number, images, prompts, rate):
            noise = jax.random.normal(jax.random.fold_in(jax.random.key(seed), number), ())
            wanted = images.mean() + noise + 1e-3 * prompts.sum()
            loss = (state["x"] - wanted) ** 2
            if poisoned is not None:
                loss = jnp.where((number == poisoned) & (rate > most_rate), jnp.nan, loss)
            x = state["x"] - 0.1 * rate * jnp.where(jnp.isnan(loss), jnp.nan, 2 * (state["x"] - wanted))
            return {"x": x, "sum": state["sum"] + loss}, {"loss": loss, "distance": jnp.abs(state["x"] - wanted)}

        bias = bundle.parameters["network"]["blocks/output_head/conv/bias"]
        return Fitting(
            {"x": jnp.mean(bias), "sum": jnp.float32(0)},
            step,
            lambda state: {
                **bundle.parameters,
                "network": {**bundle.parameters["network"], "blocks/output_head/conv/bias": jnp.full_like(bias, state["x"])},
            },
        )

    return Phase(title, num_steps, fitting, {"sample_steps": 2})


def bias_of(bundle):
    return float(bundle.parameters["network"]["blocks/output_head/conv/bias"][0])


def fit(folder, phases, progress=None):
    folder.mkdir(exist_ok=True)
    return fit_phases(BUNDLE, phases, seed=4, folder=folder, progress=progress or silent_progress())


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return folder, fit(folder, [mean_phase(), mean_phase(60, "Again")])


def test_phases_follow_each_other_and_leave_curve_and_grids(whole):
    folder, trained = whole
    assert trained.settings.sample_steps == 2
    points = json.loads((folder / "history.json").read_text())
    assert [point["step"] for point in points] == list(range(1, 161))
    assert points[0].keys() == {"step", "loss", "distance"}
    assert sorted(path.name for path in (folder / "samples").iterdir()) == [
        "025.png", "050.png", "075.png", "100.png", "115.png", "130.png", "145.png", "160.png",
    ]  # fmt: skip


@pytest.mark.parametrize("instants", [(1,), (33, 5, 44), (100,), (101, 59)])
def test_a_training_that_was_interrupted_ends_as_if_it_had_not_been(whole, tmp_path, instants):
    folder, trained = whole
    phases = [mean_phase(), mean_phase(60, "Again")]
    for at in instants:
        with pytest.raises(Interrupted):
            fit(tmp_path / "cut", phases, Interrupting(at))
    again = fit(tmp_path / "cut", phases)
    assert bias_of(again) == bias_of(trained)
    assert (tmp_path / "cut" / "history.json").read_bytes() == (folder / "history.json").read_bytes()


def test_what_is_done_is_not_done_again(tmp_path):
    phases = [mean_phase(), mean_phase(60, "Again")]
    with pytest.raises(Interrupted):
        fit(tmp_path / "cut", phases, Interrupting(130))
    progress = Interrupting()
    fit(tmp_path / "cut", phases, progress)
    assert progress.titles == [("Again", 60, 20)]


def test_a_phase_that_is_done_keeps_its_last_checkpoint_alone(whole):
    folder, _ = whole
    assert [path.name for path in (folder / WORK / "checkpoints" / "1").iterdir() if path.name.isdigit()] == ["100"]


ON_TWO_DEVICES = """
import sys
from pathlib import Path
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from experiments.checkpoints import Checkpoints
mesh = Mesh(np.array(jax.devices()), ("examples",))
assert mesh.size == 2
with Checkpoints(Path(sys.argv[1])) as checkpoints:
    checkpoints.save(7, {"x": jax.device_put(jnp.arange(4), NamedSharding(mesh, PartitionSpec()))})
"""


def test_what_two_devices_wrote_is_gone_on_with_on_one(tmp_path):
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2"
    command = [sys.executable, "-c", ON_TWO_DEVICES, str(tmp_path)]
    subprocess.run(command, env={**os.environ, "XLA_FLAGS": flags}, check=True)
    with Checkpoints(tmp_path) as checkpoints:
        step, state = checkpoints.restore({"x": jnp.zeros(4, int)}, silent_progress())
    assert (step, state["x"].tolist()) == (7, [0, 1, 2, 3])


def test_a_checkpoint_that_was_cut_short_costs_steps_and_no_more(whole, tmp_path):
    with pytest.raises(Interrupted):
        fit(tmp_path / "cut", [mean_phase(), mean_phase(60, "Again")], Interrupting(70))
    checkpoints = tmp_path / "cut" / WORK / "checkpoints" / "1"
    assert sorted(int(path.name) for path in checkpoints.iterdir() if path.name.isdigit()) == [40, 60]
    damaged = [path for path in (checkpoints / "60").rglob("*") if path.is_file()]
    for path in damaged:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    progress = Interrupting()
    again = fit(tmp_path / "cut", [mean_phase(), mean_phase(60, "Again")], progress)
    assert progress.titles[0] == ("Mean", 100, 40)
    assert "60: this checkpoint cannot be read" in progress.said[0]
    assert bias_of(again) == bias_of(whole[1])


def test_where_no_checkpoint_can_be_read_that_is_said(tmp_path):
    with pytest.raises(Interrupted):
        fit(tmp_path / "cut", [mean_phase()], Interrupting(30))
    for path in (tmp_path / "cut" / WORK).rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    with pytest.raises(InputError, match="no checkpoint in it can be read; delete the folder to begin this training again"):
        fit(tmp_path / "cut", [mean_phase()])


@pytest.mark.parametrize("poisoned", [1, 75])
def test_training_steps_back_from_divergence_and_goes_on_with_a_lower_rate(tmp_path, poisoned):
    phase = mean_phase(poisoned=poisoned, most_rate=0.3)
    progress = Interrupting()
    trained = fit(tmp_path / "one", [phase], progress)
    assert np.isfinite(bias_of(trained))
    back = 60 if poisoned == 75 else 0
    assert [said.partition("; ")[2] for said in progress.said] == [
        f"lower the learning rate; back to step {back}, and on at half the learning rate"
    ] * 2
    points = json.loads((tmp_path / "one" / "history.json").read_text())
    assert [point["step"] for point in points] == list(range(1, NUM_STEPS + 1))
    with pytest.raises(Interrupted):
        fit(tmp_path / "two", [phase], Interrupting(95 + (75 - 60 if poisoned == 75 else 1)))
    assert bias_of(fit(tmp_path / "two", [phase])) == bias_of(trained)


def test_training_that_diverges_at_any_rate_ends(tmp_path):
    with pytest.raises(InputError, match="the loss is nan; .*after 3 times half the learning rate"):
        fit(tmp_path / "one", [mean_phase(poisoned=50, most_rate=0)])
    with pytest.raises(InputError, match="at step 50 the loss is nan; lower the learning rate"):
        fit_phases(BUNDLE, [mean_phase(poisoned=50, most_rate=0)], seed=4, folder=None, progress=silent_progress())


def test_without_a_folder_nothing_is_kept_and_the_result_is_the_same(whole):
    phases = [mean_phase(), mean_phase(60, "Again")]
    alone = fit_phases(BUNDLE, phases, seed=4, folder=None, progress=silent_progress())
    assert bias_of(alone) == bias_of(whole[1])


def test_a_state_is_whole_when_it_is_saved_while_its_memory_is_given_on(tmp_path):
    step = jax.jit(lambda state: jax.tree.map(lambda x: x + 1, state), donate_argnums=0)
    state = {"x": jnp.zeros((300, 1000))}
    with Checkpoints(tmp_path / "kept") as kept:
        for number in range(1, 8):
            state = step(state)
            if number % 3 == 0:
                kept.save(number, state)
    with Checkpoints(tmp_path / "kept") as kept:
        number, found = kept.restore(state, silent_progress())
    assert number == 6
    np.testing.assert_array_equal(found["x"], 6)
    shutil.rmtree(tmp_path / "kept" / "6")
    with Checkpoints(tmp_path / "kept") as kept:
        number, found = kept.restore(state, silent_progress())
    np.testing.assert_array_equal(found["x"], number)


def quadratic(bundle):
    def loss(parameters, batch):
        value = jnp.mean((batch - parameters["network"]["x"][None]) ** 2)
        return value, {"largest": jnp.max(batch)}

    given = dataclasses.replace(bundle, parameters={"network": {"x": jnp.zeros(3)}, "prompt": {}})
    fitting = single_loss(given, loss, lambda seed, number, images, prompts: images[:, 0, :3, 0], num_steps=10)
    images = jax.random.normal(jax.random.key(0), (16, 8, 8, 1))
    return fitting.step(fitting.state, jnp.uint32(0), jnp.uint32(1), images, jnp.zeros((16, 2)), jnp.float32(1))


def test_parts_of_a_batch_give_the_step_of_the_whole():
    whole, losses = quadratic(BUNDLE)
    parts, of_parts = quadratic(dataclasses.replace(BUNDLE, settings=SETTINGS.model_copy(update={"accumulation": 4})))
    np.testing.assert_allclose(parts.parameters["network"]["x"], whole.parameters["network"]["x"], rtol=1e-5)
    np.testing.assert_allclose(of_parts["loss"], losses["loss"], rtol=1e-6)
    assert of_parts["largest"] < losses["largest"]  # a mean over parts of what is no mean
