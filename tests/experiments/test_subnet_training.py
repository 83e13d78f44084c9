"""A subnet trained by the supernet's program is trained as its stand-alone network is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.bundle import Bundle
from experiments.config import load_config
from experiments.denoising_task import load_examples, training_examples
from experiments.fitting_loop import fit_phases
from experiments.handoff import training_settings
from experiments.progress import silent_progress
from experiments.subnet_training import SubnetSchedule, SubnetTraining, fresh_parameters
from experiments.supernet_training import sweep_supernet
from experiments.training import denoising_phase, with_fresh_weights
from search_space import layer_plan
from supernet import extract, unet_parameters
from supernet.subnets import block_parameters, write_block

NUM_STEPS, SEED = 4, 3
# Fewer kernels to compile; widths, depths and kinds of attention remain.
CONFIG = load_config(
    "digits-small",
    ["space=digits-small[down*.convolution=separable,up*.convolution=separable,down*.attention=cross,up*.attention=cross]"],
)
SUPERNET = sweep_supernet(CONFIG)


@pytest.fixture(scope="module")
def architecture():
    return SUPERNET.space.sample(np.random.default_rng(5))


@pytest.fixture(scope="module")
def trained(architecture):
    train = SubnetTraining(CONFIG, SubnetSchedule(NUM_STEPS, batch_size=16, learning_rate=1e-2))
    dataset = load_examples(CONFIG.data, SUPERNET.scale, split="train")
    examples = training_examples(dataset, SUPERNET.scale, batch_size=16, seed=SEED)
    fresh, steps = fresh_parameters(CONFIG, architecture, SEED), []
    after = train(fresh, architecture, examples, seed=SEED, on_step=lambda: steps.append(1))
    assert len(steps) == NUM_STEPS
    return fresh, after


def test_it_equals_the_training_of_the_stand_alone_network(architecture, trained):
    settings = training_settings(CONFIG, "fresh weights")
    settings = settings.model_copy(update={"batch_size": 16, "learning_rate": 1e-2, "warmup_steps": 0})
    bundle = with_fresh_weights(Bundle(architecture, settings, {}), SEED)
    fresh, after = trained
    drawn = unet_parameters(extract(SUPERNET, fresh["network"], architecture))
    for path, values in bundle.parameters["network"].items():
        np.testing.assert_array_equal(drawn[path], values, err_msg=path)
    alone = fit_phases(bundle, [denoising_phase(bundle, NUM_STEPS)], seed=SEED, folder=None, progress=silent_progress())
    found = unet_parameters(extract(SUPERNET, after["network"], architecture))
    for path, values in alone.parameters["network"].items():
        moved = np.abs(values - bundle.parameters["network"][path]).max()
        np.testing.assert_allclose(found[path], values, atol=0.02 * moved + 1e-7, err_msg=path)
    np.testing.assert_allclose(after["prompt"]["tokens"], alone.parameters["prompt"]["tokens"], atol=1e-4)


def test_what_the_architecture_does_not_use_stays_as_it_was(architecture, trained):
    fresh, after = trained
    marked = jax.tree.map(lambda x: np.zeros(x.shape, np.float32), fresh["network"])
    for block in layer_plan(architecture, SUPERNET.scale).blocks:
        ones = jax.tree.map(jnp.ones_like, block_parameters(SUPERNET, fresh["network"], block))
        write_block(SUPERNET, marked, block, ones)
    num_used = num_unused = 0
    for family, stored in marked.items():
        for path, is_used in stored.items():
            before, now = np.asarray(fresh["network"][family][path]), np.asarray(after["network"][family][path])
            np.testing.assert_array_equal(now[is_used == 0], before[is_used == 0], err_msg=f"{family} {path}")
            num_used += np.count_nonzero(now[is_used == 1] != before[is_used == 1])
            num_unused += np.count_nonzero(is_used == 0)
    assert num_used > 1000
    assert num_unused > 1000
