"""Surfaces to compare searches on: every architecture of a space with its loss and its cost known beforehand.

`digits` is measured (`measure_surface.py`): the loss of the subnets of a trained supernet, and their predicted latency.
`knapsack` and `rugged` are made here, from random numbers. All three were fixed before any search was tuned.
"""

import dataclasses
import itertools
from collections.abc import Sequence
from functools import cache, cached_property
from pathlib import Path

import numpy as np

from experiments.latency import Costs
from objectives import get_objective
from objectives.front import hypervolume
from search_space import Architecture, SearchSpace, get_scale, get_space

FOLDER = Path(__file__).parent / "surfaces"
OBJECTIVES = (get_objective("denoising_loss"), get_objective("latency_ms"))
# 64,512 architectures of `digits`, those in which most of its genes with an effect on latency vary.
DIGITS = (
    "digits[*.shared_kv=false,*.expansion=4,*.attention_function=softmax,*.attention=self_cross,down*.num_blocks=1,"
    "up*.num_blocks=2,level0.width=3,*0.convolution=separable,mid.num_blocks=0|2]"
)
_MARGIN = 0.1


@dataclasses.dataclass(frozen=True)
class Surface:
    """A space, and what all of its architectures come to.

    Attributes:
      space: All of it is known.
      values: Loss and latency of each architecture, smaller is better.
      rows: Row of each architecture by digest.
      scale: At which costs are counted before an evaluation, as in a sweep; where it is None, latency alone is known.
    """

    space: SearchSpace
    values: np.ndarray
    rows: dict[str, int]
    scale: str | None = None

    @cached_property
    def reference(self) -> np.ndarray:
        """The worst of each objective, and a tenth of its range beyond."""
        low, high = self.values.min(axis=0), self.values.max(axis=0)
        return high + _MARGIN * (high - low)

    @cached_property
    def best(self) -> float:
        """The hypervolume of the true front."""
        return hypervolume(self.values, reference=self.reference)

    def look_up(self, architectures: Sequence[Architecture]) -> np.ndarray:
        """Loss and latency, one row per architecture."""
        return self.values[[self.rows[architecture.digest] for architecture in architectures]]

    def costs(self, architectures: Sequence[Architecture]) -> dict[str, np.ndarray]:
        """What is known before an evaluation, by the name of the cost."""
        counted = Costs(get_scale(self.scale), None).columns(architectures) if self.scale else {}
        return {**counted, "latency_ms": self.look_up(architectures)[:, 1]}

    def gap(self, found: np.ndarray) -> float:
        """How much of the true front's hypervolume the found values lack, as a share."""
        return 1 - hypervolume(found, reference=self.reference) / self.best


def every_architecture(space: SearchSpace) -> list[Architecture]:
    """All architectures of a space, each once, in an order that is always the same."""
    found: dict[str, Architecture] = {}
    for choices in itertools.product(*(range(len(gene.choices)) for gene in space.genes)):
        genotype = np.array(choices, np.int32)
        if np.array_equal(space.repair(genotype), genotype):
            architecture = space.decode(genotype)
            found.setdefault(architecture.digest, architecture)
    return list(found.values())


@cache
def surface(name: str) -> Surface:
    """The surface of this name: digits, knapsack or rugged."""
    space = get_space(DIGITS)
    architectures = every_architecture(space)
    rows = {architecture.digest: row for row, architecture in enumerate(architectures)}
    if name == "digits":
        with np.load(FOLDER / "digits.npz", allow_pickle=False) as stored:
            return Surface(
                space, np.stack([stored["loss"], stored["latency_ms"]], axis=1).astype(np.float64), rows, "digits-deploy"
            )
    genes = np.stack([space.encode(architecture) for architecture in architectures])
    return Surface(space, _MADE[name](genes), rows)


def _knapsack(genes: np.ndarray) -> np.ndarray:
    """Each choice has a gain and a price of its own; gains of pairs of genes add or cancel, and returns diminish."""
    rng = np.random.default_rng(20_261_127)
    gains, prices = rng.exponential(size=(2, genes.shape[1])) * (genes.max(axis=0) > 0)
    scaled = genes / np.maximum(genes.max(axis=0), 1)
    pairs = np.triu(rng.normal(scale=0.15, size=(genes.shape[1],) * 2), 1)
    gain = scaled @ gains + np.einsum("ni,ij,nj->n", scaled, pairs, scaled)
    price = 1 + np.exp(scaled @ prices / prices.sum() * 1.5)
    return np.stack([np.exp(-2 * (gain - gain.min()) / np.ptp(gain)), price], axis=1)


def _rugged(genes: np.ndarray) -> np.ndarray:
    """An NK landscape: what a gene brings is drawn anew for each setting of it and three others; prices are the knapsack's."""
    rng = np.random.default_rng(20_261_128)
    varying = np.flatnonzero(genes.max(axis=0) > 0)
    loss = np.zeros(len(genes))
    for gene in varying:
        seen = np.array([gene, *rng.choice(varying[varying != gene], size=3, replace=False)])
        keys = np.ravel_multi_index(genes[:, seen].T, genes[:, seen].max(axis=0) + 1)
        loss += rng.random(keys.max() + 1)[keys] / len(varying)
    price = _knapsack(genes)[:, 1]
    return np.stack([loss - 0.3 * (price - price.min()) / np.ptp(price), price], axis=1)


_MADE = {"knapsack": _knapsack, "rugged": _rugged}
