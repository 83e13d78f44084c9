"""How much more often the designs of a front have a trait than random designs of equal cost: exact tests, with intervals."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from experiments.feasibility import CostFunction
from experiments.limits import violations
from experiments.rediscovery.traits import Trait
from search_space import Architecture, SearchSpace

_DRAWN_AT_ONCE = 1000
_MOST_DRAWS = 1000  # of so many


@dataclasses.dataclass(frozen=True)
class Enrichment:
    """A trait among the designs of a front and among random ones; those of which it cannot be said are left out.

    Attributes:
        trait: what is counted.
        found: designs of the front that have it, and how many were asked.
        random: random designs that have it, and how many were asked.
        odds_ratio: how many times larger the front's odds are, the conditional maximum likelihood estimate.
        low: lower end of its exact 95 % interval.
        high: upper end.
        p_value: of Fisher's exact test, two-sided, that the front has it as often.
        adjusted: the same by Holm's step-down method over all traits that are tested together.
    """

    trait: Trait
    found: tuple[int, int]
    random: tuple[int, int]
    odds_ratio: float
    low: float
    high: float
    p_value: float
    adjusted: float


def random_designs(
    space: SearchSpace,
    costs: CostFunction,
    *,
    num: int,
    seed: int,
    bands: Sequence[tuple[str, float, float]],
    limits: Mapping[str, float],
) -> list[list[Architecture]]:
    """Distinct random architectures of a space whose cost lies in a band, and which keep limits; for several bands.

    All bands take from the same draws, so that those of one do not depend on which others there are.

    Args:
        space: where they are drawn, every gene uniformly.
        costs: of architectures, by name.
        num: how many in each band.
        seed: of the draws.
        bands: name of a cost, the least and the most of it.
        limits: upper bound by cost.

    Raises:
        ValueError: a million draws hold too few of them.
    """
    rng, found = np.random.default_rng(seed), [dict[str, Architecture]() for _ in bands]
    for _ in range(_MOST_DRAWS):
        if all(len(of_band) >= num for of_band in found):
            break
        drawn = [space.sample(rng) for _ in range(_DRAWN_AT_ONCE)]
        columns = costs(drawn)
        keeps = np.zeros(len(drawn)) + violations(columns, limits) == 0
        for of_band, (name, least, most) in zip(found, bands, strict=True):
            fits = keeps & (columns[name] >= least) & (columns[name] <= most)
            of_band |= {drawn[i].digest: drawn[i] for i in np.flatnonzero(fits)}
    for of_band, (name, least, most) in zip(found, bands, strict=True):
        if len(of_band) < num:
            raise ValueError(
                f"{_MOST_DRAWS * _DRAWN_AT_ONCE:,} random architectures of space {space.name!r} hold {len(of_band)} with "
                f"{name} from {least:g} to {most:g} that keep the limits, not {num}; widen the band or ask for fewer"
            )
    return [list(of_band.values())[:num] for of_band in found]


def enrichments(
    front: Sequence[Architecture], random: Sequence[Architecture], traits: Sequence[Trait]
) -> tuple[Enrichment, ...]:
    """Each trait tested by itself, in the order given.

    Raises:
        ValueError: there is nothing to compare.
    """
    if not front or not random:
        raise ValueError(f"a comparison needs designs on both sides, got {len(front)} of a front and {len(random)} random ones")
    counts = [_counts(front, random, trait) for trait in traits]
    tables = [[[has, asked - has] for has, asked in pair] for pair in counts]
    tested: list[Any] = [stats.fisher_exact(table) for table in tables]
    p_values = [float(test.pvalue) for test in tested]
    return tuple(
        Enrichment(trait, *pair, *_odds_ratio(table), p_value, adjusted)
        for trait, pair, table, p_value, adjusted in zip(traits, counts, tables, p_values, holm(p_values), strict=True)
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for being many: of those below a threshold, any is false with no higher probability than that.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]

    Source: Holm 1979, "A simple sequentially rejective multiple test procedure".
    """
    order = np.argsort(p_values, kind="stable")
    stepped = np.maximum.accumulate(np.sort(p_values) * np.arange(len(p_values), 0, -1))
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted.tolist()


def _counts(
    front: Sequence[Architecture], random: Sequence[Architecture], trait: Trait
) -> tuple[tuple[int, int], tuple[int, int]]:
    both = [[value for x in designs if (value := trait.of(x)) is not None] for designs in (front, random)]
    found, others = ((sum(values), len(values)) for values in both)
    return found, others


def _odds_ratio(table: list[list[int]]) -> tuple[float, float, float]:
    if not all(map(sum, table)):
        return float("nan"), 0.0, float("inf")
    found = stats.contingency.odds_ratio(table)
    interval = found.confidence_interval(0.95)
    return float(found.statistic), float(interval.low), float(interval.high)
