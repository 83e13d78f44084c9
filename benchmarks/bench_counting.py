"""How many architectures of `mobile-sd` are counted a second in one batch, and what describing a full-size design takes."""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from record import write_result

from search_space import get_scale, get_space
from search_space.counting import count_architectures, count_genotypes

SPACE, SCALE = get_space("mobile-sd"), get_scale("sd15")
COMMANDS = {"describe": ("describe", "sd15"), "compare": ("compare", "sd15", "bk-sdm-small", "mobilediffusion", "md-lite")}


def main() -> None:
    """Times counting and the commands, and writes `results/counting.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=10)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    choices = [len(gene.choices) for gene in SPACE.genes]
    genotypes = np.stack([SPACE.repair(row) for row in rng.integers(choices, size=(options.batch, len(choices)))])
    architectures = [SPACE.decode(genotype) for genotype in genotypes]
    first = options.batch / _seconds(lambda: count_genotypes(SPACE, genotypes, SCALE))
    rates = [options.batch / _seconds(lambda: count_genotypes(SPACE, genotypes, SCALE)) for _ in range(options.runs)]
    values = [options.batch / _seconds(lambda: count_architectures(architectures, SCALE)) for _ in range(options.runs)]
    numbers = {
        "first_batch": _number([first], "architectures/s"),
        "genotypes": _number(rates, "architectures/s"),
        "architectures": _number(values, "architectures/s"),
    }
    for name, arguments in COMMANDS.items():
        found = [_process(arguments) for _ in range(options.runs + 1)][1:]  # the first one fills the disk cache
        for column, (what, unit) in enumerate((("wall", "s"), ("processor", "s"), ("peak_memory", "MB"))):
            numbers[f"{name}_{what}"] = _number([row[column] for row in found], unit)
    path = write_result(
        "counting",
        shows="Parameters, MACs, peak activation and weight memory of one batch of architectures: as genotypes for the first "
        "time in a process, as genotypes again, and as `Architecture` values; then the whole process of two commands. Low and "
        "high are the extremes of the runs.",
        command=f"python benchmarks/bench_counting.py --batch {options.batch} --runs {options.runs}",
        numbers=numbers,
    )
    print(path.read_text())


def _seconds(run: Callable[[], object]) -> float:
    begun = time.perf_counter()
    run()
    return time.perf_counter() - begun


# A process between us and the command, for a child's peak memory begins at that of the process that it was forked from.
_LAUNCHER = """
import resource, subprocess, sys, time
begun = time.perf_counter()
subprocess.run([sys.executable, "-m", "experiments.cli", *sys.argv[1:]], stdout=subprocess.DEVNULL, check=True)
wall, used = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
print(wall, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / 1e6)
"""


def _process(arguments: tuple[str, ...]) -> tuple[float, ...]:
    """Wall seconds, processor seconds and peak memory in MB of one command."""
    launched = [sys.executable, "-c", _LAUNCHER, *arguments]
    answer = subprocess.run(launched, check=True, capture_output=True, text=True)
    return tuple(map(float, answer.stdout.split()))


def _number(values: list[float], unit: str) -> dict[str, Any]:
    several = len(values) > 1
    low, high = (float(f"{end(values):.4g}") if several else None for end in (min, max))
    return {
        "value": float(f"{statistics.median(values):.4g}"), "unit": unit, "n": len(values), "low": low, "high": high
    }  # fmt: skip


if __name__ == "__main__":
    main()
