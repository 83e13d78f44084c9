"""Search spaces as text: size, genes, both ends, and what is feasible under limits; JAX is not needed."""

from collections.abc import Sequence
from functools import partial

from experiments.feasibility import feasibility, rendered
from experiments.limit_sentences import limits_of
from objectives.cost import counted_costs
from search_space import SearchSpace, get_scale, get_space, picture
from search_space.narrowing import spelled
from search_space.spaces import deploy_scale


def describe_space(name: str, *, scale: str | None = None, limits: Sequence[str] = ()) -> str:
    """A space's size, its genes with their choices, both its ends, and the range of every cost.

    Args:
        name: of the space.
        scale: name of the scale to count at; by default that at which the space's architectures are to run.
        limits: upper bounds on costs, each in plain words (`params <= 60% of sd15`) or as `parameters=4e8`.

    Raises:
        InputError: a limit is on a cost that is not counted, or nothing that was looked at keeps all limits.
        ValueError: there is no such space or scale, or a limit cannot be read.
    """
    space = get_space(name)
    counted_at = get_scale(scale or deploy_scale(space))
    sentences = [limit if "<" in limit else limit.replace("=", "<=", 1) for limit in limits]
    bounds = limits_of(sentences, scale_name=counted_at.name)
    found = feasibility(space, partial(counted_costs, scale=counted_at), limits=bounds)
    return f"{_genes_and_ends(space)}\n\nat scale {counted_at.name}\n{rendered(found)}"


def _genes_and_ends(space: SearchSpace) -> str:
    width = max(len(gene.name) for gene in space.genes)
    genes = [f"  {gene.name.ljust(width)}  {', '.join(map(spelled, gene.choices))}" for gene in space.genes]
    lines = [f"space {space.name}: {space.size:,} architectures ({space.size:.1e}), {len(space.genes)} genes", *genes]
    for end, architecture in (("smallest", space.smallest()), ("largest", space.largest())):
        lines += ["", f"{end}, {architecture.digest}", picture(architecture)]
    return "\n".join(lines)
