"""Which subnets a step trains: strictly fair single paths, or the sandwich of largest, smallest and random ones."""

import dataclasses
from collections.abc import Iterator

import numpy as np
from jaxtyping import Int

from search_space import SearchSpace

MODES = ("single_path", "sandwich", "sandwich_distill")
_RANDOM_PATHS = 2  # of the sandwich, beside the largest and the smallest


@dataclasses.dataclass(frozen=True)
class Paths:
    """The subnets of one step.

    Attributes:
        genotypes: one row per subnet; rows beyond `num_paths` fill the fixed shape.
        num_paths: how many are trained.
        in_place: whether all but the first learn what the first predicts.
    """

    genotypes: Int[np.ndarray, "paths genes"]
    num_paths: int
    in_place: bool = False


def fair_genotypes(space: SearchSpace, rng: np.random.Generator) -> Iterator[Int[np.ndarray, " genes"]]:
    """Endless genotypes in which each gene deals its choices in shuffled rounds, so that all are trained equally often.

    Where the skip rule forbids a draw, the up stage's number of blocks is lowered; that alone departs from strict fairness.

    Source: Chu et al. 2021 (FairNAS), section 3.
    """
    hands: list[list[int]] = [[] for _ in space.genes]
    while True:
        genotype = np.zeros(len(space.genes), np.int32)
        for i, gene in enumerate(space.genes):
            if not hands[i]:
                hands[i] = [int(choice) for choice in rng.permutation(len(gene.choices))]
            genotype[i] = hands[i].pop()
        yield space.repair(genotype)


def training_paths(space: SearchSpace, mode: str, *, largest_steps: int, seed: int) -> Iterator[Paths]:
    """The subnets of each step, endlessly; the first `largest_steps` steps warm up the largest subnet alone.

    Args:
        space: the search space.
        mode: "single_path" trains two fair genotypes a step and sums their gradients (every choice of a gene with two is
            trained in every step); "sandwich" the largest, the smallest and two fair ones; "sandwich_distill" has the
            largest teach the others in place.
        largest_steps: length of the warm-up.
        seed: of the draws.

    Raises:
        ValueError: there is no such mode.
    """
    if mode not in MODES:
        raise ValueError(f"mode must be one of {', '.join(MODES)}, got {mode!r}")
    largest, smallest = space.encode(space.largest()), space.encode(space.smallest())
    fair = fair_genotypes(space, np.random.default_rng(seed))
    rows = 2 + _RANDOM_PATHS
    for _ in range(largest_steps):
        yield Paths(np.stack([largest] * rows), 1)
    while True:
        drawn = [next(fair) for _ in range(_RANDOM_PATHS)]
        if mode == "single_path":
            yield Paths(np.stack([*drawn, largest, smallest]), _RANDOM_PATHS)
        else:
            yield Paths(np.stack([largest, *drawn, smallest]), rows, mode == "sandwich_distill")
