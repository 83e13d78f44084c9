"""Which architectures to measure."""

import itertools

import numpy as np
from jaxtyping import Float

from latency_models.features import features
from latency_models.network import network_of
from search_space import Architecture, Scale, SearchSpace, layer_plan

_POOL_PER_NETWORK = 16


def choose_architectures(space: SearchSpace, scale: Scale, n: int, rng: np.random.Generator) -> list[Architecture]:
    """Architectures to measure: both extremes, and one from each of n - 2 strata of log MACs.

    Random architectures crowd around the middle and leave a predictor to extrapolate at both ends; here sizes are
    spread, and each stratum gives the one whose mix of kernels differs most from what is already chosen.

    Raises:
      ValueError: `n` is below 3, or the space holds fewer architectures.
    """
    if not 3 <= n <= space.size:
        raise ValueError(f"number of architectures to measure must be from 3 to {space.size}, got {n}")
    pool = _pool(space, _POOL_PER_NETWORK * n, n, rng)
    networks = [network_of(layer_plan(architecture, scale)) for architecture in pool]
    log_macs = np.log([network.macs for network in networks])
    mix = _standardised(np.log1p(features(networks)))
    chosen = [0, 1]  # the extremes lead the pool
    edges = np.linspace(log_macs.min(), log_macs.max(), n - 1)
    for low, high in itertools.pairwise(edges):
        inside = np.flatnonzero((log_macs >= low) & (log_macs <= high))
        free = np.setdiff1d(inside, chosen)
        if not len(free):  # an empty stratum: take the free one nearest to its middle
            rest = np.setdiff1d(np.arange(len(pool)), chosen)
            free = rest[[np.abs(log_macs[rest] - (low + high) / 2).argmin()]]
        distance = np.linalg.norm(mix[free][:, None] - mix[chosen][None], axis=-1).min(1)
        chosen.append(int(free[distance.argmax()]))
    return [pool[i] for i in chosen]


def _pool(space: SearchSpace, size: int, least: int, rng: np.random.Generator) -> list[Architecture]:
    """Distinct architectures, smallest and largest first; at least `least`, about `size` if it can."""
    pool = {x.digest: x for x in (space.smallest(), space.largest(), *(space.sample(rng) for _ in range(size)))}
    while len(pool) < least:
        candidate = space.sample(rng)
        pool.setdefault(candidate.digest, candidate)
    return list(pool.values())


def _standardised(values: Float[np.ndarray, "n columns"]) -> Float[np.ndarray, "n columns"]:
    deviation = values.std(0)
    return (values - values.mean(0)) / np.where(deviation > 0, deviation, 1.0)
