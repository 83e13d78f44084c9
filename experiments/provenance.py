"""Where and with what a run was made: `provenance.json`, to which every sweep in the folder adds itself.

It says what no setting says, so no fingerprint depends on it: a run goes on under other versions, and its report tells.
"""

import datetime
import importlib.metadata
import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from experiments.json_files import read_record
from experiments.whole_files import write_whole
from latency_models.device import machine_fingerprint

FILE = "provenance.json"
_LIBRARIES = (
    "pocketunet", "jax", "flax", "numpy", "ray", "ai-edge-litert", "litert-converter", "ai-edge-quantizer", "jax2onnx",
    "onnxruntime", "coremltools", "stablehlo-coreml", "nni", "optuna", "pymoo",
)  # fmt: skip


class Session(BaseModel):
    """One call of a sweep: when it began, under which versions, on which machine."""

    model_config = ConfigDict(frozen=True)

    begun: str
    versions: dict[str, str]
    machine: dict[str, str | int | float]


class Provenance(BaseModel):
    """All sessions of a run, in order."""

    model_config = ConfigDict(frozen=True)

    schema_version: Literal[1] = 1
    sessions: tuple[Session, ...] = ()


def read_provenance(run_dir: Path) -> Provenance:
    """What a run folder says; no sessions where it says nothing, as runs of earlier versions do.

    Raises:
        InputError: the file is no such record.
    """
    path = run_dir / FILE
    return read_record(path, Provenance, remedy="delete it, the next sweep in this folder begins it anew") or Provenance()


def record_session(run_dir: Path) -> None:
    """Adds this process to what the run folder says.

    Raises:
        InputError: the file that is there is no such record.
    """
    begun = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    session = Session(begun=begun, versions=versions(), machine=machine())
    provenance = Provenance(sessions=(*read_provenance(run_dir).sessions, session))
    write_whole(run_dir / FILE, f"{json.dumps(provenance.model_dump(), indent=1)}\n")


def machine() -> dict[str, Any]:
    """This machine, as far as it matters to a time: processor, cores that may be used, memory, system."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": machine_fingerprint()["cpu"],
        "architecture": platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "memory_gib": round(memory / 2**30, 1),
        "system": platform.system(),
    }


def versions() -> dict[str, str]:
    """Python's version and those of the libraries that numbers hang on, where they are installed."""
    return {"python": platform.python_version(), **library_versions(_LIBRARIES)}


def library_versions(libraries: Sequence[str]) -> dict[str, str]:
    """The versions of those that are installed."""
    found = {}
    for library in libraries:
        try:
            found[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
