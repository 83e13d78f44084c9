"""Search spaces as text: size, genes, both ends, and what is feasible under limits; JAX is not needed."""

from collections.abc import Mapping, Sequence
from functools import partial

from experiments.errors import InputError
from experiments.feasibility import feasibility, rendered
from experiments.limits import check_limits
from objectives.cost import counted_costs
from search_space import SearchSpace, get_scale, get_space, picture
from search_space.spaces import deploy_scale


def describe_space(name: str, *, scale: str | None = None, limits: Mapping[str, float] | None = None) -> str:
    """A space's size, its genes with their choices, both its ends, and the range of every cost.

    Args:
        name: of the space.
        scale: name of the scale to count at; by default that at which the space's architectures are to run.
        limits: upper bounds by cost.

    Raises:
        InputError: a limit is on a cost that is not counted, or nothing that was looked at keeps all limits.
        ValueError: there is no such space or scale, or a limit is on no cost.
    """
    space = get_space(name)
    counted_at = get_scale(scale or deploy_scale(space))
    limits = limits or {}
    check_limits(limits)
    found = feasibility(space, partial(counted_costs, scale=counted_at), limits=limits)
    return f"{_genes_and_ends(space)}\n\nat scale {counted_at.name}\n{rendered(found)}"


def parse_limits(texts: Sequence[str]) -> dict[str, float]:
    """Limits by cost, each given as KEY=VALUE.

    Raises:
        InputError: one is not of this form, or its value is no number.
    """
    limits = {}
    for text in texts:
        key, _, value = text.partition("=")
        try:
            limits[key] = float(value)
        except ValueError:
            raise InputError(f"--limit must be KEY=VALUE with a number, as parameters=4e8, got {text!r}") from None
    return limits


def _genes_and_ends(space: SearchSpace) -> str:
    width = max(len(gene.name) for gene in space.genes)
    genes = [f"  {gene.name.ljust(width)}  {', '.join(map(_choice, gene.choices))}" for gene in space.genes]
    lines = [f"space {space.name}: {space.size:,} architectures ({space.size:.1e}), {len(space.genes)} genes", *genes]
    for end, architecture in (("smallest", space.smallest()), ("largest", space.largest())):
        lines += ["", f"{end}, {architecture.digest}", picture(architecture)]
    return "\n".join(lines)


def _choice(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
