"""What MobileDiffusion is made of, as statements that hold for an architecture or do not, or numbers that are small in it.

Levels are counted from the finest: in `mobile-sd` the finest has 64x64 positions, the middle one 32x32.

Source: Zhao et al. 2023 (MobileDiffusion), sections 3.1 and 3.2, and its table of architectures.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

from search_space import Architecture, Stage
from search_space.changes import with_stages

LEAST_EXPANSION = 2  # of `mobile-sd`
MOST_DEPTH = {2: 3}  # the same, by level; 1 at all others


@dataclasses.dataclass(frozen=True)
class Trait:
    """A statement about an architecture.

    Attributes:
        name: for people.
        says: what MobileDiffusion says of it.
        of: whether it is so; or a number that is to be small beside other architectures'. None where the architecture has
            nothing of which it could be said.
        given: the architecture with the trait, or with a smaller number, and otherwise as it was.
    """

    name: str
    says: str
    of: Callable[[Architecture], bool | float | None]
    given: Callable[[Architecture], Architecture]


def transformers(architecture: Architecture) -> Iterator[tuple[int, Stage, int]]:
    """(level, stage, number of transformer layers) of every stage that has any; the mid stage belongs to the coarsest level."""
    last = len(architecture.levels) - 1
    stages = [(i, stage) for i, level in enumerate(architecture.levels) for stage in (level.down, level.up)]
    for level, stage in stages:
        if num := stage.num_blocks * stage.transformer_depth:
            yield level, stage, num
    if (mid := architecture.mid) is not None and (num := (mid.num_blocks - 1) * mid.transformer_depth) > 0:
        yield last, mid, num


def convolutions(architecture: Architecture) -> Iterator[tuple[int, Stage]]:
    """(level, stage) of every stage with residual blocks; the mid stage belongs to the coarsest level."""
    for i, level in enumerate(architecture.levels):
        yield from ((i, stage) for stage in (level.down, level.up) if stage.num_blocks)
    if architecture.mid is not None and architecture.mid.num_blocks:
        yield len(architecture.levels) - 1, architecture.mid


def _no_self_attention_finest(architecture: Architecture) -> bool:
    return not any("self" in stage.attention for level, stage, _ in transformers(architecture) if level == 0)


def _transformers_coarsest(architecture: Architecture) -> bool | None:
    last, layers = len(architecture.levels) - 1, [(level, num) for level, _, num in transformers(architecture)]
    total = sum(num for _, num in layers)
    return 2 * sum(num for level, num in layers if level == last) > total if total else None


def _cross_alone_in_the_middle(architecture: Architecture) -> bool:
    kinds = [stage.attention for level, stage, _ in transformers(architecture) if level == 1]
    return bool(kinds) and all(kind == "cross" for kind in kinds)


def _separable_deep_alone(architecture: Architecture) -> bool:
    last, stages = len(architecture.levels) - 1, list(convolutions(architecture))
    deep = [stage.convolution for level, stage in stages if level == last]
    return all(kind == "separable" for kind in deep) and all(x.convolution == "full" for level, x in stages if level < last)


def _relu(architecture: Architecture) -> bool | None:
    kinds = [(stage.attention_function, num) for _, stage, num in transformers(architecture)]
    total = sum(num for _, num in kinds)
    return 2 * sum(num for kind, num in kinds if kind == "relu") > total if total else None


def _num_blocks(architecture: Architecture) -> float:
    """Residual blocks down to the middle; up stages have as many, or one more a level."""
    downward = sum(level.down.num_blocks for level in architecture.levels)
    return float(downward + (architecture.mid.num_blocks if architecture.mid else 0))


def _expansion(architecture: Architecture) -> float | None:
    """Mean over transformer layers."""
    layers = [(stage.expansion, num) for _, stage, num in transformers(architecture)]
    total = sum(num for _, num in layers)
    return sum(x * num for x, num in layers) / total if total else None


def changed(architecture: Architecture, change: Callable[[bool, int, Stage], dict[str, Any]]) -> Architecture:
    """An architecture with some choices of its stages made otherwise.

    Args:
        architecture: that is changed.
        change: from whether it is the coarsest level, the level and a stage to the new values of that stage's fields.
    """
    last = len(architecture.levels) - 1
    return with_stages(architecture, lambda level, stage: dataclasses.replace(stage, **change(level == last, level, stage)))


def _gathered(architecture: Architecture) -> Architecture:
    """An architecture with most transformer layers at its coarsest level.

    They leave the finest level, as in MobileDiffusion, and the next where it takes that, for deeper stages at the coarsest:
    of all such designs the first with as many layers as before, or as many as the space allows. The mid stage stays.
    """
    last, before = len(architecture.levels) - 1, _num_layers(architecture)

    def design(num_left: int, depth: int) -> Architecture:
        def deep(is_last: bool, level: int, stage: Stage) -> dict[str, Any]:
            own = stage.transformer_depth
            return {"transformer_depth": max(depth, own) if is_last else 0 if level < num_left else own}

        return dataclasses.replace(changed(architecture, deep), mid=architecture.mid)

    depths = range(1, MOST_DEPTH.get(last, 1) + 1)
    designs = [design(num_left, depth) for num_left in range(1, last + 1) for depth in depths]
    return max(filter(_transformers_coarsest, designs), key=lambda x: min(_num_layers(x), before))


def _num_layers(architecture: Architecture) -> int:
    return sum(num for *_, num in transformers(architecture))


TRAITS = (
    Trait(
        "no self-attention at the finest level",
        "no transformers at 64x64: attention there is the most expensive part, and removing it costs little",
        _no_self_attention_finest,
        lambda x: changed(x, lambda _, level, stage: {} if level else {"attention": "cross"}),
    ),
    Trait(
        "most transformer layers at the coarsest level",
        "more transformers in the middle of the UNet, where there are fewest positions",
        _transformers_coarsest,
        _gathered,
    ),
    Trait(
        "cross-attention alone at the middle level",
        "no self-attention at 32x32, while cross-attention to the prompt stays",
        _cross_alone_in_the_middle,
        lambda x: changed(
            x,
            lambda _, level, stage: (
                {"attention": "cross", "transformer_depth": max(1, stage.transformer_depth)} if level == 1 else {}
            ),
        ),
    ),
    Trait(
        "separable convolution at the coarsest level alone",
        "separable convolution in the deeper part of the UNet, full convolution outside",
        _separable_deep_alone,
        lambda x: changed(x, lambda is_last, *_: {"convolution": "separable" if is_last else "full"}),
    ),
    Trait(
        "ReLU in most attention",
        "ReLU in place of softmax, after a short training, without loss",
        _relu,
        lambda x: changed(x, lambda *_: {"attention_function": "relu"}),
    ),
    Trait(
        "few residual blocks",
        "residual blocks are pruned, above all outside",
        _num_blocks,
        lambda x: changed(x, lambda _, __, stage: {"num_blocks": max(min(stage.num_blocks, 1), stage.num_blocks - 1)}),
    ),
    Trait(
        "feed-forward layers expand little",
        "a smaller expansion of the feed-forward layers",
        _expansion,
        lambda x: changed(x, lambda *_: {"expansion": LEAST_EXPANSION}),
    ),
    Trait(
        "three levels",
        "three levels in place of four",
        lambda x: len(x.levels) == 3,
        lambda x: dataclasses.replace(x, levels=x.levels[:3]),
    ),
)
