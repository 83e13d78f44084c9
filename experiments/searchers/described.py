"""What is known of an architecture before it is evaluated: its costs, and its features for a model."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from experiments.feasibility import CostFunction
from search_space import Architecture, Gene, SearchSpace

Features = Float[np.ndarray, "architectures features"]
Columns = Mapping[str, Float[np.ndarray, " architectures"]]

_NUM_SAMPLED = 64  # by which logarithms of costs are centred and scaled
_LEAST_COST = 1e-9


class DescribedArchitectures:
    """Costs and features of architectures, each computed once as long as it is kept.

    Features are the genes, ordered ones by rank from 0 to 1 and others one choice at a time, and the logarithms of the costs,
    centred and scaled by random architectures.

    Attributes:
        cost_names: of the costs that are computed.
    """

    def __init__(self, space: SearchSpace, costs: CostFunction | None, *, seed: int) -> None:
        """Looks at random architectures of the space."""
        self._space = space
        self._compute = costs
        self._genes = [(i, gene) for i, gene in enumerate(space.genes) if len(gene.choices) > 1]
        self._rows: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        rng = np.random.default_rng([seed, 0xDE5C])
        sampled = [space.sample(rng) for _ in range(_NUM_SAMPLED)]
        columns = {} if costs is None else costs(sampled)
        self.cost_names = tuple(columns)
        logs = _logarithms(_stacked(columns, self.cost_names, len(sampled)))
        self._centre, self._scale = logs.mean(axis=0), np.maximum(logs.std(axis=0), _LEAST_COST)

    def look_up(self, architectures: Sequence[Architecture]) -> tuple[Features, Columns]:
        """Features and costs, in the order of the architectures."""
        new = [architecture for architecture in architectures if architecture.digest not in self._rows]
        if new:
            columns = {} if self._compute is None else self._compute(new)
            costs = _stacked(columns, self.cost_names, len(new))
            features = np.hstack([self._gene_features(new), (_logarithms(costs) - self._centre) / self._scale])
            self._rows |= {x.digest: row for x, row in zip(new, zip(features, costs, strict=True), strict=True)}
        rows = [self._rows[architecture.digest] for architecture in architectures]
        features, costs = (np.stack(parts) for parts in zip(*rows, strict=True))
        return features, dict(zip(self.cost_names, costs.T, strict=True))

    def keep(self, digests: set[str]) -> None:
        """Forgets all others."""
        self._rows = {digest: row for digest, row in self._rows.items() if digest in digests}

    def _gene_features(self, architectures: Sequence[Architecture]) -> Features:
        genotypes = np.stack([self._space.encode(architecture) for architecture in architectures])
        columns: list[np.ndarray] = []
        for i, gene in self._genes:
            last, indices = len(gene.choices) - 1, genotypes[:, i]
            columns += [indices / last] if _is_ordered(gene) else [indices == choice for choice in range(last + 1)]
        return np.stack(columns, axis=1).astype(np.float64) if columns else np.zeros((len(architectures), 0))


def _is_ordered(gene: Gene) -> bool:
    return len(gene.choices) == 2 or all(isinstance(choice, int) for choice in gene.choices)


def _stacked(columns: Columns, names: Sequence[str], count: int) -> Float[np.ndarray, "architectures costs"]:
    return np.stack([np.asarray(columns[name], np.float64) for name in names], axis=1) if names else np.zeros((count, 0))


def _logarithms(costs: Float[np.ndarray, "architectures costs"]) -> Float[np.ndarray, "architectures costs"]:
    return np.log(np.maximum(costs, _LEAST_COST))
