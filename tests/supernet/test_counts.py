"""Counts against counters that know nothing of them: JAX's own shapes of what the networks compute, and XLA's memory."""

import collections
import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.extend import core

from search_space import Architecture, LayerPlan, Scale, get_design, get_scale, get_space, layer_plan
from search_space.blocks import Spec, block_inputs
from search_space.counting import count_genotypes
from supernet import XLA, UNet
from supernet.blocks import build_block
from supernet.initializer import abstract_initializer

SCALE = get_scale("sd15")


def _equations(jaxpr: core.Jaxpr) -> Iterator[core.JaxprEqn]:
    for equation in jaxpr.eqns:
        yield equation
        for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns")):
            if hasattr(inner, "eqns"):
                yield from _equations(getattr(inner, "jaxpr", inner))


def _macs(equation: core.JaxprEqn) -> tuple[str, int]:
    """Which counter an equation belongs to, and its MACs; both from its shapes alone."""
    out = int(np.prod(equation.outvars[0].aval.shape))
    left, right = (variable.aval.shape for variable in equation.invars[:2])
    if equation.primitive is jax.lax.conv_general_dilated_p:
        # The kernel is (height, width, channels of a group, out).
        assert right[2] * equation.params["feature_group_count"] == left[3]
        return "conv_linear", out * int(np.prod(right[:3]))
    (contracted, _), (batched, _) = equation.params["dimension_numbers"]
    return "attention" if batched else "conv_linear", out * int(np.prod([left[i] for i in contracted]))


def _count(module: nnx.Module, *inputs: jax.ShapeDtypeStruct) -> collections.Counter[str]:
    """Parameters and MACs of a module without arrays, by counter."""
    graph, state = nnx.split(module)
    jaxpr = jax.make_jaxpr(lambda state, *inputs: nnx.merge(graph, state)(*inputs))(state, *inputs)
    found = collections.Counter(conv_linear=0, attention=0)
    found["parameters"] = sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(state))
    for equation in _equations(jaxpr.jaxpr):
        if equation.primitive in (jax.lax.conv_general_dilated_p, jax.lax.dot_general_p):
            counter, macs = _macs(equation)
            found[counter] += macs
    return found


def _array(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((1, *shape), jnp.float32)


@functools.cache
def _count_block(spec: Spec, resolution: int) -> collections.Counter[str]:
    shapes = {name: _array(*shape) for name, shape in block_inputs(spec, resolution, SCALE).items()}
    if "timestep" in shapes:
        shapes["timestep"] = _array()
    block = build_block(spec, SCALE, lowering=XLA, init=abstract_initializer)
    order = [shapes[name] for name in ("timestep", "stream", "time_embedding", "skip", "context") if name in shapes]
    return _count(block, *order)


def _inputs(scale: Scale) -> tuple[jax.ShapeDtypeStruct, ...]:
    image = _array(scale.resolution, scale.resolution, scale.in_channels)
    return image, _array(), _array(scale.context_length, scale.context_width)


def _unet(plan: LayerPlan) -> UNet:
    return UNet(plan, init=abstract_initializer, lowering=XLA)


def _counted(plan: LayerPlan) -> dict[str, int]:
    return {"parameters": plan.parameters, "conv_linear": plan.macs_conv_linear, "attention": plan.macs_attention}


def test_jax_counts_the_blocks_of_two_hundred_random_architectures_alike():
    space, rng = get_space("mobile-sd"), np.random.default_rng(1)
    architectures = [space.sample(rng) for _ in range(200)]
    counts = count_genotypes(space, np.stack([space.encode(x) for x in architectures]), SCALE)
    for i, architecture in enumerate(architectures):
        found = collections.Counter()
        for block in layer_plan(architecture, SCALE).blocks:
            found.update(_count_block(block.spec, block.resolution))
        counted = (counts.parameters[i], counts.macs_conv_linear[i], counts.macs_attention[i])
        assert (found["parameters"], found["conv_linear"], found["attention"]) == counted


def _whole_networks() -> list[Architecture]:
    space, rng = get_space("mobile-sd"), np.random.default_rng(2)
    designs = [get_design(name).architecture for name in ("sd15", "snapfusion", "md-lite")]
    return [space.smallest(), space.largest(), *designs, *(space.sample(rng) for _ in range(10))]


@pytest.mark.parametrize("architecture", _whole_networks(), ids=lambda architecture: architecture.digest)
def test_jax_counts_whole_networks_alike(architecture: Architecture):
    plan = layer_plan(architecture, SCALE)
    assert _count(_unet(plan), *_inputs(SCALE)) == _counted(plan)


@pytest.mark.parametrize("seed", [0, 3])
def test_xla_plans_for_about_as_much_memory(seed: int):
    """XLA fuses and reorders, so it may need less; what it adds to the tensors counted here is small."""
    scale = get_scale("digits-deploy")
    architecture: Architecture = get_space("digits").sample(np.random.default_rng(seed))
    plan = layer_plan(architecture, scale)
    graph, state = nnx.split(_unet(plan))
    network = jax.jit(lambda state, *inputs: nnx.merge(graph, state)(*inputs))
    planned = network.lower(state, *_inputs(scale)).compile().memory_analysis()
    held = planned.temp_size_in_bytes + planned.output_size_in_bytes + planned.argument_size_in_bytes
    assert held - 4 * plan.parameters == pytest.approx(plan.peak_activation_bytes, rel=0.2)
