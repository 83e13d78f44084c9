"""The whole digits sweep, from nothing to a distilled winner: how long it takes, and the memory of all its processes together.

Memory is the proportional set size of the command and all its descendants, Ray's among them, looked at every second; the
peak between two looks may be higher.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from record import write_result

_INTERVAL_S = 1.0


def family(pid: int) -> Iterator[int]:
    """A process and all its descendants that are alive."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        parents.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    waiting = [pid]
    while waiting:
        waiting += parents.get(waiting[0], [])
        yield waiting.pop(0)


def proportional_bytes(pid: int) -> int:
    """Memory of a process, with a share of what it shares; 0 where it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def main() -> None:
    """Runs the sweep once and writes `results/sweep.json`."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "digits"
        command = [sys.executable, "-m", "experiments.cli", "sweep", "digits", "--run-dir", str(run)]
        start, peak = time.perf_counter(), 0
        process = subprocess.Popen(command, cwd=Path(__file__).parent.parent)
        while process.poll() is None:
            peak = max(peak, sum(map(proportional_bytes, family(process.pid))))
            time.sleep(_INTERVAL_S)
        seconds = time.perf_counter() - start
        if process.returncode:
            raise SystemExit(f"the sweep ended with exit code {process.returncode}")
        found = json.loads((run / "front.json").read_text("utf-8"))
        images = (run / "samples.png").is_file()
    once = {"n": 1, "low": None, "high": None}
    path = write_result(
        "sweep",
        shows="From handwritten digits to a front of at least 200 evaluated architectures, a report, a bundle and a distilled "
        "winner's pictures, in less than ten minutes and 6 GB on two cores.",
        command=".venv/bin/python benchmarks/bench_sweep.py",
        numbers={
            "wall": {"value": seconds, "unit": "s", **once},
            "peak_memory": {"value": peak / 1e9, "unit": "GB", **once},
            "evaluated": {"value": found["num_done"], "unit": "architectures", **once},
            "front": {"value": len(found["front"]), "unit": "architectures", **once},
            "has_pictures": {"value": int(images), "unit": "1", **once},
        },
    )
    print(path.read_text("utf-8"))


if __name__ == "__main__":
    main()
