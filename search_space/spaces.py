"""The search spaces that ship with the project, by name.

`digits`, `digits-small` and `shapes` are tiny UNets. `mobile-sd` is the family of Stable Diffusion 1.5 and its descendants for
small devices: 9,013,494,968,163,847,392,000 architectures, among them every published design (`search_space.published`).
`mobile-sd-small` has the same at a quarter of the widths, where a latency can be measured in seconds.
"""

import dataclasses
import difflib
from typing import Any

from search_space.narrowing import narrowed, split_name
from search_space.space import LevelChoices, SearchSpace, StageChoices


def _digits() -> SearchSpace:
    """Three resolutions of tiny UNets, every gene that the project searches."""

    def side(num_blocks: tuple[int, ...], depth: tuple[int, ...]) -> StageChoices:
        return StageChoices(
            num_blocks=num_blocks,
            convolution=("separable", "full"),
            transformer_depth=depth,
            attention=("cross", "self", "self_cross"),
            attention_function=("relu", "softmax"),
            expansion=(2, 4),
            shared_kv=(True, False),
        )

    def level(widths: tuple[int, ...], depth: tuple[int, ...]) -> LevelChoices:
        return LevelChoices(widths, down=side((1, 2), depth), up=side((1, 2, 3), depth))

    levels = (level((2, 3), (0, 1)), level((3, 4), (0, 1)), level((4, 6), (0, 1, 2)))
    return SearchSpace("digits", levels, mid=side((0, 1, 2), (0, 1, 2)))


def _shapes() -> SearchSpace:
    """The genes of `digits` for larger images: fewer blocks at the finest level, whose pixels do not attend to each other."""
    digits = _digits()
    finest, middle, coarsest = digits.levels
    to_prompt: dict[str, Any] = {"attention": ("cross",), "shared_kv": (False,)}
    down, up = (dataclasses.replace(side, **to_prompt) for side in (finest.down, finest.up))
    finest = dataclasses.replace(finest, down=down, up=dataclasses.replace(up, num_blocks=(1, 2)))
    return dataclasses.replace(digits, name="shapes", levels=(finest, middle, dataclasses.replace(coarsest, width=(4, 5))))


def _digits_small() -> SearchSpace:
    """Two resolutions and fewer genes: compiles in seconds, for a first look and for tests."""

    def side(num_blocks: tuple[int, ...]) -> StageChoices:
        return StageChoices(
            num_blocks=num_blocks,
            convolution=("separable", "full"),
            transformer_depth=(0, 1),
            attention=("cross", "self_cross"),
            attention_function=("relu", "softmax"),
            expansion=(2,),
        )

    levels = tuple(LevelChoices(widths, side((1,)), side((1, 2))) for widths in ((1, 2), (2, 3)))
    return SearchSpace("digits-small", levels, mid=StageChoices(num_blocks=(0, 1)))


def _mobile_sd(name: str = "mobile-sd") -> SearchSpace:
    """Three or four resolutions; none of the published designs is wider or deeper in any gene than the largest network."""

    def side(num_blocks: tuple[int, ...], depth: tuple[int, ...]) -> StageChoices:
        return StageChoices(
            num_blocks=num_blocks,
            convolution=("separable", "full"),
            transformer_depth=depth,
            attention=("cross", "self_cross"),
            attention_function=("relu", "softmax"),
            expansion=(2, 3, 4),
            shared_kv=(True, False),
            gating=("silu", "gelu"),
        )

    def level(widths: tuple[int, ...], depth: tuple[int, ...]) -> LevelChoices:
        return LevelChoices(widths, down=side((1, 2), depth), up=side((1, 2, 3), depth))

    levels = (level((4, 5), (0, 1)), level((8, 10), (0, 1)), level((14, 16, 20), (0, 1, 2, 3)), level((16, 20), (0, 1)))
    return SearchSpace(name, levels, mid=side((0, 1, 2), (0, 1)), num_levels=(3, 4))


def _mobile_sd_small() -> SearchSpace:
    """The genes of `mobile-sd`; its networks run at a quarter of the widths."""
    return _mobile_sd("mobile-sd-small")


_SPACES = {
    "digits": _digits, "digits-small": _digits_small, "shapes": _shapes, "mobile-sd": _mobile_sd,
    "mobile-sd-small": _mobile_sd_small,
}  # fmt: skip
_DEPLOY_SCALES = {
    "digits": "digits-deploy", "digits-small": "digits-deploy", "shapes": "digits-deploy", "mobile-sd": "sd15",
    "mobile-sd-small": "sd15-quarter",
}  # fmt: skip


def space_names() -> tuple[str, ...]:
    """Names that `get_space` knows."""
    return tuple(_SPACES)


def get_space(name: str) -> SearchSpace:
    """The search space of this name, or a shipped one narrowed: `mobile-sd[*.convolution=full,level0.width=5]`.

    Raises:
        ValueError: there is none; the message lists those there are, and the nearest; or it cannot be narrowed so.
    """
    base, kept = split_name(name)
    if base not in _SPACES:
        nearest = difflib.get_close_matches(base, _SPACES, n=1, cutoff=0)[0]
        raise ValueError(f"there is no search space {base!r}; known are {', '.join(_SPACES)}; did you mean {nearest!r}?")
    return narrowed(_SPACES[base](), kept, name=name) if kept else _SPACES[base]()


def deploy_scale(space: SearchSpace) -> str:
    """Name of the scale at which a shipped space's architectures are to run on a device."""
    return _DEPLOY_SCALES[split_name(space.name)[0]]
