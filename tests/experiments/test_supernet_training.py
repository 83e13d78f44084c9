"""A supernet's training goes on from its last checkpoint that can be read, whatever its steps do."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import supernet_training
from experiments.config import load_config
from experiments.errors import InputError
from experiments.progress import silent_progress
from experiments.supernet_training import first_state, load_supernet, train_supernet, write_supernet

NUM_STEPS = 8  # a checkpoint behind every second
SPACE = "digits-small[down*.convolution=separable,up*.convolution=separable,down*.attention=cross,up*.attention=cross]"
CONFIG = load_config("digits-small", [f"space={SPACE}", f"supernet.num_steps={NUM_STEPS}", "supernet.largest_steps=2"])


class Stopped(Exception):
    pass


@pytest.fixture
def begun(monkeypatch):
    """Steps that add 1 to everything: a list of where each training began, and one of the step that is not reached."""
    found, stop_at = [], [0]

    def steps(config, state, done):
        found.append(done)
        for number in range(done + 1, NUM_STEPS + 1):
            if number == stop_at[0]:
                raise Stopped
            state = jax.tree.map(lambda x: x + 1, state)
            yield number, state, jnp.float32(0.5)

    monkeypatch.setattr(supernet_training, "_steps", steps)
    return found, stop_at


def damage(folder):
    for file in folder.rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[:3])


def is_trained(run_dir):
    """Whether the average has grown by 1 in every step."""
    fresh, trained = first_state(CONFIG).average, load_supernet(CONFIG, run_dir)
    return all(jax.tree.leaves(jax.tree.map(lambda x, y: np.allclose(x + NUM_STEPS, y), fresh, trained)))


def test_a_training_that_diverges_names_the_key_to_change(begun, tmp_path, monkeypatch):
    monkeypatch.setattr(supernet_training, "_steps", lambda config, state, done: iter([(1, state, jnp.float32("nan"))]))
    told = r"sweep\.yaml: key 'supernet\.learning_rate' is [\d.]+, and training diverged: .*; lower .*, in another --run-dir"
    with pytest.raises(InputError, match=told):
        train_supernet(CONFIG, tmp_path, silent_progress())


def test_it_is_trained_once_and_loaded(begun, tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no finished supernet; run the sweep again to train it"):
        load_supernet(CONFIG, tmp_path)
    for _ in range(2):
        train_supernet(CONFIG, tmp_path, silent_progress())
    assert begun[0] == [0]
    assert is_trained(tmp_path)


def test_weights_that_come_from_elsewhere_are_a_finished_supernet(begun, tmp_path):
    average = jax.tree.map(lambda x: x + NUM_STEPS, first_state(CONFIG).average)
    write_supernet(CONFIG, tmp_path, average)
    train_supernet(CONFIG, tmp_path, silent_progress())
    assert not begun[0]
    assert is_trained(tmp_path)


def test_a_damaged_checkpoint_costs_steps_and_no_more(begun, tmp_path):
    found, stop_at = begun
    stop_at[0] = 7
    with pytest.raises(Stopped):
        train_supernet(CONFIG, tmp_path, silent_progress())
    damage(tmp_path / "supernet" / "checkpoints" / "6")
    with pytest.raises(FileNotFoundError, match="no finished supernet"):
        load_supernet(CONFIG, tmp_path)
    stop_at[0] = 0
    train_supernet(CONFIG, tmp_path, silent_progress())
    assert found == [0, 4]
    assert is_trained(tmp_path)


def test_a_finished_supernet_that_is_damaged_says_what_to_do(begun, tmp_path):
    train_supernet(CONFIG, tmp_path, silent_progress())
    last = tmp_path / "supernet" / "checkpoints" / str(NUM_STEPS)
    damage(last)
    with pytest.raises(
        InputError, match=r"checkpoints/8: this checkpoint cannot be read .*; delete it and run the sweep again"
    ):
        load_supernet(CONFIG, tmp_path)
    shutil.rmtree(last)
    train_supernet(CONFIG, tmp_path, silent_progress())
    assert begun[0] == [0, 6]
    assert is_trained(tmp_path)
