"""What a kill costs: the digits-small sweep on Ray is killed with SIGKILL at three seeded instants of its search and started
again by the same command; then every architecture's evaluations are counted in the ledger.
"""

import argparse
import collections
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from record import write_result

from experiments.ledger_contents import read_ledger

_POLL_SECONDS = 0.05


def main() -> None:
    """Kills three times, lets the sweep end, counts, and writes `results/kill_resume.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--evaluations", type=int, default=120)
    parser.add_argument("--executor", choices=["ray", "local"], default="ray")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="pocketunet-kill-"))
    run = folder / "run"
    command = [
        sys.executable, "-m", "experiments.cli", "sweep", "digits-small", "--run-dir", str(run),
        f"trials={options.evaluations}", f"search.executor={options.executor}", "supernet.num_steps=40",
        "supernet.largest_steps=5", "latency.rounds=2", "distill.num_steps=5",
    ]  # fmt: skip
    rng = random.Random(options.seed)
    instants = sorted(rng.sample(range(5, options.evaluations - 5), 3))
    seen: list[dict[str, int]] = []
    for instant in instants:
        killed_at = kill_after(command, run / "ledger.jsonl", instant)
        contents = read_ledger(run / "ledger.jsonl")
        seen.append({e.digest: e.index for e in contents.evaluations})
        print(f"killed with {killed_at} evaluations in the ledger, {len(contents.in_flight)} in flight", flush=True)
    subprocess.run(command, check=True)
    contents = read_ledger(run / "ledger.jsonl")
    final = {e.digest: e.index for e in contents.evaluations}
    counted = collections.Counter(e.digest for e in contents.evaluations)
    lost = sum(final.get(digest) != index for known in seen for digest, index in known.items())
    twice = sum(count - 1 for count in counted.values())
    done = sum(e.status != "infeasible" for e in contents.evaluations)

    def exact(value: float, unit: str = "architectures") -> dict[str, object]:
        return {"value": value, "unit": unit, "n": len(instants), "low": None, "high": None}

    path = write_result(
        "kill_resume",
        shows=f"SIGKILL of the sweep on {options.executor} when {instants} evaluations were in its ledger, then the same "
        "command: outcomes lost, and architectures with two outcomes. What was in flight at a kill is evaluated again.",
        command=f"python benchmarks/bench_kill_resume.py --seed {options.seed} --executor {options.executor}",
        numbers={
            "lost": exact(lost),
            "recorded_twice": exact(twice),
            "done": exact(done),
            "kills": exact(len(instants), "kills"),
        },
    )
    print(path.read_text())
    shutil.rmtree(folder)


def kill_after(command: list[str], ledger: Path, num_evaluations: int) -> int:
    """Runs the command and kills it once the ledger holds so many outcomes; returns how many it then holds."""
    process = subprocess.Popen(command, start_new_session=True)
    while outcomes(ledger) < num_evaluations:
        if process.poll() is not None:
            raise RuntimeError(f"the sweep ended by itself with code {process.returncode} before it could be killed")
        time.sleep(_POLL_SECONDS)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    return outcomes(ledger)


def outcomes(ledger: Path) -> int:
    """Number of outcomes in a ledger that may be growing."""
    return len(read_ledger(ledger).evaluations) if ledger.is_file() else 0


if __name__ == "__main__":
    main()
