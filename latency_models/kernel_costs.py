"""What a kernel costs: a price for each of its counts, corrected by what kernels of similar shape have shown.

The cost of a kernel k is b(k) (1 + g(kind) + h(k)): b is a non-negative price per kernel, MAC and byte of its kind; g and h are
Gaussian with mean 0, h smooth in the logarithms of the kernel's dimensions. Everything that is ever measured (a kernel in
a profile, a block alone, a whole network) is a sum of kernels, so one linear Gaussian model learns from all of it at once
(Rasmussen and Williams 2006, section 2.7: observations of linear functionals). Far from what was measured a cost falls
back on its counts; none falls below the roofline of the fastest kernels seen (Williams et al. 2009).
"""

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import get_args

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import nnls

from latency_models.kernels import Kernel, KernelKind

KINDS: tuple[KernelKind, ...] = get_args(KernelKind)
_KIND_NUMBERS = {kind: i for i, kind in enumerate(KINDS)}
# Nanoseconds per kernel, MAC and byte, of XNNPACK on an x86-64 core. Only their ratios matter, and only for kinds that the
# measurements do not tell apart.
_PRIOR_NS: dict[KernelKind, tuple[float, float, float]] = {
    "convolution": (500.0, 0.0195, 0.02),
    "depthwise_convolution": (500.0, 0.044, 0.005),
    "fully_connected": (500.0, 0.0175, 0.02),
    "attention_scores": (500.0, 0.0195, 0.05),
    "attention_values": (500.0, 0.0195, 0.05),
    "softmax": (500.0, 0.0, 0.0375),
    "clamp": (500.0, 0.0, 0.0125),
    "sigmoid": (500.0, 0.0, 0.025),
    "gelu": (500.0, 0.0, 0.22),
    "elementwise": (500.0, 0.0, 0.0105),
    "reduction": (500.0, 0.0, 0.015),
    "copy": (500.0, 0.0, 0.005),
    "transpose": (500.0, 0.0, 0.013),
}
_NS_PER_MS = 1e6
# Standard deviations of h, over long and short distances in log dimensions, and of what only whole networks show: a kind's
# factor, and milliseconds per kernel and per network.
_SHAPE_SDS = (0.25, 0.16)
_SHAPE_LENGTHS = (1.5, 0.3)
_KIND_SD = 0.05
_UNKNOWN_KIND_SD = 0.5  # of a kind's factor on a device that has not been measured
_PER_KERNEL_SD_MS = 5e-4
_PER_NETWORK_SD_MS = 0.05
_TILE_COLUMNS = 16  # of a matrix product's output, which a vector register or two hold
_LEAST_FACTOR = 0.1
_REWEIGHTED = 6  # times that the prices' pull is adapted
_LONG_MS = 0.1  # kernels below tell nothing of throughput
FAR = np.log(1.6)  # a kernel is far from those measured where a dimension differs by more than this factor


@dataclasses.dataclass(frozen=True)
class _Trust:
    """How far a sum of median size is off its price, and how far a price is from the prior's, both relative."""

    misfit: float
    spread: float


_COUNTED, _SOURCED = _Trust(misfit=0.2, spread=3.0), _Trust(misfit=0.04, spread=1.0)


@dataclasses.dataclass(frozen=True)
class Sum:
    """A measured sum of kernels.

    Attributes:
      kernels: What was run.
      ms: What it took.
      sd: Standard deviation of that, in milliseconds.
      is_network: Whether it is a whole run, with what lies between kernels.
    """

    kernels: tuple[Kernel, ...]
    ms: float
    sd: float
    is_network: bool


@dataclasses.dataclass(frozen=True)
class Observations:
    """Measured sums of kernels.

    Attributes:
      kernels: The distinct kernels.
      counts: How many of each are in each sum.
      ms: What each sum took.
      sd: Standard deviation of each, in milliseconds.
      is_network: Which sums are whole runs, with what lies between kernels.
    """

    kernels: tuple[Kernel, ...]
    counts: Float[np.ndarray, "sums kernels"]
    ms: Float[np.ndarray, " sums"]
    sd: Float[np.ndarray, " sums"]
    is_network: Bool[np.ndarray, " sums"]


def observe(sums: Sequence[Sum]) -> Observations:
    """Collects sums as arrays over the distinct kernels in them."""
    index = {kernel: i for i, kernel in enumerate(dict.fromkeys(kernel for one in sums for kernel in one.kernels))}
    counts = np.zeros((len(sums), len(index)))
    for row, one in zip(counts, sums, strict=True):
        for kernel, count in Counter(one.kernels).items():
            row[index[kernel]] = count
    return Observations(
        kernels=tuple(index),
        counts=counts,
        ms=np.array([one.ms for one in sums]),
        sd=np.array([one.sd for one in sums]),
        is_network=np.array([one.is_network for one in sums]),
    )


@dataclasses.dataclass(frozen=True, eq=False)
class KernelCosts:
    """Costs of kernels on one device, in milliseconds.

    Attributes:
      prices: Milliseconds per kernel, MAC and byte of each kind; with sources, then per millisecond on each of them.
      kind_factors: Relative correction of each kind, learned from whole networks.
      kinds: Kinds of the kernels that were measured.
      dimensions: Logarithms of their batch, rows, columns and depth.
      weights: What each of them contributes to the correction of kernels of similar shape.
      per_kernel: What a kernel costs in a whole network beyond its own time.
      per_network: What a run costs beyond its kernels.
      floor: Fewest milliseconds per MAC and per byte that any measured kernel needed.
      sources: Costs on other devices that these are built on.
      tile_columns: Columns of a matrix product that take as long as fewer do.
    """

    prices: Float[np.ndarray, "kinds quantities"]
    kind_factors: Float[np.ndarray, " kinds"]
    kinds: Int[np.ndarray, " known"]
    dimensions: Float[np.ndarray, "known 4"]
    weights: Float[np.ndarray, " known"]
    per_kernel: float
    per_network: float
    floor: Float[np.ndarray, " 2"]
    sources: tuple["KernelCosts", ...] = ()
    tile_columns: int = _TILE_COLUMNS

    def ms(self, kernels: Sequence[Kernel]) -> Float[np.ndarray, " kernels"]:
        """What each kernel adds to a network's latency."""
        return np.maximum(self._unbounded(kernels), self._bound(kernels)) + self.per_kernel

    def networks_ms(self, networks: Sequence[Sequence[Kernel]]) -> Float[np.ndarray, " networks"]:
        """What each network takes, from its kernels; each distinct kernel is priced once."""
        distinct = list(dict.fromkeys(kernel for kernels in networks for kernel in kernels))
        price = dict(zip(distinct, self.ms(distinct), strict=True))
        return np.array([sum(price[kernel] for kernel in kernels) for kernels in networks]) + self.per_network

    def is_far(self, kernels: Sequence[Kernel]) -> Bool[np.ndarray, " kernels"]:
        """Which kernels are unlike every measured one of their kind."""
        kinds, dimensions = _kinds(kernels), _dimensions(kernels)
        nearest = np.full(len(kernels), np.inf)
        for kind in np.unique(kinds):
            here, known = kinds == kind, self.kinds == kind
            if known.any():
                apart = np.abs(dimensions[here][:, None] - self.dimensions[known][None]).max(-1)
                nearest[here] = apart.min(1)
        return nearest > FAR

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Named arrays that `from_arrays` turns back into this value."""
        # The usual tiles are not said: files from before they were have the same digest.
        unsaid = {"sources", "tile_columns"} if self.tile_columns == _TILE_COLUMNS else {"sources"}
        names = [field.name for field in dataclasses.fields(self) if field.name not in unsaid]
        own = {name: np.asarray(getattr(self, name)) for name in names}
        named = [
            {f"source{i}.{key}": value for key, value in source.to_arrays().items()} for i, source in enumerate(self.sources)
        ]
        return {key: value for part in (own, *named) for key, value in part.items()}

    @staticmethod
    def from_arrays(arrays: Mapping[str, np.ndarray]) -> "KernelCosts":
        """Reads what `to_arrays` wrote.

        Raises:
          KeyError: One is missing.
          ValueError: Shapes disagree with this version's kinds of kernels, or a price is negative or not finite.
        """
        num_sources = sum(key.endswith(".prices") and key.count(".") == 1 for key in arrays)
        parts = [
            {key.partition(".")[2]: value for key, value in arrays.items() if key.partition(".")[0] == f"source{i}"}
            for i in range(num_sources)
        ]
        prices = arrays["prices"]
        if prices.shape != (len(KINDS), 3 + num_sources) or not (np.isfinite(prices).all() and (prices >= 0).all()):
            raise ValueError(
                f"prices must be finite, not negative, of shape {(len(KINDS), 3 + num_sources)}, got {prices.shape}"
            )
        return KernelCosts(
            prices=prices,
            kind_factors=arrays["kind_factors"],
            kinds=arrays["kinds"],
            dimensions=arrays["dimensions"],
            weights=arrays["weights"],
            per_kernel=float(arrays["per_kernel"]),
            per_network=float(arrays["per_network"]),
            floor=arrays["floor"],
            sources=tuple(KernelCosts.from_arrays(part) for part in parts),
            tile_columns=int(arrays.get("tile_columns", _TILE_COLUMNS)),
        )

    def _unbounded(self, kernels: Sequence[Kernel]) -> Float[np.ndarray, " kernels"]:
        kinds, dimensions = _kinds(kernels), _dimensions(kernels)
        correction = self.kind_factors[kinds]
        for kind in np.unique(kinds):
            here, known = kinds == kind, self.kinds == kind
            covariance = shape_covariance(dimensions[here], self.dimensions[known])
            correction[here] += (covariance * self.weights[known]).sum(1)  # not @: a batch must not change the last bit
        priced = (self.prices[kinds] * _quantities(kernels, self.sources, tile_columns=self.tile_columns)).sum(1)
        return priced * np.maximum(1 + correction, _LEAST_FACTOR)

    def _bound(self, kernels: Sequence[Kernel]) -> Float[np.ndarray, " kernels"]:
        return (self.floor * _quantities(kernels, tile_columns=self.tile_columns)[:, 1:]).max(1)


def fit_costs(observed: Observations, *, sources: Sequence[KernelCosts] = ()) -> KernelCosts:
    """Learns costs from sums of kernels.

    Args:
      observed: What was measured.
      sources: Costs on other devices; with them, prices are per millisecond there, and few networks suffice.
    """
    kinds, dimensions = _kinds(observed.kernels), _dimensions(observed.kernels)
    quantities = _quantities(observed.kernels, sources)
    prices = _fit_prices(observed, kinds, quantities, _prior(len(sources)), _SOURCED if sources else _COUNTED)
    weighted = observed.counts * (prices[kinds] * quantities).sum(1)
    beside = _beside(observed, weighted, kinds)
    covariance = weighted @ _shapes_covariance(kinds, dimensions) @ weighted.T + beside @ beside.T + np.diag(observed.sd**2)
    solved = cho_solve(cho_factor(covariance), observed.ms - weighted.sum(1))
    besides = beside.T @ solved
    costs = KernelCosts(
        prices=prices,
        kind_factors=_KIND_SD * besides[: len(KINDS)],
        kinds=kinds,
        dimensions=dimensions,
        weights=weighted.T @ solved,
        per_kernel=_PER_KERNEL_SD_MS * float(besides[-2]),
        per_network=_PER_NETWORK_SD_MS * float(besides[-1]),
        floor=np.zeros(2),
        sources=tuple(sources),
    )
    return dataclasses.replace(costs, floor=_roofline(costs._unbounded(observed.kernels), observed.kernels))


def roofline_costs(known: Sequence[Kernel], *, ms_per_kernel: float, ms_per_mac: float, ms_per_byte: float) -> KernelCosts:
    """Costs that nothing was learned of: the slower of arithmetic and memory, and a start.

    MACs are taken as they are: whoever knows the unit's tiles fills kernels up to them before.

    Args:
      known: Kernels that are not to be called far, nor those like them.
      ms_per_kernel: Of each kernel's start.
      ms_per_mac: Of arithmetic.
      ms_per_byte: Of memory.
    """
    return KernelCosts(
        prices=np.zeros((len(KINDS), 3)),
        kind_factors=np.zeros(len(KINDS)),
        kinds=_kinds(known),
        dimensions=_dimensions(known),
        weights=np.zeros(len(known)),
        per_kernel=ms_per_kernel,
        per_network=0.0,
        floor=np.array([ms_per_mac, ms_per_byte]),
        tile_columns=1,
    )


def prior_covariance(
    networks: Sequence[Sequence[Kernel]], costs: KernelCosts | None = None
) -> Float[np.ndarray, "networks networks"]:
    """Covariance of the networks' relative latencies before anything is measured there.

    Args:
      networks: The kernels of each.
      costs: Roughly known costs; without, those of the prior machine.
    """
    observed = observe([Sum(tuple(kernels), 1.0, 1.0, is_network=True) for kernels in networks])
    kinds = _kinds(observed.kernels)
    ms = _prior_ms(observed.kernels) if costs is None else costs.ms(observed.kernels)
    shares = observed.counts * ms
    shares /= shares.sum(1, keepdims=True)
    per_kind = _UNKNOWN_KIND_SD * shares @ np.eye(len(KINDS))[kinds]
    return per_kind @ per_kind.T + shares @ _shapes_covariance(kinds, _dimensions(observed.kernels)) @ shares.T


def shape_covariance(a: Float[np.ndarray, "n 4"], b: Float[np.ndarray, "m 4"]) -> Float[np.ndarray, "n m"]:
    """Covariance of h between kernels of one kind, from the logarithms of their dimensions."""
    squared = ((a[:, None] - b[None]) ** 2).sum(-1)
    terms = [sd**2 * np.exp(-squared / (2 * length**2)) for sd, length in zip(_SHAPE_SDS, _SHAPE_LENGTHS, strict=True)]
    return np.sum(terms, 0)


def _kinds(kernels: Sequence[Kernel]) -> Int[np.ndarray, " kernels"]:
    return np.array([_KIND_NUMBERS[kernel.kind] for kernel in kernels], int)


def _dimensions(kernels: Sequence[Kernel]) -> Float[np.ndarray, "kernels 4"]:
    return np.log([(k.batch, k.rows, k.columns, max(k.depth, 1)) for k in kernels]).reshape(-1, 4)


def _quantities(
    kernels: Sequence[Kernel], sources: Sequence[KernelCosts] = (), *, tile_columns: int = _TILE_COLUMNS
) -> Float[np.ndarray, "kernels quantities"]:
    counted = np.array([(1.0, _tiled_macs(k, tile_columns), k.bytes) for k in kernels]).reshape(-1, 3)
    return np.concatenate([counted, *(source.ms(kernels)[:, None] for source in sources)], 1)


def _tiled_macs(kernel: Kernel, tile_columns: int) -> float:
    """MACs with columns filled up to whole tiles: eight columns take as long as sixteen (XNNPACK's values of an attention)."""
    tiled = tile_columns * math.ceil(kernel.columns / tile_columns)
    return kernel.macs / kernel.columns * tiled


def _prior(num_sources: int) -> Float[np.ndarray, "kinds quantities"]:
    """Prices up to a factor that all share: the prior machine's, or equal parts of every source."""
    if not num_sources:
        return np.array([_PRIOR_NS[kind] for kind in KINDS]) / _NS_PER_MS
    prior = np.zeros((len(KINDS), 3 + num_sources))
    prior[:, 3:] = 1 / num_sources
    return prior


def _prior_ms(kernels: Sequence[Kernel]) -> Float[np.ndarray, " kernels"]:
    """What each takes on the prior machine."""
    return (_prior(0)[_kinds(kernels)] * _quantities(kernels)).sum(1)


def _fit_prices(
    observed: Observations,
    kinds: Int[np.ndarray, " kernels"],
    quantities: Float[np.ndarray, "kernels quantities"],
    prior: Float[np.ndarray, "kinds quantities"],
    trust: _Trust,
) -> Float[np.ndarray, "kinds quantities"]:
    """Non-negative multiples of the prior's prices, by least squares.

    A sum's misfit is taken to grow with the root of its size: larger kernels than any that was measured are priced by the
    largest that were. (With relative errors the many small kernels set the prices: of networks dearer than all fitted ones
    40 % were predicted within 10 %, now all.) Prices above the prior's are as unlikely as their logarithm is large:
    a runtime may have kernels that are a hundred times slower.
    """
    priced = prior[kinds] * quantities
    scale = float(np.median(observed.ms / (observed.counts @ priced.sum(1))))
    columns = np.zeros((len(kinds), prior.size))
    places = kinds[:, None] * prior.shape[1] + np.arange(prior.shape[1])
    np.put_along_axis(columns, places, scale * priced, 1)
    error = np.hypot(observed.sd, trust.misfit * np.sqrt(observed.ms * np.median(observed.ms)))
    rows, wanted = observed.counts @ columns / error[:, None], observed.ms / error
    multiples = np.ones(prior.size)
    for _ in range(_REWEIGHTED):
        pull = _log_ratio(multiples) / trust.spread
        multiples, _ = nnls(np.concatenate([rows, np.diag(pull)]), np.concatenate([wanted, pull]))
    return scale * prior * multiples.reshape(prior.shape)


def _log_ratio(multiples: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Of multiples m, log m / (m - 1), and 1 up to 1: the pull on m - 1 that is worth a pull on the logarithm."""
    above = np.maximum(multiples - 1, 1e-9)
    return np.log1p(above) / above


def _beside(
    observed: Observations, weighted: Float[np.ndarray, "sums kernels"], kinds: Int[np.ndarray, " kernels"]
) -> Float[np.ndarray, "sums factors"]:
    """What only whole networks show (a factor of each kind, a cost per kernel, a cost per run), by standard deviations."""
    per_kind = weighted @ np.eye(len(KINDS))[kinds]
    per_kernel = observed.counts.sum(1, keepdims=True)
    factors = [_KIND_SD * per_kind, _PER_KERNEL_SD_MS * per_kernel, np.full_like(per_kernel, _PER_NETWORK_SD_MS)]
    return observed.is_network[:, None] * np.concatenate(factors, 1)


def _shapes_covariance(
    kinds: Int[np.ndarray, " kernels"], dimensions: Float[np.ndarray, "kernels 4"]
) -> Float[np.ndarray, "kernels kernels"]:
    return shape_covariance(dimensions, dimensions) * (kinds[:, None] == kinds[None])


def _roofline(ms: Float[np.ndarray, " kernels"], kernels: Sequence[Kernel]) -> Float[np.ndarray, " 2"]:
    """Fewest milliseconds per MAC and per byte among kernels that would need some time on the prior machine."""
    quantities = _quantities(kernels)[:, 1:]
    long = _prior_ms(kernels) > _LONG_MS
    with np.errstate(divide="ignore", invalid="ignore"):
        rates = np.where(quantities[long] > 0, ms[long, None] / quantities[long], np.inf)
    fastest = rates.min(0, initial=np.inf)
    return np.where(np.isfinite(fastest), fastest, 0.0)
