"""Extracted networks have the plan's parameters, and weights of another architecture are refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from search_space import get_scale, get_space, layer_plan
from supernet import UNet, extract, load_unet, unet_parameters
from supernet.initializer import abstract_initializer
from supernet.subnets import subnet_parameters, write_block


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


@pytest.mark.parametrize("rules", ["small", "small_by_levels"])
def test_a_subnet_that_is_written_into_a_supernet_is_read_out_again(rules, request):
    case = request.getfixturevalue(rules)
    rng = np.random.default_rng(5)
    for architecture in (case.space.largest(), case.space.sample(rng)):
        _, blocks = subnet_parameters(case.supernet, case.parameters, architecture)
        drawn = {
            name: {p: jnp.asarray(rng.standard_normal(a.shape, np.float32)) for p, a in of.items()}
            for name, of in blocks.items()
        }
        stored = jax.tree.map(np.array, case.parameters)
        for block in layer_plan(architecture, case.scale).blocks:
            write_block(case.supernet, stored, block, drawn[block.name])
        written = jax.tree.map(jnp.asarray, stored)
        _, found = subnet_parameters(case.supernet, written, architecture)
        for name, of in drawn.items():
            for path, array in of.items():
                np.testing.assert_array_equal(found[name][path], array, err_msg=f"{name}/{path}")
        changed = sum(int((x != y).sum()) for x, y in zip(_leaves(written), _leaves(case.parameters), strict=True))
        assert changed == sum(array.size for of in drawn.values() for array in of.values())


def _leaves(parameters) -> list[np.ndarray]:
    return [np.asarray(parameters[name][path]) for name in sorted(parameters) for path in sorted(parameters[name])]
