import os
import time

import pytest
from toy_problem import small_space, swept

from experiments.errors import InputError
from experiments.ledger_contents import read_ledger
from experiments.sweep import Workers
from objectives import Estimate

SPACE = small_space()


def sweep(folder, workers, *, num=24, held_mb=0, name="random", seconds=0.05):
    """Evaluators leave a file by their process for each architecture, and hold on to memory."""
    log = str(folder)

    def factory():
        held = []

        def evaluator(architecture):
            held.append(bytearray(os.urandom(1 << 20) * held_mb))
            with open(f"{log}/{os.getpid()}.log", "a") as file:
                file.write(f"{architecture.digest}\n")
            time.sleep(seconds)
            return {"denoising_loss": Estimate.exact(int(architecture.digest, 16) / 2**64)}

        return evaluator

    header = {"space": "small"}
    return swept(
        folder / "ledger.jsonl", num, name=name, space=SPACE, header=header, evaluator_factory=factory, workers=workers
    )


def evaluated(folder):
    return {path.stem: path.read_text().split() for path in folder.glob("*.log")}


def test_all_workers_work_and_none_is_built_twice(tmp_path):
    state = sweep(tmp_path, Workers(2, cpus=0.5), name="nsga2", seconds=0.4)
    assert (state.num_done, state.num_failed) == (24, 0)
    by_worker = evaluated(tmp_path)
    assert len(by_worker) == 2
    assert min(map(len, by_worker.values())) >= 3
    digests = [digest for digests in by_worker.values() for digest in digests]
    assert sorted(digests) == sorted({evaluation.digest for evaluation in read_ledger(tmp_path / "ledger.jsonl").evaluations})


def test_a_worker_that_has_grown_is_replaced_between_evaluations(tmp_path):
    state = sweep(tmp_path, Workers(1, max_bytes=1.2e9), num=9, held_mb=200)
    assert (state.num_done, state.num_failed) == (9, 0)
    by_worker = evaluated(tmp_path)
    assert len(by_worker) >= 2
    assert sum(map(len, by_worker.values())) == 9


def test_a_limit_below_what_a_worker_needs_stops_the_sweep_and_keeps_the_outcome(tmp_path):
    with pytest.raises(InputError, match=r"search\.max_worker_gb: a worker holds .* GB after its first evaluation"):
        sweep(tmp_path, Workers(1, max_bytes=1e7))
    assert len(read_ledger(tmp_path / "ledger.jsonl").evaluations) == 1
