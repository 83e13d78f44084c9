"""Which stages a student and its teacher are compared at, held to the shapes that the networks really have there."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.distillation import adapters, shared_stages, stage_ends
from search_space import get_scale, get_space, layer_plan
from supernet import UNet
from supernet.initializer import random_initializer

SPACE, SCALE = get_space("mobile-sd"), get_scale("digits-proxy")
TEACHER = layer_plan(SPACE.largest(), SCALE)


def with_levels(num):
    rng = np.random.default_rng(0)
    return next(x for x in iter(lambda: SPACE.sample(rng), None) if len(x.levels) == num)


def feature_shapes(plan):
    inputs = (
        jax.ShapeDtypeStruct((2, SCALE.resolution, SCALE.resolution, SCALE.in_channels), jnp.float32),
        jax.ShapeDtypeStruct((2,), jnp.float32),
        jax.ShapeDtypeStruct((2, SCALE.context_length, SCALE.context_width), jnp.float32),
    )
    return jax.eval_shape(UNet(plan, init=random_initializer(0)).features, *inputs)[1]


@pytest.mark.parametrize("num_levels", [3, 4])
def test_shared_stages_have_one_shape_behind_the_adapters(num_levels):
    student = layer_plan(with_levels(num_levels), SCALE)
    ours, theirs = feature_shapes(student), feature_shapes(TEACHER)
    for name, (resolution, channels) in stage_ends(student).items():
        assert ours[name].shape == (2, resolution, resolution, channels)
    maps = adapters(student, TEACHER, seed=0)
    stages = shared_stages(student, TEACHER)
    assert list(maps) == stages
    assert {"down0", "up0"} <= set(stages)
    for name in stages:
        assert jax.eval_shape(jnp.matmul, ours[name], maps[name]).shape == theirs[name].shape


def test_stages_that_end_at_another_resolution_are_not_compared():
    student = layer_plan(with_levels(3), SCALE)
    assert "down2" in stage_ends(student)  # the teacher goes on from there to half the resolution
    assert "down2" not in shared_stages(student, TEACHER)
    assert "mid" not in shared_stages(student, TEACHER)
