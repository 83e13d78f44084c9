"""How long `pocketunet --help` takes as a whole process: the promise is under 0.3 s."""

import argparse
import statistics
import subprocess
import sys
import time

from record import write_result


def main() -> None:
    """Times the command and writes `results/help.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    runs = parser.parse_args().runs
    seconds = []
    for _ in range(runs + 1):
        begun = time.perf_counter()
        subprocess.run([sys.executable, "-m", "experiments.cli", "--help"], check=True, capture_output=True)
        seconds.append(time.perf_counter() - begun)
    seconds = sorted(seconds[1:])  # the first one fills the disk cache
    number = {
        "value": round(statistics.median(seconds), 4), "unit": "s", "n": runs,
        "low": round(seconds[round(0.025 * (runs - 1))], 4), "high": round(seconds[round(0.975 * (runs - 1))], 4),
    }  # fmt: skip
    path = write_result(
        "help", shows="The median wall time of `pocketunet --help`; low and high are quantiles of the runs.",
        command="python benchmarks/bench_help.py", numbers={"help_wall": number},
    )  # fmt: skip
    print(path.read_text())


if __name__ == "__main__":
    main()
