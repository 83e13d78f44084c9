"""Which subnets a step trains: strictly fair single paths, sandwiches of largest, smallest and random ones, or thinned ones."""

import dataclasses
import itertools
from collections.abc import Iterator

import numpy as np
from jaxtyping import Int

from search_space import SearchSpace

MODES = ("single_path", "sandwich", "sandwich_distill", "stochastic_depth")
_RANDOM_PATHS = 2  # of the sandwich, beside the largest and the smallest
_DEPTH_GENES = ("num_blocks", "transformer_depth")
_KEPT = 0.7  # a block is dropped with the rest of the probability


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
    """Endless genotypes in which each gene deals its choices in shuffled rounds, so that all are dealt equally often.

    What is dealt has no effect where the rest of a genotype leaves it out: attention without transformers, levels that are not
    there. And where the skip rule forbids a draw, the up stage's number of blocks is lowered. So not all are trained as often.

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


def thinned_genotypes(space: SearchSpace, rng: np.random.Generator) -> Iterator[Int[np.ndarray, " genes"]]:
    """Endless genotypes whose depths are those of the largest where each block is dropped with a probability of 0.3.

    Other genes are dealt fairly. A dropped block leaves a shallower stage, since stages lose their last blocks; of the depths
    that a stage may have, the nearest is taken.

    Source: Li et al. 2023 (SnapFusion), section 3.1, robust training, in which a dropped block hands its input on.
    """
    for genotype in fair_genotypes(space, rng):
        for i, gene in enumerate(space.genes):
            if gene.name.endswith(_DEPTH_GENES):
                depth = rng.binomial(max(gene.choices), _KEPT)
                genotype[i] = int(np.argmin([abs(choice - depth) for choice in gene.choices]))
        yield space.repair(genotype)


def training_paths(
    space: SearchSpace, mode: str, *, largest_steps: int, seed: int, num_steps: int = 0, recovery_steps: int = 0
) -> Iterator[Paths]:
    """The subnets of each step, endlessly; the first `largest_steps` steps warm up the largest subnet alone.

    Args:
        space: the search space.
        mode: "single_path" trains two fair genotypes a step and takes the mean of their gradients (every choice of a gene with
            two is dealt in every step); "sandwich" the largest, the smallest and two fair ones; "sandwich_distill" has the
            largest teach the others in place; "stochastic_depth" trains two whose blocks are dropped at random.
        largest_steps: length of the warm-up.
        seed: of the draws.
        num_steps: of the whole training, for `recovery_steps` alone.
        recovery_steps: so many steps at the end are sandwiches, whatever the mode.

    Raises:
        ValueError: there is no such mode.
    """
    if mode not in MODES:
        raise ValueError(f"mode must be one of {', '.join(MODES)}, got {mode!r}")
    largest, smallest = space.encode(space.largest()), space.encode(space.smallest())
    draw = thinned_genotypes if mode == "stochastic_depth" else fair_genotypes
    genotypes = draw(space, np.random.default_rng(seed))
    rows = 2 + _RANDOM_PATHS
    for step in itertools.count():
        if step < largest_steps:
            yield Paths(np.stack([largest] * rows), 1)
            continue
        drawn = [next(genotypes) for _ in range(_RANDOM_PATHS)]
        if mode.startswith("sandwich") or (recovery_steps and step >= num_steps - recovery_steps):
            yield Paths(np.stack([largest, *drawn, smallest]), rows, mode == "sandwich_distill")
        else:
            yield Paths(np.stack([*drawn, largest, smallest]), _RANDOM_PATHS)
