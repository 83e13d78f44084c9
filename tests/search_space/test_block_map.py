"""Block maps: what corresponds to what between two networks, and when nothing does."""

import dataclasses

import pytest

from search_space import Architecture, Level, Stage, get_scale, layer_plan
from search_space.block_map import block_map, student_block_map

SCALE = get_scale("digits-proxy")
APART = dataclasses.replace(SCALE, shared_projections=False)
REFUSAL = "its transformer layers share projections otherwise"


def plan(scale, *, down=1, mid=1):
    level = Level(2, Stage(1, transformer_depth=down), Stage(2, transformer_depth=down))
    return layer_plan(Architecture((level,), Stage(2, transformer_depth=mid)), scale)


@pytest.mark.parametrize("depths", [{"down": 2}, {"mid": 2}])
@pytest.mark.parametrize("correspond", [block_map, student_block_map])
def test_deep_transformers_correspond_only_where_they_share_projections_alike(depths, correspond):
    teacher = plan(SCALE, **depths)
    with pytest.raises(ValueError, match=REFUSAL):
        correspond(teacher, plan(APART, **depths))
    assert correspond(teacher, plan(SCALE, **depths))["mid.0.transformer"] == "mid.0.transformer"
    assert correspond(plan(SCALE), plan(APART))["mid.0.transformer"] == "mid.0.transformer"


def test_a_student_that_is_deeper_than_its_teacher_shares_alike_too():
    with pytest.raises(ValueError, match=REFUSAL):
        student_block_map(plan(SCALE), plan(APART, mid=2))
