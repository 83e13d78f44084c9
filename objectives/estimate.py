"""A number with its uncertainty: value, interval, and how many observations it rests on."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

_FIELDS = ("value", "low", "high", "n")


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A measured or computed number.

    >>> Estimate(2.0, low=1.5, high=2.5, n=64).half_width
    0.5
    >>> Estimate.from_json(Estimate.exact(7).to_json()) == Estimate.exact(7)
    True

    Attributes:
      value: The number itself. NaN says that it could not be computed; the front refuses it.
      low: Lower end of the 95 % interval, in the unit of `value`; None where no interval is known.
      high: Upper end of the 95 % interval; None where no interval is known.
      n: The number of independent observations; None where the number was computed, not measured.

    Raises:
      ValueError: Only one end is given, the ends are the wrong way round, an end is not finite, or `n` is below 1.
    """

    value: float | int
    low: float | int | None = None
    high: float | int | None = None
    n: int | None = None

    def __post_init__(self) -> None:
        """Stores plain Python numbers, so that equality and JSON do not depend on the array library."""
        object.__setattr__(self, "value", float(self.value))
        object.__setattr__(self, "low", None if self.low is None else float(self.low))
        object.__setattr__(self, "high", None if self.high is None else float(self.high))
        object.__setattr__(self, "n", None if self.n is None else int(self.n))
        self._check()

    def _check(self) -> None:
        if (self.low is None) != (self.high is None):
            raise ValueError(f"an interval needs both ends, got low={self.low}, high={self.high}; give both or none")
        if self.low is not None and self.high is not None:
            if not (math.isfinite(self.low) and math.isfinite(self.high)):
                raise ValueError(f"interval ends must be finite, got low={self.low}, high={self.high}; leave both out")
            if self.low > self.high:
                raise ValueError(f"`low` must not exceed `high`, got low={self.low}, high={self.high}; swap them")
        if self.n is not None and self.n < 1:
            raise ValueError(f"`n` must be at least 1, got {self.n}; leave it out for a computed number")

    @classmethod
    def exact(cls, value: float | int) -> "Estimate":
        """A number known without error: its interval is the number itself."""
        return cls(value, low=value, high=value) if math.isfinite(value) else cls(value)

    @property
    def half_width(self) -> float | None:
        """Half the length of the interval, in the unit of `value`; None without an interval."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2

    @property
    def is_finite(self) -> bool:
        """Whether `value` is a usable number."""
        return math.isfinite(self.value)

    def to_json(self) -> dict[str, float | int | None]:
        """The fields that are known; a value that is not finite becomes null, which strict JSON can carry."""
        record = {"value": self.value if self.is_finite else None, "low": self.low, "high": self.high, "n": self.n}
        return {key: item for key, item in record.items() if key == "value" or item is not None}

    @classmethod
    def from_json(cls, record: Any) -> "Estimate":
        """Reads what `to_json` wrote.

        Raises:
          ValueError: `record` is no mapping, has no `value`, has an unknown key, or holds something other than numbers.
        """
        if not isinstance(record, Mapping):
            raise ValueError(f"an estimate must be an object with the keys {_FIELDS}, got {record!r}")
        unknown = sorted(set(record) - set(_FIELDS))
        if unknown:
            raise ValueError(f"unknown key {unknown[0]!r} in an estimate; the keys are {_FIELDS}")
        if "value" not in record:
            raise ValueError(f"an estimate needs the key 'value', got the keys {sorted(record)}")
        for key, item in record.items():
            if item is not None and (isinstance(item, bool) or not isinstance(item, int | float)):
                raise ValueError(f"`{key}` of an estimate must be a number or null, got {item!r}")
        value, n = record["value"], record.get("n")
        if n is not None and not isinstance(n, int):
            raise ValueError(f"`n` of an estimate must be a whole number or null, got {n!r}")
        try:
            return cls(math.nan if value is None else value, record.get("low"), record.get("high"), n)
        except OverflowError as error:
            raise ValueError(f"a number of an estimate is too large: {error}") from None

    def __str__(self) -> str:
        """The number to four digits, with its interval where one is known and has a length."""
        if self.half_width:
            return f"{self.value:.4g} [{self.low:.4g}, {self.high:.4g}]"
        return f"{self.value:.4g}"
