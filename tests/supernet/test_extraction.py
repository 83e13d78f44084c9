"""Extracted networks have the plan's parameters, and weights of another architecture are refused."""

import jax.numpy as jnp
import numpy as np
import pytest

from search_space import get_scale, get_space, layer_plan
from supernet import UNet, extract, load_unet, unet_parameters
from supernet.initializer import abstract_initializer


@pytest.mark.parametrize("scale", ["digits-proxy", "digits-deploy"])
def test_unet_has_as_many_parameters_as_its_plan(scale):
    rng = np.random.default_rng(0)
    for _ in range(10):
        plan = layer_plan(get_space("digits").sample(rng), get_scale(scale))
        arrays = unet_parameters(UNet(plan, init=abstract_initializer)).values()
        assert sum(array.size for array in arrays) == plan.parameters


@pytest.fixture
def stand_alone(small) -> UNet:
    return extract(small.supernet, small.parameters, small.space.smallest())


def test_load_unet_gives_back_what_unet_parameters_took(stand_alone):
    parameters = {path: array + 1 for path, array in unet_parameters(stand_alone).items()}
    loaded = unet_parameters(load_unet(stand_alone, parameters))
    assert loaded.keys() == parameters.keys()
    assert all(jnp.array_equal(loaded[path], parameters[path]) for path in parameters)


def test_load_unet_refuses_missing_left_over_and_misshapen_parameters(stand_alone):
    parameters = unet_parameters(stand_alone)
    path = next(iter(parameters))
    with pytest.raises(ValueError, match=f"1 parameters are missing: {path}; the weights belong to another architecture"):
        load_unet(stand_alone, {p: a for p, a in parameters.items() if p != path})
    with pytest.raises(ValueError, match="1 parameters are left over: blocks/more; the weights belong to another"):
        load_unet(stand_alone, parameters | {"blocks/more": parameters[path]})
    with pytest.raises(ValueError, match=rf"parameter {path} must have shape .* got \(1,\)"):
        load_unet(stand_alone, parameters | {path: jnp.zeros(1)})


def test_extract_refuses_an_architecture_of_another_space(small):
    with pytest.raises(ValueError, match="is not in space 'small'"):
        extract(small.supernet, small.parameters, get_space("digits").largest())
