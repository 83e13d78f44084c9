"""The supernet computes what each subnet computes alone, in one program, and moves no weight that it did not use."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from search_space import Architecture, Level, Stage
from supernet import extract
from supernet.subnets import subnet_parameters

QUICK_COMPILE = {"xla_backend_optimization_level": 0}


def relative_error(found: jax.Array, expected: jax.Array) -> float:
    return float(jnp.linalg.norm(found - expected) / jnp.linalg.norm(expected))


def sampled(space, *, n: int, seed: int = 0) -> list[Architecture]:
    rng = np.random.default_rng(seed)
    return [space.smallest(), space.largest(), *(space.sample(rng) for _ in range(n - 2))]


def test_supernet_equals_extracted_on_the_shipped_space(digits):
    for architecture in sampled(digits.space, n=20):
        assert relative_error(digits.predict(architecture), digits.predict_alone(architecture)) < 1e-5


@pytest.mark.parametrize("rules", ["small", "small_by_number", "small_by_levels"])
def test_supernet_equals_extracted_under_all_rules(rules, request):
    case = request.getfixturevalue(rules)
    for architecture in sampled(case.space, n=6, seed=1):
        assert relative_error(case.predict(architecture), case.predict_alone(architecture)) < 1e-5


def test_up_blocks_take_the_last_skips_deepest_first(small):
    """Every number of down blocks and up blocks, with a wider and a narrower level above."""
    for fine, coarse, downs, ups in [(2, 6, 2, 1), (4, 2, 2, 3), (4, 6, 1, 1), (2, 2, 2, 3)]:
        levels = Level(fine, Stage(1), Stage(2)), Level(coarse, Stage(downs), Stage(ups))
        architecture = Architecture(levels)
        assert relative_error(small.predict(architecture), small.predict_alone(architecture)) < 1e-5


def test_a_coarsest_level_may_be_left_out(small_by_levels):
    """The mid stage then follows the level before, whatever stands in the weights of the one that is not there."""
    case = small_by_levels
    levels = Level(4, Stage(2), Stage(2)), Level(6, Stage(1, transformer_depth=2, expansion=1), Stage(2))
    mid = Stage(2, transformer_depth=2, attention="cross", expansion=1)
    for n in (1, 2):
        architecture = Architecture(levels[:n], mid)
        assert relative_error(case.predict(architecture), case.predict_alone(architecture)) < 1e-5
    assert case.traces == 1


def test_one_trace_serves_200_architectures(digits):
    digits.predict(digits.space.smallest())
    before = digits.traces
    predictions = [digits.predict(architecture) for architecture in sampled(digits.space, n=200, seed=2)]
    assert digits.traces == before == 1
    assert len({np.asarray(prediction).tobytes() for prediction in predictions}) > 190


@pytest.mark.parametrize("rules", ["small", "small_by_levels"])
def test_gradient_is_zero_outside_the_subnet_and_nowhere_inside(rules, request):
    small = request.getfixturevalue(rules)
    for architecture in sampled(small.space, n=4, seed=3):
        gradient = small.gradient(small.parameters, small.inputs, jnp.asarray(small.supernet.route(architecture)))
        used = _mask_of_used(small, architecture)
        for name, family in gradient.items():
            for path, array in family.items():
                outside = np.where(used[name][path], 0, np.asarray(array))
                assert not outside.any(), f"{name}/{path} of {architecture.digest}"
        total = sum(int(mask.sum()) for family in used.values() for mask in family.values())
        moved = sum(int((np.asarray(array) != 0).sum()) for family in gradient.values() for array in family.values())
        # Biases before a group of one mean, dead ReLU scores: a few numbers have gradient zero by nature.
        assert moved > 0.8 * total


def _mask_of_used(case, architecture: Architecture) -> dict[str, dict[str, np.ndarray]]:
    """Where the stored parameters are part of the subnet: every number is replaced by its place, and the subnet asked."""
    places = jax.tree.map(lambda x: np.arange(x.size).reshape(x.shape), case.parameters)
    offsets, start = {}, 0
    for name, family in places.items():
        for path, array in family.items():
            offsets[name, path] = start
            family[path] = jnp.asarray(array + start)
            start += array.size
    _, sliced = subnet_parameters(case.supernet, places, architecture)
    used = np.zeros(start, bool)
    for block in sliced.values():
        for array in block.values():
            used[np.asarray(array).ravel()] = True
    return {
        name: {path: used[offsets[name, path] :][: a.size].reshape(a.shape) for path, a in family.items()}
        for name, family in places.items()
    }


def test_gradient_equals_the_stand_alone_gradient(small):
    architecture = small.space.largest()
    route = jnp.asarray(small.supernet.route(architecture))
    gradient = small.gradient(small.parameters, small.inputs, route)
    alone = jax.grad(lambda parameters: _loss_alone(small, parameters, architecture))
    expected = jax.jit(alone, compiler_options=QUICK_COMPILE)(small.parameters)
    for found, wanted in zip(jax.tree.leaves(gradient), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(found, wanted, atol=2e-5 * max(1.0, float(jnp.abs(wanted).max())), rtol=1e-4)


def _loss_alone(case, parameters, architecture: Architecture) -> jax.Array:
    unet = extract(case.supernet, parameters, architecture)
    return (unet(*case.inputs) ** 2).mean()


def test_streams_are_those_of_the_stand_alone_network_with_zeros_behind(small):
    """By stage, where the stand-alone network's does not end with another resolution."""
    for architecture in sampled(small.space, n=4, seed=6):
        streams = small.features(architecture)[1]
        stages = extract(small.supernet, small.parameters, architecture).features(*small.inputs)[1]
        channels = small.supernet.channels(jnp.asarray(small.supernet.route(architecture)))
        compared = [name for name in stages if name in streams and stages[name].shape[1] == streams[name].shape[1]]
        assert "up0" in compared
        for name in compared:
            stage, width = stages[name], int(channels[name])
            assert stage.shape[-1] == width
            assert relative_error(streams[name][..., :width], stage) < 1e-5
            assert not np.any(streams[name][..., width:])
