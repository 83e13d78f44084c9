"""A small sweep as a program of its own, to be killed: `sweep_program.py FOLDER EXECUTOR SEARCHER NUM SECONDS`.

The evaluator appends a line to FOLDER/evaluated.log before and after each evaluation: what really ran, whatever the
ledger says.
"""

import argparse
import functools
import os
import time
from pathlib import Path

import toy_problem

import experiments
from experiments.ledger import Ledger
from experiments.searchers import get_searcher
from experiments.sweep import Workers, run_search


def note(log, word, digest):
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{word} {digest} {os.getpid()}\n".encode())
    os.close(descriptor)


def factory(log, seconds):
    note(log, "built", "-")
    note(log, "code", experiments.__file__)

    def evaluator(architecture):
        note(log, "begun", architecture.digest)
        time.sleep(seconds)
        if int(architecture.digest, 16) % 11 == 0:
            raise ValueError("diverged")
        note(log, "ended", architecture.digest)
        return toy_problem.quality(architecture)

    return evaluator


def main(folder, executor, name, num_evaluations, seconds, *, address, batch):
    space = toy_problem.DIGITS
    header = {"space": space.name, "fingerprint": "f", "searcher": name, "objectives": ["denoising_loss", "macs"]}
    with Ledger.open(folder / "ledger.jsonl", header=header) as ledger:
        print("begin", flush=True)
        state = run_search(
            space=space,
            searcher=get_searcher(
                name, space, objectives=toy_problem.OBJECTIVES, seed=0, limits={"macs": 0.6}, population=8, batch=batch
            ),
            ledger=ledger,
            evaluator_factory=functools.partial(factory, str(folder / "evaluated.log"), seconds),
            costs=toy_problem.costs,
            limits={"macs": 0.6},
            objectives=toy_problem.OBJECTIVES,
            fingerprint="f",
            num_evaluations=num_evaluations,
            workers=Workers(2 if executor == "ray" else 1),
            executor=executor,
            ray_address=address,
        )
    print(f"end {state.num_done} {state.num_failed} {state.num_infeasible}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for option, kind in (("folder", Path), ("executor", str), ("name", str), ("num", int), ("seconds", float)):
        parser.add_argument(option, type=kind)
    parser.add_argument("--address")
    parser.add_argument("--batch", type=int)
    given = parser.parse_args()
    main(given.folder, given.executor, given.name, given.num, given.seconds, address=given.address, batch=given.batch)
