"""What both recorders do: say what is missing, record into a folder, and note with which versions."""

import argparse
import importlib
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np


def run_recorder(record: Callable[[Path], None], *, description: str, golden: Path, packages: Sequence[str]) -> int:
    """Records into `--out`, by default the golden folder; 2 where a package is not installed.

    Args:
        record: writes its files into a folder.
        description: for `--help`.
        golden: the default folder.
        packages: names of the distributions that compute what is recorded, torch among them.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--out", type=Path, default=golden)
    out = parser.parse_args().out
    try:
        modules = {package: importlib.import_module(package.replace("-", "_")) for package in packages}
    except ImportError as error:
        print(
            f"{error.name} is not installed here; `make install EXTRAS=parity` brings it, then run this again", file=sys.stderr
        )
        return 2
    modules["torch"].set_num_threads(1)  # sums in one order
    record(out)
    versions = {package: module.__version__ for package, module in modules.items()} | {"numpy": np.__version__}
    (out / "versions.json").write_text(json.dumps(versions, indent=2) + "\n", "utf-8")
    return 0
