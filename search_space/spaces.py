"""The search spaces that ship with the project, by name."""

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


_SPACES = {"digits": _digits}


def space_names() -> tuple[str, ...]:
    """Names that `get_space` knows."""
    return tuple(_SPACES)


def get_space(name: str) -> SearchSpace:
    """The search space of this name.

    Raises:
        ValueError: there is none; the message lists those there are.
    """
    if name not in _SPACES:
        raise ValueError(f"there is no search space {name!r}; known are {', '.join(_SPACES)}")
    return _SPACES[name]()
