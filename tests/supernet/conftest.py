"""Supernets that the tests of this folder share, each compiled once: the shipped space, and a small one with gradients."""

import dataclasses
from collections.abc import Callable
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from search_space import Architecture, Scale, SearchSpace, get_scale, get_space
from search_space.space import LevelChoices, StageChoices
from supernet import MATMUL, Supernet, extract

# Unoptimised code is slower to run and three times as fast to compile, and these networks run a few times each.
QUICK_COMPILE = {"xla_backend_optimization_level": 0}


@dataclasses.dataclass
class Case:
    """A supernet with random parameters and inputs, and its programs, compiled when they are first asked for."""

    space: SearchSpace
    scale: Scale
    batch: int
    traces: int = 0

    def __post_init__(self) -> None:
        """Draws parameters and inputs. Kernels that start at zero would hide a wrong branch, so all are drawn."""
        rng = np.random.default_rng(0)
        self.supernet = Supernet(self.space, self.scale, MATMUL)
        shapes = self.supernet.initial_parameters(0)
        self.parameters = jax.tree.map(lambda x: x + 0.05 * rng.standard_normal(x.shape).astype(np.float32), shapes)
        s = self.scale
        image = rng.standard_normal((self.batch, s.resolution, s.resolution, s.in_channels))
        context = rng.standard_normal((self.batch, s.context_length, s.context_width))
        times = np.linspace(0, 1000, self.batch)
        self.inputs = tuple(jnp.asarray(values, jnp.float32) for values in (image, times, context))

    @cached_property
    def forward(self) -> Callable[..., Any]:
        """(parameters, inputs, route) to the prediction and the stages' streams; counts its traces."""

        def apply(parameters: Any, inputs: Any, route: Any) -> Any:
            self.traces += 1
            return self.supernet.features(parameters, *inputs, route)

        return jax.jit(apply, compiler_options=QUICK_COMPILE)

    @cached_property
    def gradient(self) -> Callable[..., Any]:
        """(parameters, inputs, route) to the parameters' gradient of the mean square of the prediction."""

        def loss(parameters: Any, inputs: Any, route: Any) -> Any:
            return (self.supernet.apply(parameters, *inputs, route) ** 2).mean()

        return jax.jit(jax.grad(loss), compiler_options=QUICK_COMPILE)

    def predict(self, architecture: Architecture) -> Any:
        """The supernet's prediction."""
        return self.features(architecture)[0]

    def features(self, architecture: Architecture) -> Any:
        """The supernet's prediction, and the stages' streams."""
        return self.forward(self.parameters, self.inputs, jnp.asarray(self.supernet.route(architecture)))

    def predict_alone(self, architecture: Architecture) -> Any:
        """The extracted network's prediction, operation by operation: most shapes recur, so this compiles less."""
        return extract(self.supernet, self.parameters, architecture)(*self.inputs)


def small_space() -> SearchSpace:
    """Two resolutions, every gene."""
    side = {
        "convolution": ("separable", "full"), "transformer_depth": (0, 1), "attention": ("cross", "self", "self_cross"),
        "attention_function": ("relu", "softmax"), "expansion": (1, 2), "shared_kv": (True, False),
    }  # fmt: skip
    plain = StageChoices((1, 2), convolution=("separable", "full"))
    levels = (
        LevelChoices((2, 4), down=StageChoices((1,), **side), up=plain),
        LevelChoices((2, 6), down=plain, up=StageChoices((1, 3), ("full",))),
    )
    return SearchSpace("small", levels, mid=StageChoices((0, 2), ("full",), (0, 1), gating=("silu", "gelu")))


@pytest.fixture(scope="session")
def digits() -> Case:
    """The shipped space."""
    return Case(get_space("digits"), get_scale("digits-proxy"), batch=2)


@pytest.fixture(scope="session")
def small() -> Case:
    """A small space under the rules of a fixed group size and head width."""
    return Case(small_space(), get_scale("digits-proxy"), batch=2)


@pytest.fixture(scope="session")
def small_by_number() -> Case:
    """The small space under Stable Diffusion's rules: a fixed number of groups and of heads."""
    rules = {"norm_groups": 4, "norm_group_size": None, "num_heads": 2, "head_width": None}
    return Case(small_space(), dataclasses.replace(get_scale("digits-proxy"), **rules), batch=2)


@pytest.fixture(scope="session")
def small_by_levels() -> Case:
    """One or two resolutions, stacked spatial transformers with projections of their own, fixed numbers of groups and heads."""
    stacked = StageChoices((1, 2), transformer_depth=(0, 1, 2), attention=("cross", "self_cross"), expansion=(1,))
    plain = StageChoices((1, 2), ("separable", "full"))
    levels = LevelChoices((2, 4), down=plain, up=plain), LevelChoices((2, 6), down=stacked, up=stacked)
    mid = StageChoices((0, 1, 2), transformer_depth=(0, 2), attention=("cross",), expansion=(1,))
    space = SearchSpace("small-by-levels", levels, mid=mid, num_levels=(1, 2))
    rules = {"norm_groups": 4, "norm_group_size": None, "num_heads": 2, "head_width": None, "shared_projections": False}
    return Case(space, dataclasses.replace(get_scale("digits-proxy"), **rules), batch=2)
