"""The networks whose latency is measured, as JAX functions with random weights.

Weights are random, every one of them: constants that repeat would be folded into a smaller graph.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from latency_models.network import Network
from search_space import LayerPlan, layer_plan
from search_space.blocks import ConvolutionSpec, OutputSpec, ResidualSpec, TimeSpec, TransformerSpec
from supernet import XLA, UNet
from supernet.blocks import build_block
from supernet.initializer import random_initializer

Function = tuple[Callable[..., Any], Sequence[np.ndarray]]
_SEED = 0


def build_network(network: Network) -> Function:
    """A JAX function of one array with the weights closed over, and example inputs at batch 1."""
    if network.architecture is None:
        return _blocks_alone(network)
    return _whole(layer_plan(network.architecture, network.scale))


def _whole(plan: LayerPlan) -> Function:
    unet = UNet(plan, init=_initializer(), lowering=XLA)
    scale, rng = plan.scale, np.random.default_rng(_SEED)
    inputs = (
        rng.standard_normal((1, scale.resolution, scale.resolution, scale.in_channels), np.float32),
        np.full((1,), 500.0, np.float32),
        rng.standard_normal((1, scale.context_length, scale.context_width), np.float32),
    )
    return unet.__call__, inputs


def _blocks_alone(network: Network) -> Function:
    """Each block reads what the one before it wrote; time, context and skips are inputs, those of them that are read."""
    scale, rng, init = network.scale, np.random.default_rng(_SEED), _initializer()
    applied = [(block.name, build_block(block.spec, scale, lowering=XLA, init=init)) for block in network.blocks]
    first = network.blocks[0]
    inputs = [rng.standard_normal(_stream_shape(first.spec, first.resolution), np.float32)]
    places: list[list[int]] = []
    for block in network.blocks:
        shapes = _beside_stream(block.spec, block.resolution, scale)
        places.append(list(range(len(inputs), len(inputs) + len(shapes))))
        inputs += [rng.standard_normal(shape, np.float32) for shape in shapes]

    def function(*given: jax.Array) -> jax.Array:
        x = given[0]
        for (name, apply), beside in zip(applied, places, strict=True):
            call: Any = apply
            with jax.named_scope(name):
                x = call(x, *(given[i] for i in beside))
        return x

    return function, inputs


def _stream_shape(spec: Any, resolution: int) -> tuple[int, ...]:
    if isinstance(spec, TimeSpec):
        return (1,)
    channels = spec.channels if isinstance(spec, TransformerSpec) else spec.in_channels
    return (1, resolution, resolution, channels)


def _beside_stream(spec: Any, resolution: int, scale: Any) -> list[tuple[int, ...]]:
    """Shapes of a block's inputs beside the stream, in the order of its arguments."""
    match spec:
        case ResidualSpec():
            skip = [(1, resolution, resolution, spec.skip_channels)] if spec.skip_channels else []
            return [(1, scale.time_width), *skip]
        case TransformerSpec():
            return [(1, scale.context_length, scale.context_width)]
        case ConvolutionSpec() | OutputSpec() | TimeSpec():
            return []
    raise AssertionError(spec)


def _initializer() -> Any:
    draw = random_initializer(_SEED)

    def noisy(shape: tuple[int, ...], *, std: float, mean: float = 0.0) -> jax.Array:
        return draw(shape, std=std or 0.05, mean=mean)

    return noisy
