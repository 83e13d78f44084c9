"""The functions of a bundle that are exported: the network, and the prompt encoder where the scale has one.

A weight-only type is part of the function: it holds float16 or int8 constants and turns them into float32 before it uses
them, so that every format that can say these types stores them, and computes in float32.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from diffusion.guidance import TIMESTEPS_PER_UNIT_TIME
from experiments.bundle import Bundle, apply_network, read_bundle
from latency_models.network import Build, Network, network_of
from supernet import XLA

Dtype = Literal["float32", "float16", "int8"]
Inputs = tuple[np.ndarray, ...]
NETWORK, PROMPT = "network", "prompt"
_INT8_LARGEST = 127
_SEED = 0
_MEANING = {
    "x": "noisy images",
    "timestep": "diffusion time in [0, 1000], one for each image",
    "context": "encoded prompts, one for each image",
    "tokens": "prompts as tokens, padded with the null token",
}


@dataclasses.dataclass(frozen=True, eq=False)
class Graph:
    """One function of a bundle, with seeded inputs to compare it on.

    Attributes:
        name: "network" or "prompt".
        bundle: its folder, from which child processes read the weights.
        network: the whole network, by whose size memory is reckoned.
        calls: the inputs of each call, in the order of the function's arguments.
        arguments: their names.
    """

    name: str
    bundle: Path
    network: Network
    calls: Sequence[Inputs]
    arguments: tuple[str, ...]

    def build(self, dtype: Dtype = "float32") -> Build:
        """Makes the function with weights of matrices and convolutions stored as `dtype`, and example inputs."""
        return functools.partial(_build, name=self.name, bundle=self.bundle, inputs=self.calls[0], dtype=dtype)

    def inputs_record(self) -> list[dict[str, Any]]:
        """Names, shapes and types of the inputs, and what they are."""
        return [
            {"name": name, "shape": list(x.shape), "dtype": x.dtype.name, "meaning": _MEANING[name]}
            for name, x in zip(self.arguments, self.calls[0], strict=True)
        ]


def bundle_graphs(path: Path, bundle: Bundle, *, batch_size: int, num_calls: int) -> list[Graph]:
    """The graphs of a bundle that was read from a folder.

    Args:
        path: the folder.
        bundle: what it holds.
        batch_size: images of one call.
        num_calls: calls to compare on; their time steps are spread evenly over (0, 1000).
    """
    task, rng = bundle.task, np.random.default_rng(_SEED)
    scale, network = task.scale, network_of(bundle.plan)
    n = num_calls * batch_size
    times = TIMESTEPS_PER_UNIT_TIME * (np.arange(n, dtype=np.float32) + 0.5) / n
    images = rng.standard_normal((n, scale.resolution, scale.resolution, scale.in_channels), np.float32)
    prompts = rng.standard_normal((n, scale.context_length, scale.context_width), np.float32)
    if scale.vocabulary:
        prompts = rng.integers(0, scale.vocabulary, (n, scale.context_length), np.int32)
    contexts = np.asarray(task.encode(bundle.parameters["prompt"], jnp.asarray(prompts)))
    calls = [tuple(x[i::num_calls] for x in (images, times, contexts)) for i in range(num_calls)]
    graphs = [Graph(NETWORK, path, network, calls, ("x", "timestep", "context"))]
    if scale.vocabulary:
        graphs.append(Graph(PROMPT, path, network, [(prompts[i::num_calls],) for i in range(num_calls)], ("tokens",)))
    return graphs


def _build(
    network: Network, *, name: str, bundle: Path, inputs: Inputs, dtype: Dtype
) -> tuple[Callable[..., jax.Array], Inputs]:
    del network
    read = read_bundle(bundle)
    parameters = {name: _restored(value, dtype) for name, value in read.parameters[name].items()}

    def unet(x: jax.Array, timestep: jax.Array, context: jax.Array) -> jax.Array:
        return apply_network(read.network(XLA), _made(parameters), x, timestep, context)

    def prompt(tokens: jax.Array) -> jax.Array:
        return read.task.encode(_made(parameters), tokens)

    return {NETWORK: unet, PROMPT: prompt}[name], inputs


def _made(parameters: Mapping[str, Callable[[], jax.Array]]) -> dict[str, jax.Array]:
    return {name: make() for name, make in parameters.items()}


def _restored(weight: jax.Array, dtype: Dtype) -> Callable[[], jax.Array]:
    """Makes a weight, inside the function that is traced, from what is stored; vectors stay float32.

    int8 is symmetric, with one factor for each output channel, which is the last axis.
    """
    if dtype == "float32" or weight.ndim < 2:
        return lambda: weight
    if dtype == "float16":
        half = weight.astype(jnp.float16)
        return lambda: half.astype(jnp.float32)
    largest = jnp.abs(weight).max(tuple(range(weight.ndim - 1)), keepdims=True)
    factor = jnp.where(largest > 0, largest, 1.0) / _INT8_LARGEST
    rounded = jnp.round(weight / factor).astype(jnp.int8)
    return lambda: rounded.astype(jnp.float32) * factor
