"""What training costs on the CPU where glibc keeps freed memory, beside where it returns it and takes it anew at every step.

CPU time of a step and resident memory, each round in two processes, one after the other, that train the same network.
"""

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
from record import estimated, exact, show, write_result

from experiments import subnet_training
from experiments.config import load_config
from experiments.denoising_task import load_examples, training_examples
from experiments.memory import resident_bytes
from experiments.subnet_training import SubnetSchedule, SubnetTraining, fresh_parameters
from objectives.denoising import mean_estimate
from search_space import get_design, get_scale, get_space

HERE = Path(__file__).parent
# A sweep's file, the network, and images a step.
CASES = {"digits_largest": ("digits", None, 64), "shapes16_sd15": (str(HERE / "rediscover.yaml"), "sd15", 32)}
NUM_ROUNDS = 3
NUM_WARM, NUM_STEPS = 3, 15


def main() -> None:
    """Measures in child processes and writes `results/freed_memory.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        case, how = options.child
        print(json.dumps(trained(case, is_kept=how == "kept")))
        return
    numbers = {}
    for case in CASES:
        rounds = [{how: in_child(case, how) for how in ("returned", "kept")} for _ in range(NUM_ROUNDS)]
        for key, unit in (("cpu_seconds_a_step", "s"), ("of_it_in_the_system", "1"), ("resident_bytes", "bytes")):
            for how in ("returned", "kept"):
                value = float(np.median([of_round[how][key] for of_round in rounds]))
                numbers[f"{case}_{how}_{key}"] = exact(value, unit, n=NUM_ROUNDS)
        ratios = [of_round["kept"]["cpu_seconds_a_step"] / of_round["returned"]["cpu_seconds_a_step"] for of_round in rounds]
        numbers[f"{case}_kept_over_returned"] = estimated(mean_estimate(np.array(ratios)), "1")
    path = write_result(
        "freed_memory",
        shows="CPU time of a step of training, what share of it is the system's, and resident memory after it, where the "
        "process keeps the memory that it frees, and where glibc returns it as it does by default; a fresh process each.",
        command="python benchmarks/bench_freed_memory.py",
        numbers=numbers,
    )
    show(path, numbers)


def in_child(case: str, how: str) -> dict[str, float]:
    """What `trained` tells in a process of its own."""
    found = subprocess.run([sys.executable, __file__, "--child", case, how], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(found.stdout.splitlines()[-1])


def trained(case: str, *, is_kept: bool) -> dict[str, float]:
    """Means over steps of this process, after those that compile and warm up."""
    if not is_kept:
        subnet_training.keep_freed_memory = lambda: None
    name, design, batch_size = CASES[case]
    config = load_config(name)
    scale = get_scale(config.proxy_scale)
    architecture = get_design(design).architecture if design else get_space(config.space).largest()
    examples = training_examples(load_examples(config.data, scale, split="train"), scale, batch_size=batch_size, seed=0)
    train = SubnetTraining(config, SubnetSchedule(NUM_WARM + NUM_STEPS, batch_size, 1e-3))
    spent = list[np.ndarray]()
    weights = train(
        fresh_parameters(config, architecture, 0), architecture, examples, seed=0, on_step=lambda: spent.append(usage())
    )
    jax.block_until_ready(weights)
    own, system = ((usage() - spent[NUM_WARM - 1]) / NUM_STEPS).tolist()
    return {
        "cpu_seconds_a_step": own + system,
        "of_it_in_the_system": system / (own + system),
        "resident_bytes": resident_bytes(),
    }


def usage() -> np.ndarray:
    """CPU time of this process so far, its own and the system's, s."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return np.array([used.ru_utime, used.ru_stime])


if __name__ == "__main__":
    main()
