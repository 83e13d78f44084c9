"""What is feasible before anything is spent: the range of every cost over a space, and what each limit excludes."""

import dataclasses
import io
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Float

from experiments.amounts import amount
from experiments.errors import InputError
from experiments.limits import violations
from objectives import get_objective
from search_space import Architecture, SearchSpace

_NUM_SAMPLES = 1000

CostFunction = Callable[[Sequence[Architecture]], Mapping[str, Float[np.ndarray, " architectures"]]]


@dataclasses.dataclass(frozen=True)
class CostRange:
    """One cost over a space.

    Attributes:
        name: of the objective.
        smallest: of the space's smallest architecture.
        median: of the random sample.
        largest: of the space's largest architecture.
        least: of all that were looked at, sample and both ends.
        most: likewise.
        limit: upper bound; None without one.
        excluded: share of the sample above the limit, 0 to 1; None without one.
    """

    name: str
    smallest: float
    median: float
    largest: float
    least: float
    most: float
    limit: float | None
    excluded: float | None


@dataclasses.dataclass(frozen=True)
class Feasibility:
    """What `feasibility` found: ranges, and the share of the sample that keeps all limits at once."""

    space: str
    size: int
    num_samples: int
    ranges: tuple[CostRange, ...]
    feasible: float


def feasibility(
    space: SearchSpace, costs: CostFunction, *, limits: Mapping[str, float], num_samples: int | None = None, seed: int = 0
) -> Feasibility:
    """Looks at random architectures of a space, a thousand by default, and at both its ends.

    Raises:
        InputError: a limit is on a cost that is not computed, or nothing that was looked at keeps all limits; the message
            has the nearest miss.
    """
    num_samples = _NUM_SAMPLES if num_samples is None else num_samples
    rng = np.random.default_rng(seed)
    architectures = [space.smallest(), space.largest(), *(space.sample(rng) for _ in range(num_samples))]
    values = {name: np.asarray(column, np.float64) for name, column in costs(architectures).items()}
    unknown = sorted(set(limits) - set(values))
    if unknown:
        raise InputError(
            f"no cost {', '.join(unknown)} is computed here, so no limit can be on it; known are {', '.join(values)}"
        )
    keeps = np.all([values[name] <= bound for name, bound in limits.items()] or [np.ones(len(architectures), bool)], axis=0)
    if not keeps.any():
        raise InputError(_nearest_miss(space, values, limits, architectures))
    ranges = tuple(_range(name, column, limits.get(name)) for name, column in values.items())
    return Feasibility(space.name, space.size, num_samples, ranges, float(keeps[2:].mean()) if num_samples else 1.0)


def rendered(found: Feasibility) -> str:
    """The findings as a table for a terminal."""
    from rich.console import Console
    from rich.table import Table

    table = Table(
        title=f"Space {found.space!r}: {found.size:,} architectures, {found.num_samples:,} looked at",
        caption=f"{found.feasible:.1%} of the sample keep all limits",
    )
    for heading in ("cost", "smallest net", "least", "median", "most", "largest net", "limit", "excludes"):
        table.add_column(heading, justify="left" if heading == "cost" else "right")
    for row in found.ranges:
        unit = get_objective(row.name).unit
        numbers = (amount(x, unit) for x in (row.smallest, row.least, row.median, row.most, row.largest))
        limit = "" if row.limit is None else amount(row.limit, unit)
        excluded = "" if row.excluded is None else f"{row.excluded:.1%}"
        table.add_row(row.name, *numbers, limit, excluded, end_section=False)
    console = Console(file=io.StringIO(), width=110, markup=False)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def _range(name: str, column: np.ndarray, limit: float | None) -> CostRange:
    sample = column[2:] if len(column) > 2 else column
    return CostRange(
        name=name,
        smallest=float(column[0]),
        median=float(np.median(sample)),
        largest=float(column[1]),
        least=float(column.min()),
        most=float(column.max()),
        limit=limit,
        excluded=None if limit is None else float((sample > limit).mean()),
    )


def _nearest_miss(
    space: SearchSpace,
    values: Mapping[str, np.ndarray],
    limits: Mapping[str, float],
    architectures: Sequence[Architecture],
) -> str:
    nearest = int(np.argmin(violations(values, limits)))
    units = {name: get_objective(name).unit for name in limits}
    told = ", ".join(
        f"{name} {amount(values[name][nearest], units[name])} against {amount(bound, units[name])}"
        for name, bound in limits.items()
        if values[name][nearest] > bound
    )
    return (
        f"no architecture of space {space.name!r} that was looked at keeps all limits ({len(architectures):,} were); the "
        f"nearest, {architectures[nearest].digest}, has {told}; loosen these limits, or search a space of smaller networks"
    )
