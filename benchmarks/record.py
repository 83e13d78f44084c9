"""Writes what a benchmark found, with all that a reader needs to weigh it: machine, versions, date, n, interval."""

import datetime
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.provenance import machine, versions
from objectives import Estimate

RESULTS = Path(__file__).parent / "results"


def write_result(
    name: str, *, shows: str, command: str, numbers: Mapping[str, Mapping[str, Any]], folder: Path = RESULTS
) -> Path:
    """Writes `<folder>/<name>.json`.

    Args:
      name: Lower-case words joined by underscores.
      shows: One sentence: what the numbers show.
      command: The command that measures them again, from the repository's root.
      numbers: For each number its `value` and `unit`; `n`, the observations behind it; `low` and `high`, the ends of
        its 95 % interval, both None where it was counted or measured once. More keys may say more.
      folder: Where the file goes.

    Returns:
      The file.

    Raises:
      ValueError: The name does not fit, or a number lacks one of its fields.
    """
    if not re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)*", name):
        raise ValueError(f"`name` must be lower-case words joined by underscores, got {name!r}")
    for key, number in numbers.items():
        if missing := {"value", "unit", "n", "low", "high"} - set(number):
            raise ValueError(f"number {key!r} of {name} lacks {', '.join(sorted(missing))}; say None where there is none")
    loaded = {**machine(), "load_1_min": round(os.getloadavg()[0], 2)}
    record = {"name": name, "shows": shows, "command": command, "date": _today(), "machine": loaded}
    path = folder / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({**record, "versions": versions(), "numbers": numbers}, indent=2, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")
    return path


def exact(value: float, unit: str, *, n: int) -> dict[str, Any]:
    """A number that was counted or measured once."""
    return {"value": value, "unit": unit, "n": n, "low": None, "high": None}


def estimated(found: Estimate, unit: str) -> dict[str, Any]:
    """A number with the interval that it has."""
    return {"value": found.value, "unit": unit, "n": found.n, "low": found.low, "high": found.high}


def single(value: Any, unit: str = "1") -> dict[str, Any]:
    """A number that was measured once, with the interval of its samples where it is an estimate's JSON object."""
    return estimated(Estimate.from_json(value), unit) if isinstance(value, dict) else exact(value, unit, n=1)


def show(path: Path, numbers: Mapping[str, Mapping[str, Any]]) -> None:
    """Prints every number with its interval, and where they were written."""
    width = max(map(len, numbers), default=0)
    for name, number in numbers.items():
        value, low, high = ("-" if number[key] is None else f"{number[key]:.4g}" for key in ("value", "low", "high"))
        print(f"{name:{width}}  {value:>10} {number['unit']}  [{low}, {high}]")
    print(path)


def _today() -> str:
    return datetime.datetime.now(datetime.UTC).date().isoformat()
