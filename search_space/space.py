"""A search space: genes with their choices, and how to sample, encode, vary and count architectures.

An architecture is encoded as one choice index per gene. Several encodings may decode to one architecture (genes that have
no effect); `encode` returns the canonical one, and `size` counts architectures, not encodings.
"""

import dataclasses
import difflib
import itertools
import math
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from jaxtyping import Int

from search_space.architecture import Architecture, Level, Stage

Genotype = Int[np.ndarray, " genes"]
_STAGE_FIELDS = tuple(field.name for field in dataclasses.fields(Stage))


@dataclasses.dataclass(frozen=True)
class Gene:
    """One choice: a name such as `down0.convolution`, and the values it may take, at least one, all different."""

    name: str
    choices: tuple[Any, ...]

    def __post_init__(self) -> None:
        """Checks the choices."""
        if not self.choices or len(set(self.choices)) != len(self.choices):
            raise ValueError(f"gene {self.name!r} needs at least one choice and no choice twice, got {self.choices!r}")


@dataclasses.dataclass(frozen=True)
class StageChoices:
    """What each field of a stage may be, smallest first; a field with one choice is fixed."""

    num_blocks: tuple[int, ...]
    convolution: tuple[str, ...] = ("full",)
    transformer_depth: tuple[int, ...] = (0,)
    attention: tuple[str, ...] = ("self_cross",)
    attention_function: tuple[str, ...] = ("softmax",)
    expansion: tuple[int, ...] = (4,)
    shared_kv: tuple[bool, ...] = (False,)
    gating: tuple[str, ...] = ("gelu",)

    def stages(self) -> dict[int, set[Stage]]:
        """Every distinct canonical stage, by its number of blocks."""
        stages = (Stage(*values) for values in itertools.product(*(getattr(self, name) for name in _STAGE_FIELDS)))
        distinct = {_canonical_side(stage) for stage in stages}
        return {n: {stage for stage in distinct if stage.num_blocks == n} for n in self.num_blocks}


@dataclasses.dataclass(frozen=True)
class LevelChoices:
    """What a level's width may be, in units of the base width, and its two stages."""

    width: tuple[int, ...]
    down: StageChoices
    up: StageChoices


@dataclasses.dataclass(frozen=True)
class SearchSpace:
    """All architectures that take their values from the given choices and obey the skip rule.

    Attributes:
        name: how configurations refer to it.
        levels: choices per level, finest first.
        mid: choices of the mid stage, which follows the coarsest level there is; 0 among its `num_blocks` allows to leave it
            out.
        num_levels: how many levels there may be, ascending up to all that are given; empty stands for all, always. With a
            choice there is a gene `num_levels`, and the genes of levels that are not there have no effect.
    """

    name: str
    levels: tuple[LevelChoices, ...]
    mid: StageChoices
    num_levels: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Fills in the number of levels, or checks the choices of it."""
        if not self.num_levels:
            object.__setattr__(self, "num_levels", (len(self.levels),))
        ascending = sorted({number for number in self.num_levels if number > 0})
        if list(self.num_levels) != ascending or ascending[-1] != len(self.levels):
            raise ValueError(
                f"space {self.name!r}: num_levels must ascend, from 1 or more to the {len(self.levels)} levels that are given, "
                f"got {self.num_levels!r}"
            )
        for i, level in enumerate(self.levels):
            if min(level.up.num_blocks) > min(level.down.num_blocks) + 1:
                raise ValueError(
                    f"space {self.name!r}: up{i}.num_blocks would be at least {min(level.up.num_blocks)} beside "
                    f"down{i}.num_blocks of {min(level.down.num_blocks)}; at most one more is possible"
                )
        _ = self.genes  # whose choices are checked

    @cached_property
    def genes(self) -> tuple[Gene, ...]:
        """Every gene in the order of the encoding."""
        genes = [Gene("num_levels", self.num_levels)] if len(self.num_levels) > 1 else []
        for i, level in enumerate(self.levels):
            genes.append(Gene(f"level{i}.width", level.width))
            genes += _stage_genes(f"down{i}", level.down) + _stage_genes(f"up{i}", level.up)
        return (*genes, *_stage_genes("mid", self.mid))

    @cached_property
    def size(self) -> int:
        """Number of distinct architectures."""
        levels = [_level_size(level) for level in self.levels]
        mids = {Architecture(_ANY_LEVEL, stage).canonical().mid for stages in self.mid.stages().values() for stage in stages}
        return len(mids) * sum(math.prod(levels[:number]) for number in self.num_levels)

    def decode(self, genotype: Genotype) -> Architecture:
        """The canonical architecture of one choice index per gene.

        Raises:
            ValueError: a wrong number of genes, an index outside its gene's choices, or the skip rule is broken.
        """
        if len(genotype) != len(self.genes):
            raise ValueError(f"a genotype of space {self.name!r} has {len(self.genes)} genes, got {len(genotype)}")
        for i in np.flatnonzero((genotype < 0) | (genotype >= self._num_choices)):
            gene = self.genes[i]
            raise ValueError(f"gene {gene.name!r} has choices 0 to {len(gene.choices) - 1}, got {genotype[i]}")
        indices = iter(genotype.tolist())

        def stage(choices: StageChoices) -> Stage:
            return _stage(*(getattr(choices, field)[next(indices)] for field in _STAGE_FIELDS))

        number = self.num_levels[next(indices)] if len(self.num_levels) > 1 else len(self.levels)
        levels = [(choices.width[next(indices)], stage(choices.down), stage(choices.up)) for choices in self.levels]
        return Architecture(tuple(Level(*level) for level in levels[:number]), stage(self.mid)).canonical()

    def from_values(self, values: dict[str, Any]) -> Architecture:
        """The canonical architecture of one value per gene name, each among its gene's choices.

        Raises:
            ValueError: a gene is missing or unknown, or has a value that is none of its choices.
        """
        for name in values:
            if name not in self._choices:
                near = difflib.get_close_matches(name, self._choices, n=1)
                raise ValueError(f"space {self.name!r} has no gene {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
        for name, choices in self._choices.items():
            if name not in values:
                raise ValueError(f"gene {name!r} is missing; its choices are {_listed(choices)}")
            if not any(type(choice) is type(values[name]) and choice == values[name] for choice in choices):  # 1 is not true
                raise ValueError(f"gene {name!r} must be one of {_listed(choices)}, got {values[name]!r}")
        return self.decode(np.array([gene.choices.index(values[gene.name]) for gene in self.genes], np.int32))

    def encode(self, architecture: Architecture) -> Genotype:
        """One choice index per gene; genes without effect get the index of their default, or 0.

        Raises:
            ValueError: the architecture is not in this space; the message names the gene and the nearest value.
        """
        architecture = architecture.canonical()
        if len(architecture.levels) not in self.num_levels:
            raise ValueError(
                f"architecture {architecture.digest} is not in space {self.name!r}: it has {len(architecture.levels)} "
                f"levels, the space has {' or '.join(map(str, self.num_levels))}"
            )
        indices = [self.num_levels.index(len(architecture.levels))] if len(self.num_levels) > 1 else []
        for choices, level in zip(self.levels, architecture.levels, strict=False):
            indices += [_index(level.width, choices.width, has_effect=True)]
            indices += [*_encoded_stage(choices.down, level.down), *_encoded_stage(choices.up, level.up)]
        indices += [0] * (len(self.genes) - len(_STAGE_FIELDS) - len(indices))  # of levels that are not there
        genotype = np.array([*indices, *_encoded_stage(self.mid, architecture.mid or Stage(0), is_mid=True)], np.int32)
        for i in np.flatnonzero(genotype < 0):
            gene, value = self.genes[i], _value_of(architecture, self.genes[i].name)
            raise ValueError(
                f"architecture {architecture.digest} is not in space {self.name!r}: gene {gene.name!r} must be one of "
                f"{_listed(gene.choices)}, got {value!r}; the nearest is {_nearest(value, gene.choices)!r}"
            )
        return genotype

    def validate(self, architecture: Architecture) -> None:
        """Raises ValueError where an architecture is not in this space, naming the gene and the nearest value."""
        self.encode(architecture)

    def contains(self, architecture: Architecture) -> bool:
        """Whether an architecture is a point of this space."""
        try:
            self.validate(architecture)
        except ValueError:
            return False
        return True

    def repair(self, genotype: Genotype) -> Genotype:
        """The genotype with each up stage's number of blocks lowered, where needed, until the skip rule holds."""
        repaired = np.array(genotype, np.int32)
        for down, up in self._block_genes:
            allowed = self._allowed_up_blocks(down, up, repaired)
            if repaired[up] not in allowed:
                repaired[up] = max(allowed, key=lambda index: self.genes[up].choices[index])
        return repaired

    def sample(self, rng: np.random.Generator) -> Architecture:
        """An architecture with every gene uniform; up blocks are uniform among those that the down blocks allow."""
        genotype = rng.integers(self._num_choices).astype(np.int32)
        for down, up in self._block_genes:
            allowed = self._allowed_up_blocks(down, up, genotype)
            genotype[up] = allowed[rng.integers(len(allowed))]
        return self.decode(genotype)

    def mutate(self, architecture: Architecture, rng: np.random.Generator, *, rate: float | None = None) -> Architecture:
        """A different architecture: each gene is drawn anew with probability `rate` (default: that of two with choices)."""
        if self.size == 1:
            raise ValueError(f"space {self.name!r} holds one architecture; there is nothing to mutate")
        parent = self.encode(architecture)
        least = 1 / np.count_nonzero(self._num_choices > 1)
        rate = min(1.0, 2 * least) if rate is None else rate
        while True:
            drawn = np.where(rng.random(len(parent)) < rate, rng.integers(self._num_choices), parent)
            if np.any(drawn != parent):
                mutant = self.decode(self.repair(drawn))
                if mutant != architecture.canonical():
                    return mutant
            rate = max(rate, least)

    def crossover(self, one: Architecture, other: Architecture, rng: np.random.Generator) -> Architecture:
        """A child that takes each gene from either parent with equal chance, repaired to the skip rule.

        A gene without effect in a parent has its default there, as `encode` has it.
        """
        a, b = self.encode(one), self.encode(other)
        return self.decode(self.repair(np.where(rng.random(len(a)) < 0.5, a, b)))

    def smallest(self) -> Architecture:
        """The architecture with the first choice of every gene."""
        return self.decode(self.repair(np.zeros(len(self.genes), np.int32)))

    def largest(self) -> Architecture:
        """The architecture with the last choice of every gene, but full convolutions, both attentions, softmax, own K/V."""
        preferred = {
            "convolution": "full",
            "attention": "self_cross",
            "attention_function": "softmax",
            "shared_kv": False,
        }
        genotype = [len(gene.choices) - 1 for gene in self.genes]
        for i, gene in enumerate(self.genes):
            value = preferred.get(gene.name.split(".")[-1])
            if value in gene.choices:
                genotype[i] = gene.choices.index(value)
        return self.decode(self.repair(np.array(genotype, np.int32)))

    @cached_property
    def _choices(self) -> dict[str, tuple[Any, ...]]:
        return {gene.name: gene.choices for gene in self.genes}

    @cached_property
    def _num_choices(self) -> Genotype:
        return np.array([len(gene.choices) for gene in self.genes], np.int32)

    @cached_property
    def _block_genes(self) -> list[tuple[int, int]]:
        names = [gene.name for gene in self.genes]
        return [(names.index(f"down{i}.num_blocks"), names.index(f"up{i}.num_blocks")) for i in range(len(self.levels))]

    def _allowed_up_blocks(self, down: int, up: int, genotype: Genotype) -> list[int]:
        most = self.genes[down].choices[genotype[down]] + 1
        return [i for i, choice in enumerate(self.genes[up].choices) if choice <= most]


_ANY_LEVEL = (Level(1, Stage(1), Stage(1)),)


def _level_size(level: LevelChoices) -> int:
    """Number of distinct levels: widths times the pairs of stages that obey the skip rule."""
    down, up = _num_stages(level.down), _num_stages(level.up)
    return len(level.width) * sum(down[d] * up[u] for d in down for u in up if u <= d + 1)


@lru_cache(maxsize=256)
def _num_stages(choices: StageChoices) -> dict[int, int]:
    """Number of distinct stages by their number of blocks; levels often have the same choices."""
    return {n: len(stages) for n, stages in choices.stages().items()}


def _canonical_side(stage: Stage) -> Stage:
    """Canonical form of a stage that stands on a side, where every block has a transformer behind it."""
    if not stage.num_blocks:
        return Stage(0)
    level = Level(1, stage, Stage(1))
    return Architecture((level,)).canonical().levels[0].down


@lru_cache(maxsize=1 << 14, typed=True)
def _stage(*values: Any) -> Stage:
    """Built and checked once: few stages stand in many architectures. Typed, because 1 is not true."""
    return Stage(*values)


@lru_cache(maxsize=1 << 14)
def _encoded_stage(choices: StageChoices, stage: Stage, *, is_mid: bool = False) -> tuple[int, ...]:
    """The index of each field's value; 0 where it has no effect and is no choice, -1 where it has one."""
    active = {"num_blocks": True, "convolution": stage.num_blocks > 0}
    # On a side, depth 0 is a choice that has an effect: no transformers.
    active["transformer_depth"] = stage.transformer_depth > 0 or not is_mid or stage.num_blocks > 1
    if stage.transformer_depth > 0:
        active |= dict.fromkeys(("attention", "attention_function", "expansion", "gating"), True)
        active["shared_kv"] = stage.attention != "cross"
    return tuple(
        _index(getattr(stage, field), getattr(choices, field), has_effect=active.get(field, False)) for field in _STAGE_FIELDS
    )


def _index(value: Any, choices: tuple[Any, ...], *, has_effect: bool) -> int:
    if value in choices:
        return choices.index(value)
    return -1 if has_effect else 0


def _value_of(architecture: Architecture, gene: str) -> Any:
    """What a gene of a stage or of a level's width is in an architecture."""
    position, field = gene.split(".")
    if position == "mid":
        return getattr(architecture.mid or Stage(0), field)
    level = architecture.levels[int(position.lstrip("levdownup"))]
    return level.width if field == "width" else getattr(getattr(level, position.rstrip("0123456789")), field)


def _stage_genes(position: str, choices: StageChoices) -> list[Gene]:
    return [Gene(f"{position}.{field}", getattr(choices, field)) for field in _STAGE_FIELDS]


def _listed(choices: tuple[Any, ...]) -> str:
    return ", ".join(map(repr, choices))


def _nearest(value: Any, choices: tuple[Any, ...]) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return min(choices, key=lambda choice: abs(choice - value))
    named = {str(choice): choice for choice in choices}
    return named[difflib.get_close_matches(str(value), named, n=1, cutoff=0)[0]]
