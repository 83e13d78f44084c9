"""The latency predictor: what each kernel of a network costs, learned from measurements, with intervals and a warning.

The model is additive over kernels (`kernel_costs`). It is a value: `fitting.fit` makes one, a folder keeps it (JSON and npz).
"""

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from latency_models.kernel_costs import KINDS, KernelCosts
from latency_models.kernel_options import Execution
from latency_models.kernels import Kernel, block_kernels
from latency_models.measurements import first_difference
from latency_models.network import Network
from latency_models.peak_memory import PeakMemory
from latency_models.scores import Score
from latency_models.timing import Repeatability
from latency_models.whole_files import read_arrays, write_arrays, write_record
from search_space import Architecture, BlockPlan, Scale
from search_space.counting import sum_over_blocks

SCHEMA_VERSION = 4
RECORD_FILE, ARRAYS_FILE = "predictor.json", "predictor.npz"
_FAR_SHARE = 0.02  # of a network's time, in kernels unlike all measured ones, from which on it is outside
_FAR, _NEW = len(KINDS), len(KINDS) + 1  # columns behind those of the kinds: milliseconds, and a number of kernels


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """Error on networks that the fit did not see, every choice of the fit included in the cross-validation.

    Attributes:
      score: The errors, each network held out once.
      smallest_ms: Latency of the fastest network.
      largest_ms: Latency of the slowest network.
      repeatability: How well the measurements agree with themselves; None where nothing is known of that.
    """

    score: Score
    smallest_ms: float
    largest_ms: float
    repeatability: Repeatability | None


@dataclasses.dataclass(frozen=True)
class Explanation:
    """Where a network's predicted time goes.

    Attributes:
      by_stage: Milliseconds of each stage, in execution order.
      by_kind: Milliseconds of each kind of kernel that it has, the dearest first.
      per_run_ms: What a run costs beyond its kernels.
      far_ms: Milliseconds in kernels unlike all measured ones.
    """

    by_stage: dict[str, float]
    by_kind: dict[str, float]
    per_run_ms: float
    far_ms: float


@dataclasses.dataclass(frozen=True, eq=False)
class Predictor:
    """Predicts latencies on one device.

    Attributes:
      costs: Of kernels.
      log_margin: Half width of the interval, as a logarithm of the ratio to the prediction.
      coverage: Share of networks like the measured ones whose latency the interval holds, on average over training sets.
      held_out: Cross-validated error.
      scales: Names of the scales that the measured networks and blocks had.
      macs_range: Smallest and largest MACs of a measured network.
      fingerprint: Of the device.
      memory: Predicts the peak of memory; None where it was not measured.
      execution: Of a profile that published figures anchor, how that device runs a network; None where it was measured.
    """

    costs: KernelCosts
    log_margin: float
    coverage: float
    held_out: HeldOut
    scales: tuple[str, ...]
    macs_range: tuple[int, int]
    fingerprint: dict[str, str]
    memory: PeakMemory | None = None
    execution: Execution | None = None
    _blocks: dict[tuple[Any, ...], Float[np.ndarray, " columns"]] = dataclasses.field(
        default_factory=dict, init=False, repr=False
    )

    @property
    def is_anchored(self) -> bool:
        """Whether published figures stand behind it instead of measurements."""
        return self.execution is not None

    @cached_property
    def digest(self) -> str:
        """16 hexadecimal digits; predictors that share them predict the same."""
        content = json.dumps(self._record(), sort_keys=True, separators=(",", ":")).encode()
        arrays = (key.encode() + value.tobytes() for key, value in sorted(self.costs.to_arrays().items()))
        return hashlib.sha256(b"".join([content, *arrays])).hexdigest()[:16]

    def predict(
        self, networks: Sequence[Network]
    ) -> tuple[Float[np.ndarray, " networks"], Float[np.ndarray, " networks"], Float[np.ndarray, " networks"]]:
        """Milliseconds of one forward pass at batch 1, and both ends of the interval.

        Raises:
          ValueError: There are no networks, or one has a scale of which nothing was measured.
        """
        rows = self._rows(networks)
        return self._ends(rows)

    def predict_architectures(
        self, architectures: Sequence[Architecture], scale: Scale
    ) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
        """What `predict` says of whole networks, without a layer plan for each: thousands in a second.

        Raises:
          ValueError: There are no architectures, or nothing was measured at this scale.
        """
        self.check_scale(scale)
        rows = sum_over_blocks(architectures, scale, lambda blocks: self.block_rows(blocks, scale))
        return self._ends(rows)

    def interval(
        self, ms: Float[np.ndarray, " n"]
    ) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
        """Predictions with both ends of their intervals."""
        return ms, ms * np.exp(-self.log_margin), ms * np.exp(self.log_margin)

    def is_outside(self, networks: Sequence[Network]) -> Bool[np.ndarray, " networks"]:
        """Which networks are outside what was measured: a kernel is of a kind that never was, or too much of the time is in
        kernels unlike all measured ones, or its MACs or its interval are beyond those of the measured networks. There the
        interval promises nothing.

        Raises:
          ValueError: There are no networks, or one has a scale of which nothing was measured.
        """
        rows, macs = self._rows(networks), np.array([network.macs for network in networks])
        smallest, largest = self.macs_range
        ms, low, high = self._ends(rows)
        slower, faster = low > self.held_out.largest_ms, high < self.held_out.smallest_ms
        far = rows[:, _FAR] > _FAR_SHARE * ms
        return far | (rows[:, _NEW] > 0) | (macs < smallest) | (macs > largest) | slower | faster

    def explain(self, network: Network) -> Explanation:
        """Where the predicted time of a network goes.

        Raises:
          ValueError: It has a scale of which nothing was measured.
        """
        self.check_scale(network.scale)
        rows = self.block_rows(network.blocks, network.scale)
        total = rows.sum(0)
        by_stage = dict.fromkeys((block.stage for block in network.blocks), 0.0)
        for block, row in zip(network.blocks, rows, strict=True):
            by_stage[block.stage] += float(row[:_FAR].sum())
        kinds = sorted(range(_FAR), key=lambda i: -total[i])
        by_kind = {KINDS[i]: float(total[i]) for i in kinds if total[i]}
        return Explanation(by_stage, by_kind, self.costs.per_network, float(total[_FAR]))

    def block_rows(self, blocks: Sequence[BlockPlan], scale: Scale) -> Float[np.ndarray, "blocks columns"]:
        """Milliseconds of each block by kind of kernel, those in kernels unlike all measured ones, and the number of kernels of
        kinds that were never measured.

        What a block is and where it stands determine its kernels, so each distinct one is looked at once.
        """
        keys = [(block.spec, block.resolution, scale) for block in blocks]
        if new := {key: block for key, block in zip(keys, blocks, strict=True) if key not in self._blocks}:
            self._blocks.update(zip(new, self._price(list(new.values())), strict=True))
        return np.array([self._blocks[key] for key in keys])

    def check_scale(self, scale: Scale) -> None:
        """Refuses a scale of which nothing was measured.

        Raises:
          ValueError: It is one.
        """
        if scale.name not in self.scales:
            raise ValueError(
                f"this predictor was fitted on scale {' and '.join(self.scales)}, not on {scale.name!r}; "
                "predict at one of these, or measure networks or blocks of that scale and fit anew"
            )

    @staticmethod
    def check_free(folder: Path, fingerprint: Mapping[str, str]) -> None:
        """Refuses a folder that holds the predictor of another device, which is not to be lost.

        Raises:
          ValueError: It does.
        """
        try:
            known = Predictor.load(folder).fingerprint
        except (ValueError, FileNotFoundError):
            return
        if differing := first_difference(known, fingerprint):
            raise ValueError(
                f"{folder}: holds a predictor of another device, or of other versions or options ({differing}); choose another "
                "folder, or delete it"
            )

    def save(self, folder: Path) -> None:
        """Writes a folder; a kill leaves either the old predictor or the new one, or what `load` refuses.

        Raises:
          ValueError: As `check_free`.
        """
        self.check_free(folder, self.fingerprint)
        folder.mkdir(parents=True, exist_ok=True)
        write_arrays(folder / ARRAYS_FILE, self.costs.to_arrays())
        write_record(folder / RECORD_FILE, {**self._record(), "digest": self.digest})

    @staticmethod
    def load(folder: Path) -> "Predictor":
        """Reads what `save` wrote; it predicts the same to the last bit.

        Raises:
          ValueError: A file is damaged or of another version; the message names it, the key and the remedy.
          FileNotFoundError: There is no such folder or file.
        """
        path = folder / RECORD_FILE
        try:
            record = json.loads(path.read_text())
            return _from_record(record, read_arrays(folder / ARRAYS_FILE))
        except (KeyError, TypeError) as error:
            raise ValueError(f"latency predictor {path}: key {error} is missing or of a wrong type; {_REMEDY}") from None
        except ValueError as error:
            raise ValueError(f"latency predictor {path}: {error}; {_REMEDY}") from None

    def _ends(
        self, rows: Float[np.ndarray, "n columns"]
    ) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
        """Predictions with both ends of their intervals, from the sums over blocks."""
        return self.interval(rows[:, :_FAR].sum(1) + self.costs.per_network)

    def _rows(self, networks: Sequence[Network]) -> Float[np.ndarray, "networks columns"]:
        if not len(networks):
            raise ValueError("at least one network is needed, got none")
        for scale in {network.scale for network in networks}:
            self.check_scale(scale)
        return np.array([self.block_rows(network.blocks, network.scale).sum(0) for network in networks])

    def _price(self, blocks: Sequence[BlockPlan]) -> Float[np.ndarray, "blocks columns"]:
        return _block_rows(self.costs, [(self.execution.kernels if self.execution else block_kernels)(x) for x in blocks])

    def _record(self) -> dict[str, Any]:
        profile = {"execution": self.execution.to_json()} if self.execution else {}
        return {
            "schema": SCHEMA_VERSION,
            "fingerprint": self.fingerprint,
            "scales": list(self.scales),
            "macs_range": list(self.macs_range),
            "log_margin": self.log_margin,
            "coverage": self.coverage,
            "held_out": dataclasses.asdict(self.held_out),
            "memory": self.memory and dataclasses.asdict(self.memory),
            **profile,
        }


_REMEDY = "fit it anew from its measurements"


def _block_rows(costs: KernelCosts, kernels: Sequence[Sequence[Kernel]]) -> Float[np.ndarray, "blocks columns"]:
    distinct = list(dict.fromkeys(itertools.chain.from_iterable(kernels)))
    of = np.zeros((len(distinct), len(KINDS) + 2))
    kinds, ms = [KINDS.index(kernel.kind) for kernel in distinct], costs.ms(distinct)
    of[np.arange(len(distinct)), kinds] = ms
    of[:, _FAR] = ms * costs.is_far(distinct)
    of[:, _NEW] = ~np.isin(kinds, costs.kinds)
    place = {kernel: i for i, kernel in enumerate(distinct)}
    return np.array([of[[place[kernel] for kernel in inside]].sum(0) for inside in kernels])


def _from_record(record: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Predictor:
    if not isinstance(record, Mapping):
        raise ValueError(f"must be a JSON object, got {type(record).__name__}")
    if record["schema"] != SCHEMA_VERSION:
        raise ValueError(f"key 'schema' must be {SCHEMA_VERSION}, got {record['schema']!r}")
    held_out = dict(record["held_out"])
    repeats, errors = held_out.pop("repeatability"), Score(**held_out.pop("score"))
    smallest, largest = record["macs_range"]
    predictor = Predictor(
        costs=KernelCosts.from_arrays(arrays),
        log_margin=float(record["log_margin"]),
        coverage=float(record["coverage"]),
        held_out=HeldOut(score=errors, **held_out, repeatability=repeats and Repeatability(**repeats)),
        scales=tuple(record["scales"]),
        macs_range=(smallest, largest),
        fingerprint=dict(record["fingerprint"]),
        memory=PeakMemory(**record["memory"]) if record["memory"] else None,
        execution=Execution.from_json(record["execution"]) if "execution" in record else None,
    )
    if record["digest"] != predictor.digest:
        raise ValueError(f"key 'digest' says {record['digest']!r}, the content has {predictor.digest!r}; it was changed")
    return predictor
