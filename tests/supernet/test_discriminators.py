"""Heads on maps of any shape, and the denoiser as a discriminator."""

import jax
import jax.numpy as jnp
import numpy as np

from search_space import get_scale, get_space, layer_plan
from supernet import UNet, load_unet, unet_parameters
from supernet.discriminators import FeatureDiscriminator, with_silent_head
from supernet.initializer import abstract_initializer, random_initializer
from supernet.parameters import parameters_of, with_parameters

RNG = np.random.default_rng(0)
MAPS = [jnp.asarray(RNG.standard_normal(shape, np.float32)) for shape in ((3, 4, 2, 5), (3, 6))]
CONDITION = jnp.asarray(RNG.standard_normal((3, 7), np.float32))
PLAN = layer_plan(get_space("digits-small").smallest(), get_scale("digits-proxy"))


def discriminator():
    return FeatureDiscriminator([5, 6], 7, init=random_initializer(0))


def test_there_is_a_logit_for_each_position_of_each_map():
    logits = discriminator()(MAPS, CONDITION)
    assert [x.shape for x in logits] == [(3, 8), (3, 1)]


def test_a_logit_depends_on_its_own_position_and_image_alone():
    judge = discriminator()
    before = judge(MAPS, CONDITION)
    after = judge([MAPS[0].at[1, 2, 1].add(1.0), MAPS[1]], CONDITION)
    changed = np.argwhere(np.asarray(before[0] != after[0]))
    np.testing.assert_array_equal(changed, [[1, 2 * 2 + 1]])
    np.testing.assert_array_equal(before[1], after[1])


def test_the_condition_enters_by_an_inner_product():
    """Affine in the condition: twice as far, twice the change."""
    judge = discriminator()
    none, one, two = (judge(MAPS, factor * CONDITION)[0] for factor in (0.0, 1.0, 2.0))
    assert np.abs(one - none).min() > 1e-5
    np.testing.assert_allclose(two - none, 2 * (one - none), rtol=1e-3, atol=1e-5)


def test_its_parameters_go_out_and_in_by_path():
    judge = discriminator()
    empty = FeatureDiscriminator([5, 6], 7, init=abstract_initializer)
    again = with_parameters(empty, parameters_of(judge))
    np.testing.assert_array_equal(again(MAPS, CONDITION)[0], judge(MAPS, CONDITION)[0])


def test_a_denoiser_with_a_silent_head_says_nothing_until_its_last_layer_has_moved():
    draw = random_initializer(3)
    empty = UNet(PLAN, init=abstract_initializer)
    trained = {path: draw(x.shape, std=0.1) for path, x in unet_parameters(empty).items()}
    silent = with_silent_head(PLAN, trained)
    changed = {path for path, x in trained.items() if np.any(x != silent[path])}
    assert changed == {"blocks/output_head/conv/kernel", "blocks/output_head/conv/bias"}
    images = jnp.asarray(RNG.standard_normal((2, 8, 8, 1), np.float32))
    context = jnp.asarray(RNG.standard_normal((2, 1, 32), np.float32))

    @jax.jit
    @jax.grad
    def slopes(parameters):
        return jnp.sum(jax.nn.softplus(-load_unet(empty, parameters)(images, jnp.array([250.0, 750.0]), context)))

    gradients = slopes(silent)
    assert {path for path, x in gradients.items() if np.any(x != 0)} == changed
    moved = {path: silent[path] - 0.01 * x for path, x in gradients.items()}
    assert sum(bool(np.any(x != 0)) for x in slopes(moved).values()) > 0.9 * len(moved)
