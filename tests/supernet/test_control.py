"""The plug-in of a condition: nothing at first, the encoder as it was, and then the decoder hears of the condition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from search_space import Architecture, Level, Stage, get_scale, get_space, layer_plan
from supernet import UNet, load_unet, unet_parameters
from supernet.control import ControlNet, control_parameters
from supernet.initializer import abstract_initializer, random_initializer
from supernet.parameters import with_parameters

SCALE = get_scale("digits-proxy")
PLANS = {
    "without mid": layer_plan(get_space("digits").smallest(), SCALE),
    "with mid and two skips a level": layer_plan(
        Architecture((Level(2, Stage(1), Stage(2)), Level(4, Stage(1), Stage(2))), mid=Stage(1)), SCALE
    ),
}


def drawn(plan):
    """A network none of whose kernels is zero, inputs and a condition of two channels."""
    keys = jax.random.split(jax.random.key(0), 3)
    rng = np.random.default_rng(0)
    fresh = unet_parameters(UNet(plan, init=random_initializer(0)))
    network = {path: x + 0.1 * rng.standard_normal(x.shape, np.float32) for path, x in fresh.items()}
    context = jax.random.normal(keys[1], (2, SCALE.context_length, SCALE.context_width))
    inputs = (jax.random.normal(keys[0], (2, 8, 8, 1)), jnp.array([200.0, 900.0]), context)
    return network, inputs, jax.random.normal(keys[2], (2, 8, 8, 2))


@pytest.fixture(params=PLANS)
def case(request):
    plan = PLANS[request.param]
    return plan, *drawn(plan)


def added_by(plan, parameters, inputs, condition):
    return with_parameters(ControlNet(plan, 2, init=abstract_initializer), parameters)(*inputs, condition)


def outputs(plan, network, inputs, added=None):
    return load_unet(UNet(plan, init=abstract_initializer), network).block_outputs(*inputs, added)


def test_a_fresh_plug_in_changes_nothing_to_the_bit(case):
    plan, network, inputs, condition = case
    added = added_by(plan, control_parameters(plan, network, 2), inputs, condition)
    found, wanted = outputs(plan, network, inputs, added), outputs(plan, network, inputs)
    np.testing.assert_array_equal(found[0], wanted[0])
    for name, stream in wanted[1].items():
        np.testing.assert_array_equal(found[1][name], stream)


def test_a_fresh_copy_computes_what_the_encoder_computes(case):
    """With its convolutions the identity, what is added is the encoder's streams."""
    plan, network, inputs, condition = case
    parameters = control_parameters(plan, network, 2)
    identity = {path: jnp.eye(len(x)) for path, x in parameters.items() if path.startswith("out/") and x.ndim == 2}
    added = added_by(plan, {**parameters, **identity}, inputs, condition)
    _, streams = outputs(plan, network, inputs)
    assert set(added) == {block.skip_from for block in plan.blocks if block.skip_from} | {plan.encoder[-1].name}
    for name, stream in added.items():
        np.testing.assert_allclose(stream, streams[name], rtol=1e-5, atol=1e-5)


def test_what_is_added_reaches_the_decoder_alone(case):
    plan, network, inputs, _ = case
    before, streams = outputs(plan, network, inputs)
    read = {block.skip_from for block in plan.blocks if block.skip_from} | {plan.encoder[-1].name}
    for name in read:
        added = jax.random.normal(jax.random.key(1), streams[name].shape)  # a constant, norms would take away
        prediction, found = outputs(plan, network, inputs, {name: added})
        assert np.abs(prediction - before).max() > 1e-4, name
        for block in plan.encoder[1:]:
            np.testing.assert_array_equal(found[block.name], streams[block.name] + (added if block.name == name else 0))


def test_the_condition_is_heard_after_the_first_steps(case):
    """Through convolutions that are zero, gradients reach those alone; then the condition's channels."""
    plan, network, inputs, condition = case
    parameters = control_parameters(plan, network, 2)

    @jax.jit
    def gradient(parameters):
        return jax.grad(lambda p: jnp.sum(outputs(plan, network, inputs, added_by(plan, p, inputs, condition))[0] ** 2))(
            parameters
        )

    kernel = "encoder/blocks/input_convolution/conv/kernel"
    first = gradient(parameters)
    assert not first[kernel].any()
    moved = {path: x - 1e-3 * first[path] for path, x in parameters.items()}
    assert gradient(moved)[kernel][:, :, 1:].any()


def test_a_plug_in_is_far_smaller_than_its_network():
    plan = PLANS["without mid"]
    network = unet_parameters(UNet(plan, init=abstract_initializer))
    parameters = control_parameters(plan, {path: jnp.zeros(x.shape) for path, x in network.items()}, 1)
    assert sum(x.size for x in parameters.values()) < 0.6 * plan.parameters
    assert not any("up" in path.split("/")[1] or "output" in path for path in parameters)
