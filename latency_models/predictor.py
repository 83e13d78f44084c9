"""The latency predictor: what each kernel of a network costs, learned from measured networks, with intervals.

The model is additive over kernels: a non-negative cost per kernel and per MAC, byte and element of each class. It is a
value: `fitting.fit` makes one, a JSON file keeps it.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from latency_models.features import COLUMNS, features
from latency_models.network import Network
from latency_models.timing import Repeatability
from latency_models.whole_files import write_record

SCHEMA_VERSION = 1


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """Error on networks that the fit did not see, every choice of the fit included in the cross-validation.

    Attributes:
      mape: Mean absolute relative error.
      within_5: Share of networks within 5 %.
      within_10: Share of networks within 10 %.
      spearman: Rank correlation.
      n: Number of networks, each held out once.
      smallest_ms: Latency of the fastest network.
      largest_ms: Latency of the slowest network.
      repeatability: How well the measurements agree with themselves.
    """

    mape: float
    within_5: float
    within_10: float
    spearman: float
    n: int
    smallest_ms: float
    largest_ms: float
    repeatability: Repeatability


@dataclasses.dataclass(frozen=True, eq=False)
class Predictor:
    """Predicts latencies on one device.

    Attributes:
      costs: Milliseconds per unit of each feature, in the order of `features.COLUMNS`, none negative.
      log_margin: Half width of the interval, as a logarithm of the ratio to the prediction.
      coverage: Share of networks like the measured ones whose latency the interval holds, on average over training
        sets. One set of 32 calibrates it loosely: nominal 0.9 came out between 0.75 and 1.0 on fresh networks.
      held_out: Cross-validated error.
      scales: Names of the scales that the measured networks had.
      macs_range: Smallest and largest MACs of a measured network.
      fingerprint: Of the device.
    """

    costs: Float[np.ndarray, " columns"]
    log_margin: float
    coverage: float
    held_out: HeldOut
    scales: tuple[str, ...]
    macs_range: tuple[int, int]
    fingerprint: dict[str, str]

    @cached_property
    def digest(self) -> str:
        """16 hexadecimal digits; predictors that share them predict the same."""
        text = json.dumps(self._content(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def predict(
        self, networks: Sequence[Network]
    ) -> tuple[Float[np.ndarray, " networks"], Float[np.ndarray, " networks"], Float[np.ndarray, " networks"]]:
        """Milliseconds of one forward pass at batch 1, and both ends of the interval.

        Raises:
          ValueError: There are no networks.
        """
        ms = features(networks) @ self.costs
        return ms, ms * np.exp(-self.log_margin), ms * np.exp(self.log_margin)

    def extrapolates(self, networks: Sequence[Network]) -> Bool[np.ndarray, " networks"]:
        """Which networks are of another scale or size than was measured: there the interval promises nothing."""
        smallest, largest = self.macs_range
        return np.array([p.scale.name not in self.scales or not smallest <= p.macs <= largest for p in networks])

    def save(self, path: Path) -> None:
        """Writes a JSON file; a kill leaves either the old file or the new one."""
        write_record(path, {**self._content(), "digest": self.digest})

    @staticmethod
    def load(path: Path) -> "Predictor":
        """Reads what `save` wrote; it predicts the same to the last bit.

        Raises:
          ValueError: The file is damaged or of another version; the message names it, the key and the remedy.
          FileNotFoundError: There is no such file.
        """
        try:
            return _from_record(json.loads(path.read_text()))
        except ValueError as error:
            raise ValueError(f"latency predictor {path}: {error}; fit it anew from its measurements") from None

    def _content(self) -> dict[str, Any]:
        record = {name: getattr(self, name) for name in _PLAIN_KEYS}
        return {
            "schema": SCHEMA_VERSION,
            **record,
            "scales": list(self.scales),
            "macs_range": list(self.macs_range),
            "columns": list(COLUMNS),
            "costs": self.costs.tolist(),
            "held_out": dataclasses.asdict(self.held_out),
        }


_PLAIN_KEYS = ("log_margin", "coverage", "fingerprint")


def _from_record(record: Any) -> Predictor:
    if not isinstance(record, Mapping):
        raise ValueError(f"must be a JSON object, got {type(record).__name__}")
    if record.get("schema") != SCHEMA_VERSION:
        raise ValueError(f"key 'schema' must be {SCHEMA_VERSION}, got {record.get('schema')!r}")
    if tuple(record.get("columns", ())) != COLUMNS:
        raise ValueError(f"key 'columns' must be this version's {len(COLUMNS)} features")
    try:
        predictor = _build(record)
    except KeyError as error:
        raise ValueError(f"key {error} is missing") from None
    except TypeError as error:
        raise ValueError(f"a key has a value of a wrong type ({error})") from None
    if record.get("digest") != predictor.digest:
        raise ValueError(f"key 'digest' says {record.get('digest')!r}, the content has {predictor.digest!r}; it was changed")
    return predictor


def _build(record: Mapping[str, Any]) -> Predictor:
    held_out = dict(record["held_out"])
    repeats = Repeatability(**held_out.pop("repeatability"))
    smallest, largest = record["macs_range"]
    return Predictor(
        costs=_costs(record["costs"]),
        held_out=HeldOut(**held_out, repeatability=repeats),
        scales=tuple(record["scales"]),
        macs_range=(smallest, largest),
        **{name: record[name] for name in _PLAIN_KEYS},
    )


def _costs(values: Any) -> Float[np.ndarray, " columns"]:
    costs = np.array(values, float)
    if costs.shape != (len(COLUMNS),) or not (np.isfinite(costs).all() and (costs >= 0).all()):
        raise ValueError(f"key 'costs' must be {len(COLUMNS)} finite numbers, none negative, got {values!r}")
    return costs
