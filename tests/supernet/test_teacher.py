"""A supernet that starts from a teacher computes, with its largest subnet, what the teacher computes."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from search_space import Architecture, Level, Scale, SearchSpace, Stage, get_scale, layer_plan
from search_space.block_map import block_map
from search_space.narrowing import narrowed
from search_space.space import LevelChoices, StageChoices
from supernet import MATMUL, Supernet, UNet, extract, load_unet, unet_parameters
from supernet.initializer import abstract_initializer, random_initializer
from supernet.teacher import start_from_teacher

RULES = {"norm_groups": 4, "norm_group_size": None, "num_heads": 2, "head_width": None}
SCALE = dataclasses.replace(get_scale("digits-proxy"), **RULES)


def _space() -> SearchSpace:
    choices = {
        "convolution": ("separable", "full"), "transformer_depth": (0, 2), "attention": ("cross", "self_cross"),
        "expansion": (1, 2), "shared_kv": (True, False),
    }  # fmt: skip
    down, up = StageChoices((1, 2), **choices), StageChoices((1, 2, 3), **choices)
    levels = LevelChoices((2, 4), down, up), LevelChoices((4, 6), down, up)
    return SearchSpace("taught", levels, mid=StageChoices((0, 2), transformer_depth=(0, 1), expansion=(2,)))


SPACE = _space()


def _transformers(depth: int, **changes) -> dict:
    return {"transformer_depth": depth, "expansion": 2, **changes}


TEACHERS = {
    "the largest itself": SPACE.largest(),
    "plain": Architecture((Level(4, Stage(1), Stage(2)), Level(6, Stage(1), Stage(2)))),
    "fewer blocks": Architecture(
        (Level(4, Stage(1), Stage(2, **_transformers(1))), Level(6, Stage(2, **_transformers(2)), Stage(1))),
        Stage(2, **_transformers(1)),
    ),
    "fewer of everything": Architecture(
        (
            Level(4, Stage(2, "separable"), Stage(1, **_transformers(1, attention="cross", expansion=1))),
            Level(6, Stage(1, **_transformers(1, shared_kv=True)), Stage(2, "separable")),
        ),
        Stage(1),
    ),
}


def _taught(architecture: Architecture, scale: Scale) -> UNet:
    plan = layer_plan(architecture, scale)
    rng = np.random.default_rng(3)
    drawn = unet_parameters(UNet(plan, init=random_initializer(0)))
    drawn = {path: x + 0.1 * jnp.asarray(rng.standard_normal(x.shape, np.float32)) for path, x in drawn.items()}
    return load_unet(UNet(plan, init=abstract_initializer), drawn)


def _inputs(scale: Scale) -> tuple:
    rng = np.random.default_rng(4)
    image = rng.standard_normal((2, scale.resolution, scale.resolution, scale.in_channels))
    context = rng.standard_normal((2, scale.context_length, scale.context_width))
    return tuple(jnp.asarray(x, jnp.float32) for x in (image, [3.0, 700.0], context))


@pytest.mark.parametrize(("name", "shared"), [*((name, True) for name in TEACHERS), ("fewer blocks", False)])
def test_the_largest_subnet_computes_what_the_teacher_computes(name, shared):
    """`shared` says whether the layers of a block share one pair of projections."""
    scale = dataclasses.replace(SCALE, shared_projections=shared)
    teacher, supernet = _taught(TEACHERS[name], scale), Supernet(SPACE, scale, MATMUL)
    parameters = jax.tree.map(np.array, supernet.initial_parameters(1))
    feeding = start_from_teacher(supernet, parameters, teacher.plan, unet_parameters(teacher))
    largest = extract(supernet, jax.tree.map(jnp.asarray, parameters), SPACE.largest())
    expected, found = teacher(*_inputs(scale)), largest(*_inputs(scale))
    assert float(jnp.linalg.norm(found - expected) / jnp.linalg.norm(expected)) < 1e-5
    assert sorted(source for source in feeding.values() if source) == sorted(block.name for block in teacher.plan.blocks)


def test_a_separable_block_that_hands_on_still_learns():
    space = narrowed(SPACE, {"down*.convolution": ["separable"], "up*.convolution": ["separable"]}, name="separable")
    stages = Stage(1, "separable"), Stage(2, "separable")
    teacher = _taught(Architecture((Level(4, *stages), Level(6, *stages))), SCALE)
    supernet = Supernet(space, SCALE, MATMUL)
    parameters = jax.tree.map(np.array, supernet.initial_parameters(1))
    assert start_from_teacher(supernet, parameters, teacher.plan, unet_parameters(teacher))["down0.1.residual"] is None
    found = unet_parameters(extract(supernet, jax.tree.map(jnp.asarray, parameters), space.largest()))
    first, last = (found[f"blocks/down0_1_residual/conv2/{factor}"] for factor in ("depthwise", "pointwise/kernel"))
    assert not last.any()
    assert first.any(), "with both zero, neither would ever have a gradient"


def test_up_blocks_take_the_teachers_blocks_with_the_same_skips():
    teacher = layer_plan(Architecture((Level(4, Stage(1), Stage(2)), Level(6, Stage(2), Stage(1)))), SCALE)
    feeding = block_map(teacher, layer_plan(SPACE.largest(), SCALE))
    assert {name: source for name, source in feeding.items() if name.startswith("up") and name.endswith("residual")} == {
        "up1.0.residual": "up1.0.residual",
        "up1.1.residual": None,
        "up1.2.residual": None,
        "up0.0.residual": "up0.0.residual",
        "up0.1.residual": None,
        "up0.2.residual": "up0.1.residual",
    }


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"levels": 1}, "it has 1 levels, the largest network of the space 2"),
        ({"width": 2}, "level 0 has 16 channels, 32 in the largest network of the space"),
        ({"stage": Stage(2, **_transformers(3))}, "up1.transformer_depth is 3, 2 in the largest network of the space"),
        (
            {"stage": Stage(2, **_transformers(1, attention_function="relu"))},
            "up1.attention_function is 'relu', 'softmax' in",
        ),
        ({"scale": {"time_width": 32}}, "time_width is 32 in its scale, 64 in the space's"),
    ],
)
def test_a_teacher_that_does_not_fit_is_refused(changed, message):
    levels = (
        Level(changed.get("width", 4), Stage(1), Stage(2)),
        Level(6, Stage(1), changed.get("stage", Stage(2))),
    )[: changed.get("levels", 2)]
    teacher = layer_plan(Architecture(levels), dataclasses.replace(SCALE, **changed.get("scale", {})))
    with pytest.raises(ValueError, match=message):
        block_map(teacher, layer_plan(SPACE.largest(), SCALE))
