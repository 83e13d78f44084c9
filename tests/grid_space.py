"""Any grid as a search space: an architecture of one level per variable, whose width is the variable's index, from 1."""

from collections.abc import Sequence

import numpy as np

from search_space import Architecture
from search_space.space import LevelChoices, SearchSpace, StageChoices

_PLAIN = StageChoices(num_blocks=(1,))


def grid_space(sizes: Sequence[int]) -> SearchSpace:
    """A space with as many architectures as the grid has points."""
    levels = tuple(LevelChoices(tuple(range(1, size + 1)), _PLAIN, _PLAIN) for size in sizes)
    return SearchSpace("grid", levels, StageChoices(num_blocks=(0,)))


def indices(architecture: Architecture) -> np.ndarray:
    """The point of the grid that an architecture stands for, from 0."""
    return np.array([level.width - 1 for level in architecture.levels])


def at(space: SearchSpace, point: Sequence[int]) -> Architecture:
    """The architecture that stands for a point of the grid."""
    widths = {f"level{i}.width": int(index) + 1 for i, index in enumerate(point)}
    return space.from_values({gene.name: widths.get(gene.name, gene.choices[0]) for gene in space.genes})
