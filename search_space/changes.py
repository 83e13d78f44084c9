"""Architectures with some choices made otherwise."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from search_space.architecture import Architecture, Stage
from search_space.space import SearchSpace


def with_stages(architecture: Architecture, change: Callable[[int, Stage], Stage]) -> Architecture:
    """An architecture with every stage made anew, the levels' and then the mid stage.

    Args:
        architecture: that is changed.
        change: from the level, counted from the finest, and a stage to the new one; the mid stage is of the coarsest level.
    """
    levels = tuple(
        dataclasses.replace(level, down=change(i, level.down), up=change(i, level.up))
        for i, level in enumerate(architecture.levels)
    )
    return Architecture(levels, architecture.mid and change(len(levels) - 1, architecture.mid))


def one_choice_changes(
    space: SearchSpace, architecture: Architecture
) -> list[tuple[str, Any, Any, dict[str, Any], Architecture]]:
    """Every other choice of every gene: gene, choice before and after, what has to follow, and the architecture.

    Choices without effect on this architecture are left out.
    """
    own, found = space.encode(architecture), []
    for i, gene in enumerate(space.genes):
        for index in range(len(gene.choices)):
            genotype = own.copy()
            genotype[i] = index
            repaired = space.repair(genotype)
            other = space.decode(repaired)
            encoded = space.encode(other)
            if index == own[i] or encoded[i] != index or other == architecture.canonical():
                continue
            also = {
                space.genes[k].name: space.genes[k].choices[encoded[k]]
                for k in np.flatnonzero(encoded != own)
                if k != i and repaired[k] != own[k]
            }
            found.append((gene.name, gene.choices[own[i]], gene.choices[index], also, other))
    return found
