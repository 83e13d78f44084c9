"""Writes what a benchmark found, with all that a reader needs to weigh it: machine, versions, date, n, interval."""

import datetime
import importlib.metadata
import json
import os
import platform
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from latency_models.device import machine_fingerprint

RESULTS = Path(__file__).parent / "results"
_LIBRARIES = (
    "jax", "flax", "numpy", "ray", "ai-edge-litert", "litert-converter", "ai-edge-quantizer", "jax2onnx", "onnxruntime",
    "coremltools", "stablehlo-coreml", "optuna", "pymoo",
)  # fmt: skip


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
    record = {"name": name, "shows": shows, "command": command, "date": _today(), "machine": machine()}
    path = folder / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({**record, "versions": versions(), "numbers": numbers}, indent=2, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")
    return path


def machine() -> dict[str, Any]:
    """This machine, as far as it matters to a time: processor, cores that may be used, memory, system, and its load."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": machine_fingerprint()["cpu"],
        "architecture": platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(memory / 2**30, 1),
        "system": platform.system(),
        "load_1_min": round(os.getloadavg()[0], 2),
    }


def versions() -> dict[str, str]:
    """Python's version and those of the libraries that the numbers hang on, where they are installed."""
    found = {"python": platform.python_version()}
    for library in _LIBRARIES:
        try:
            found[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _today() -> str:
    return datetime.datetime.now(datetime.UTC).date().isoformat()
