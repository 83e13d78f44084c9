"""The types of configuration keys, with their ranges: what a sweep's file and a bundle's file share."""

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, FiniteFloat


def _no_truth_value(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError(f"must be a number, got {str(value).lower()}")
    return value


_UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86_400}
_DURATION = re.compile(rf"(?:\s*\d+(?:\.\d+)?\s*(?:{'|'.join(_UNITS)})\b)+\s*")


def seconds_of(duration: str) -> float:
    """A duration in seconds.

    >>> seconds_of("2h"), seconds_of("1 h 30 min")
    (7200.0, 5400.0)

    Raises:
        ValueError: it is none, or no time at all.
    """
    parts = re.findall(r"([\d.]+)\s*([a-z]+)", duration) if _DURATION.fullmatch(duration) else []
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if not seconds:
        raise ValueError(f"must be a duration in s, min, h or d, such as 90min or 2h, got {duration!r}")
    return seconds


def _duration(text: str) -> str:
    seconds_of(text)
    return text


Number = Annotated[FiniteFloat, BeforeValidator(_no_truth_value)]  # also takes the text 1e-3, which YAML 1.1 leaves a text
Count = Annotated[int, Field(ge=1, strict=True)]
CountOrNone = Annotated[int, Field(ge=0, strict=True)]
Seed = Annotated[int, Field(ge=0, lt=2**32, strict=True)]
Positive = Annotated[Number, Field(gt=0)]
NotNegative = Annotated[Number, Field(ge=0)]
Fraction = Annotated[Number, Field(ge=0, lt=1)]
Duration = Annotated[str, AfterValidator(_duration)]  # as it was written; `seconds_of` reads it
Name = Annotated[str, Field(min_length=1)]


class Section(BaseModel):
    """A mapping in the file; a key that is not listed here is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)
