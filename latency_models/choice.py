"""Which networks to measure: those that tell most about all the others.

The model of kernel costs is linear and Gaussian, so what a measurement will tell is known before it is made: each choice is
the network whose measurement lowers the expected relative variance of a whole pool of random ones most, given what is
chosen or measured already (A-optimal design, one step at a time; Krause et al. 2008).
"""

from collections.abc import Sequence

import numpy as np

from latency_models.kernel_costs import KernelCosts, prior_covariance
from latency_models.network import Network, blocks_alone, network_of
from search_space import Architecture, Scale, SearchSpace, layer_plan

_POOL_PER_NETWORK = 4
_LEAST_POOL = 300
_NOISE = 0.02  # relative standard deviation of a measurement, and of what an additive model misses


def choose_architectures(
    space: SearchSpace, scale: Scale, n: int, rng: np.random.Generator, *, costs: KernelCosts | None = None
) -> list[Architecture]:
    """Architectures to measure: both extremes of a space, then one after the other what tells most.

    Args:
      space: Where to choose.
      scale: Where they are measured.
      n: How many.
      rng: Draws the pool.
      costs: Roughly known costs, of another device or of an earlier fit; without, those of a typical processor.

    Raises:
      ValueError: `n` is below 3, or the space holds fewer architectures.
    """
    if not 3 <= n <= space.size:
        raise ValueError(f"number of architectures to measure must be from 3 to {space.size}, got {n}")
    pool = _pool(space, max(_POOL_PER_NETWORK * n, _LEAST_POOL), n, rng)
    networks = [network_of(layer_plan(architecture, scale)) for architecture in pool]
    return [pool[i] for i in choose(networks, n, costs=costs, first=(0, 1))]


def choose_blocks(space: SearchSpace, scale: Scale, n: int, rng: np.random.Generator) -> list[Network]:
    """Single blocks to measure alone, the most telling ones of those in random networks.

    Raises:
      ValueError: `n` is below 1, or the random networks have fewer distinct blocks.
    """
    pool = [layer_plan(architecture, scale) for architecture in _pool(space, _LEAST_POOL, 1, rng)]
    distinct = {(block.spec, block.resolution): block for plan in pool for block in plan.blocks}
    if not 1 <= n <= len(distinct):
        raise ValueError(f"number of blocks to measure must be from 1 to {len(distinct)}, got {n}")
    alone = [blocks_alone([key], scale) for key in distinct]
    return [alone[i] for i in choose(alone, n)]


def choose(pool: Sequence[Network], n: int, *, costs: KernelCosts | None = None, first: Sequence[int] = ()) -> list[int]:
    """Indices into a pool of the `n` networks that tell most about all of it, in the order of their worth.

    Args:
      pool: Networks of one scale.
      n: How many, at most as many as there are.
      costs: Roughly known costs.
      first: Indices that are chosen in any case.
    """
    covariance = prior_covariance([network.kernels for network in pool], costs)
    chosen: list[int] = []
    for step in range(n):
        variance = np.diag(covariance) + _NOISE**2
        gain = (covariance**2).sum(0) / variance
        gain[chosen] = -np.inf
        best = first[step] if step < len(first) else int(gain.argmax())
        chosen.append(best)
        covariance = covariance - np.outer(covariance[best], covariance[best]) / variance[best]
    return chosen


def _pool(space: SearchSpace, size: int, least: int, rng: np.random.Generator) -> list[Architecture]:
    """Distinct architectures, smallest and largest first; at least `least`, about `size` if it can."""
    pool = {x.digest: x for x in (space.smallest(), space.largest(), *(space.sample(rng) for _ in range(size)))}
    while len(pool) < least:
        candidate = space.sample(rng)
        pool.setdefault(candidate.digest, candidate)
    return list(pool.values())
