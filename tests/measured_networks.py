"""Networks that tests load on devices, and runtimes that misbehave; child processes import this module by its name."""

import os
import resource
import signal
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from latency_models.device import KernelTime
from latency_models.local_session import Runnable
from latency_models.network import Network, blocks_alone
from search_space import get_scale
from search_space.blocks import ConvolutionSpec

Function = tuple[Callable[..., jax.Array], tuple[np.ndarray, ...]]
HELD: list[np.ndarray] = []


def sized(width: int, resolution: int = 8) -> Network:
    """A network that only says how large the functions below are to be."""
    return blocks_alone([(ConvolutionSpec(4, width, "keep"), resolution)], get_scale("digits-deploy"))


def build_tiny(network: Network) -> Function:
    """Convolution, group norm, SiLU, a time shift and attention, then a convolution; the last input is not used."""
    width, rng = network.blocks[0].spec.out_channels, np.random.default_rng(0)
    first, last = _draw(rng, 3, 3, 4, width), _draw(rng, 3, 3, width, 4)
    attention, time = [_draw(rng, width, width) for _ in range(3)], _draw(rng, 1, width)

    def function(x: jax.Array, timestep: jax.Array, context: jax.Array) -> jax.Array:
        del context
        with jax.named_scope("alone.0"):
            shift = jnp.sin(timestep.reshape(-1, 1)) @ time
            hidden = jax.nn.silu(_group_norm(_convolve(x, first))) + shift.reshape(-1, 1, 1, width)
        with jax.named_scope("alone.1"):
            return _convolve(_attention(hidden, attention), last)

    return function, (*_image(network, rng), np.array([0.3], np.float32), np.zeros((1, 2, 3), np.float32))


def build_two_outputs(network: Network) -> Function:
    """Not one array."""
    return lambda x: (x, x), _image(network)


def build_zero(network: Network) -> Function:
    """A constant output, which a converter may fold."""
    return lambda x: 0.0 * x, _image(network)


def build_unconverted(network: Network) -> Function:
    """A product that LiteRT's converter gets wrong, in the second block."""
    weights = _draw(np.random.default_rng(0), 4, 4)

    def function(x: jax.Array) -> jax.Array:
        with jax.named_scope("alone.0"):
            x = x + 1
        with jax.named_scope("alone.1"):
            return x.mean((1, 2), keepdims=True) @ weights

    return function, _image(network)


def build_unwritten(network: Network) -> Function:
    """A transform that LiteRT's files cannot say."""

    def function(x: jax.Array) -> jax.Array:
        with jax.named_scope("alone.0"):
            return jnp.fft.fft(x).real

    return function, _image(network)


def build_unregistered(network: Network) -> Function:
    """An operation that LiteRT's files can say and its runtime cannot run."""

    def function(x: jax.Array) -> jax.Array:
        with jax.named_scope("alone.0"):
            return jnp.sort(2 * x, -1) + 1

    return function, _image(network)


def build_cut(network: Network) -> Function:
    """Two operations that XNNPACK leaves out: a running sum twice in one block, a broadcast in another; SiLU between."""
    weights = _draw(np.random.default_rng(0), 4, 4)

    def function(x: jax.Array) -> jax.Array:
        with jax.named_scope("alone.0"):
            x = jnp.cumsum(jnp.cumsum(x @ weights, -1) + x, -1)
        with jax.named_scope("alone.1"):
            return 2 * jnp.repeat(jax.nn.silu(x), 2, axis=1)

    return function, _image(network)


def build_loop(network: Network) -> Function:
    """A product, and a loop over its rows."""
    weights = _draw(np.random.default_rng(0), 4, 4)
    return lambda x: jax.lax.scan(lambda sum_, row: (sum_ + row, row), 0 * x[:, 0], (x @ weights).swapaxes(0, 1))[0], _image(
        network
    )


def build_killed(network: Network) -> Function:
    """As if memory ran out while JAX works."""
    del network
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("not reached")


def process_id(network: Network) -> int:
    """Where a function of `JaxProcess` runs."""
    del network
    return os.getpid()


def cores(network: Network) -> int:
    """How many of them the process may use."""
    del network
    return len(os.sched_getaffinity(0))


def page_faults_of_a_run(network: Network) -> int:
    """Of a program with 128 MB of scratch, once it has run."""
    del network
    vector = jnp.ones(4096)
    program = jax.jit(lambda x: jnp.sort(jnp.outer(x, x) + jnp.outer(x, x).T, axis=0).sum())
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        program(vector).block_until_ready()
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    return faults


class Dying(Runnable):
    """A runtime that sends itself a signal at its second run."""

    clocks = ("wall",)
    model_bytes = 1
    partitions = None

    def __init__(self, number: int) -> None:
        self._number, self._runs = number, 0

    def feed(self, inputs: Sequence[np.ndarray]) -> None:
        raise RuntimeError(f"no use for {len(inputs)} inputs")

    def run(self) -> None:
        self._runs += 1
        if self._runs > 1:
            os.kill(os.getpid(), self._number)

    def output(self) -> np.ndarray:
        return np.ones(1)

    def profile(self, count: int) -> tuple[KernelTime, ...] | None:
        raise RuntimeError(f"no profile of {count} runs")


def dying_of_a_crash() -> Dying:
    """At the second run."""
    return Dying(signal.SIGSEGV)


def dying_of_a_kill() -> Dying:
    """At the second run."""
    return Dying(signal.SIGKILL)


def hold_memory() -> Dying:
    """A runtime that takes 100 MB, and keeps them."""
    HELD.append(np.ones(100_000_000, np.uint8))
    return Dying(signal.SIGKILL)


def on_a_card() -> Dying:
    """A runtime whose network lies in memory of its own."""
    runnable = Dying(signal.SIGKILL)
    runnable.device_peak = lambda: 12345
    return runnable


def not_loading() -> Dying:
    """A runtime that prints its reason and raises another."""
    os.write(2, b"INFO: begins\nERROR: the first cause\n")
    raise RuntimeError("cannot load")


def _image(network: Network, rng: np.random.Generator | None = None) -> tuple[np.ndarray]:
    resolution = network.blocks[0].resolution
    return ((rng or np.random.default_rng(1)).standard_normal((1, resolution, resolution, 4), np.float32),)


def _draw(rng: np.random.Generator, *shape: int) -> jax.Array:
    return jnp.asarray(rng.standard_normal(shape, np.float32) / np.prod(shape[:-1]) ** 0.5)


def _convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def _group_norm(x: jax.Array) -> jax.Array:
    batch, height, width, channels = x.shape
    y = x.reshape(batch, height * width, 4, channels // 4)
    centred = y - y.mean((1, 3), keepdims=True)
    return (centred * jax.lax.rsqrt((centred**2).mean((1, 3), keepdims=True) + 1e-5)).reshape(x.shape)


def _attention(x: jax.Array, weights: list[jax.Array], heads: int = 2) -> jax.Array:
    batch, height, width, channels = x.shape
    tokens = x.reshape(batch, height * width, channels)
    q, k, v = ((tokens @ w).reshape(batch, height * width, heads, -1) for w in weights)
    scores = jax.nn.softmax(jnp.einsum("bqhd,bkhd->bhqk", q, k) * (channels // heads) ** -0.5, axis=-1)
    return x + jnp.einsum("bhqk,bkhd->bqhd", scores, v).reshape(x.shape)
