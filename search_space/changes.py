"""What is one choice away from an architecture."""

from typing import Any

import numpy as np

from search_space.architecture import Architecture
from search_space.space import SearchSpace


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
