"""What MobileDiffusion is made of, as statements that hold for an architecture or do not.

Levels are counted from the finest: in `mobile-sd` the finest has 64x64 positions, the middle one 32x32.

Source: Zhao et al. 2023 (MobileDiffusion), by summaries of it and its table's row of the Lite design; what is said of all but
separable convolution agrees in both versions. How far the network itself is known, `search_space.published` says.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

from search_space import Architecture, Level, Stage
from search_space.changes import with_stages

MOST_BLOCKS, MOST_EXPANSION = 11, 3  # of MobileDiffusion
MOST_DEPTH = {2: 3}  # of `mobile-sd`, by level; 1 at all others


@dataclasses.dataclass(frozen=True)
class Trait:
    """A statement about an architecture.

    Attributes:
        name: for people.
        says: what MobileDiffusion says of it.
        of: whether it is so; None where the architecture has nothing of which it could be said.
        given: the architecture with the trait, and otherwise as it was; the same where it cannot have it so.
    """

    name: str
    says: str
    of: Callable[[Architecture], bool | None]
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


def has_transformer(architecture: Architecture, *, level: int) -> bool:
    """Whether any stage of a level has transformer layers."""
    return any(at == level for at, *_ in transformers(architecture))


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


def _separable_but_finest(architecture: Architecture) -> bool:
    return all((stage.convolution == "full") == (level == 0) for level, stage in convolutions(architecture))


def _relu(architecture: Architecture) -> bool | None:
    kinds = [(stage.attention_function, num) for _, stage, num in transformers(architecture)]
    total = sum(num for _, num in kinds)
    return 2 * sum(num for kind, num in kinds if kind == "relu") > total if total else None


def _num_blocks(architecture: Architecture) -> int:
    return sum(stage.num_blocks for _, stage in convolutions(architecture))


def _expands_little(architecture: Architecture) -> bool | None:
    """On the mean of all transformer layers."""
    layers = [(stage.expansion, num) for _, stage, num in transformers(architecture)]
    total = sum(num for _, num in layers)
    return sum(x * num for x, num in layers) <= MOST_EXPANSION * total if total else None


def changed(architecture: Architecture, change: Callable[[bool, int, Stage], dict[str, Any]]) -> Architecture:
    """An architecture with some choices of its stages made otherwise.

    Args:
        architecture: that is changed.
        change: from whether it is the coarsest level, the level and a stage to the new values of that stage's fields.
    """
    last = len(architecture.levels) - 1
    return with_stages(architecture, lambda level, stage: dataclasses.replace(stage, **change(level == last, level, stage)))


def _deepened(architecture: Architecture) -> Architecture:
    """An architecture with deeper stages at its coarsest level: the least deep of those that have most layers there.

    The other levels stay as they are, and so does an architecture in which no depth of the space is enough.
    """
    last = len(architecture.levels) - 1

    def design(depth: int) -> Architecture:
        deep = changed(
            architecture,
            lambda is_last, _, stage: {"transformer_depth": max(depth, stage.transformer_depth)} if is_last else {},
        )
        return dataclasses.replace(deep, mid=architecture.mid)

    designs = (design(depth) for depth in range(1, MOST_DEPTH.get(last, 1) + 1))
    return next(filter(_transformers_coarsest, designs), architecture)


def _pruned(architecture: Architecture) -> Architecture:
    """An architecture with `MOST_BLOCKS`: one by one is taken where there are most, at the finest such level, on the way up."""
    while _num_blocks(architecture) > MOST_BLOCKS:
        stages = [(level, side) for level in range(len(architecture.levels)) for side in ("up", "down")]
        found = {(level, side): getattr(architecture.levels[level], side) for level, side in stages}
        level, side = max(stages, key=lambda at: found[at].num_blocks)  # of equals the first
        fewer = {side: dataclasses.replace(found[level, side], num_blocks=found[level, side].num_blocks - 1)}
        levels = [dataclasses.replace(x, **fewer) if i == level else x for i, x in enumerate(architecture.levels)]
        architecture = dataclasses.replace(architecture, levels=tuple(levels))
    return architecture


def crossed_finest(architecture: Architecture) -> Architecture:
    """An architecture with cross-attention at its finest level, as it is at the next but without self-attention."""

    def at_finest(stage: Stage, next_: Stage) -> Stage:
        return dataclasses.replace(next_, num_blocks=stage.num_blocks, convolution=stage.convolution, attention="cross")

    finest, following, *others = architecture.levels
    crossed = Level(finest.width, at_finest(finest.down, following.down), at_finest(finest.up, following.up))
    return dataclasses.replace(architecture, levels=(crossed, following, *others))


TRAITS = (
    Trait(
        "no transformer at the finest level",
        "none at 64x64, where they are dearest; without any above the coarsest level FID is 17.87 for 12.50: rejected",
        lambda x: not has_transformer(x, level=0),
        lambda x: changed(x, lambda _, level, __: {} if level else {"transformer_depth": 0}),
    ),
    Trait(
        "no self-attention at the finest level",
        "the same",
        _no_self_attention_finest,
        lambda x: changed(x, lambda _, level, stage: {} if level else {"attention": "cross"}),
    ),
    Trait(
        "most transformer layers at the coarsest level",
        "more transformers in the middle of the UNet, and fewer channels: a quarter of the time, no loss of quality",
        _transformers_coarsest,
        _deepened,
    ),
    Trait(
        "cross-attention alone at the middle level",
        "no self-attention at 32x32, while cross-attention stays: 15 % quicker, no loss of quality",
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
        "its table (second version)",
        _separable_deep_alone,
        lambda x: changed(x, lambda is_last, *_: {"convolution": "separable" if is_last else "full"}),
    ),
    Trait(
        "separable convolution at all levels but the finest",
        "the first version; a tenth of the parameters less",
        _separable_but_finest,
        lambda x: changed(x, lambda _, level, __: {"convolution": "separable" if level else "full"}),
    ),
    Trait(
        "ReLU in most attention",
        "ReLU in the place of softmax after 10,000 steps of finetuning: FID 12.31 for 12.50",
        _relu,
        lambda x: changed(x, lambda *_: {"attention_function": "relu"}),
    ),
    Trait(
        f"at most {MOST_BLOCKS} residual blocks",
        "11 of 22 (12 in the first version): a fifth of the computation and 15 % of the parameters less",
        lambda x: _num_blocks(x) <= MOST_BLOCKS,
        _pruned,
    ),
    Trait(
        f"feed-forward layers expand by {MOST_EXPANSION} or less",
        "6 for 8, value and gate together: a tenth of the parameters less, FID 12.58 for 12.31",
        _expands_little,
        lambda x: changed(x, lambda *args: {"expansion": min(args[-1].expansion, MOST_EXPANSION)}),
    ),
    Trait(
        "three levels",
        "three levels in place of four",
        lambda x: len(x.levels) == 3,
        lambda x: dataclasses.replace(x, levels=x.levels[:3]),
    ),
)
