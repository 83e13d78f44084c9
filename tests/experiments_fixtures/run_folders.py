"""A run folder made up for the tests of its readers: a real ledger over sampled architectures with invented numbers."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import yaml

from experiments.evaluation import Evaluation
from experiments.ledger import Ledger
from experiments.ledger_contents import read_ledger
from experiments.records import Rung
from experiments.rungs import levels
from objectives import Estimate, get_objective
from search_space import get_scale, get_space, layer_plan

OBJECTIVES = ["denoising_loss", "latency_ms"]


def make_run(
    path: pathlib.Path,
    *,
    num_done: int = 24,
    num_failed: int = 2,
    num_infeasible: int = 3,
    reason: str = "loss is nan",
    space: str = "digits",
    deploy_scale: str = "digits-deploy",
    limits: Mapping[str, float] = MappingProxyType({}),
) -> pathlib.Path:
    """Writes a run folder whose quality falls with the network's size, up to seeded noise."""
    path.mkdir(parents=True)
    settings = {"name": "digits", "space": space, "proxy_scale": "digits-proxy", "deploy_scale": deploy_scale}
    (path / "sweep.yaml").write_text(yaml.safe_dump({**settings, "latency": {"device": "litert-cpu"}}))
    rng = np.random.default_rng(0)
    searched, scale = get_space(space), get_scale(deploy_scale)
    statuses = ["done"] * num_done + ["failed"] * num_failed + ["infeasible"] * num_infeasible
    rng.shuffle(statuses)
    header = {"space": space, "fingerprint": "f0", "objectives": OBJECTIVES, "limits": dict(limits), "searcher": "nsga2"}
    with Ledger.open(path / "ledger.jsonl", header=header) as ledger:
        for index, status in enumerate(statuses):
            architecture = searched.sample(rng)
            plan = layer_plan(architecture, scale)
            ledger.asked(index, architecture)
            estimates = _estimates(plan.macs, plan.parameters, rng)
            if status != "done":
                estimates = {} if status == "failed" else {k: v for k, v in estimates.items() if k != "denoising_loss"}
            ledger.record(
                Evaluation(
                    index=index,
                    digest=architecture.digest,
                    architecture=architecture,
                    status=status,
                    objectives=estimates,
                    fingerprint="f0",
                    reason=None if status == "done" else reason,
                    seconds=0.5,
                )
            )
    return path


def reopened(path: pathlib.Path) -> Ledger:
    """The ledger of a run folder, to be written on."""
    file = path / "ledger.jsonl"
    return Ledger.open(file, header={key: value for key, value in read_ledger(file).header.items() if key != "schema"})


def add_rung(path: pathlib.Path, *, num_left: int = 0) -> None:
    """Plans a rung, and judges on it all that are promoted but for so many."""
    rng = np.random.default_rng(1)
    with reopened(path) as ledger:
        ledger.plan((Rung("f1", ("frechet_classifier", "latency_ms"), 0.25, 128),))
        level = levels(ledger.contents, [get_objective(name) for name in OBJECTIVES])[1]
        for below in level.left[: len(level.left) - num_left]:
            index, distance = ledger.next_index, rng.uniform(10, 20)
            ledger.asked(index, below.architecture, rung="f1")
            estimates = {name: value for name, value in below.objectives.items() if name != "denoising_loss"}
            estimates["frechet_classifier"] = Estimate(distance, low=distance - 2, high=distance + 2, n=128)
            ledger.record(dataclasses.replace(below, index=index, fingerprint="f1", objectives=estimates, seconds=4.0))


def add_side_files(path: pathlib.Path) -> None:
    """Adds what a finished sweep leaves beside its ledger: the training curve and the predictor's held-out error."""
    steps = np.arange(0, 2000, 10)
    history = [{"step": int(s), "loss": float(0.1 + np.exp(-s / 300))} for s in steps]
    (path / "supernet").mkdir()
    (path / "supernet" / "history.json").write_text(json.dumps(history))
    held_out = {"mape": 0.031, "within_5": 0.8, "within_10": 0.97, "spearman": 0.991, "n": 40}
    (path / "latency").mkdir()
    (path / "latency" / "predictor.json").write_text(json.dumps({"schema": 2, "held_out": {"score": held_out}}))


def _estimates(macs: int, parameters: int, rng: np.random.Generator) -> dict[str, Estimate]:
    latency = macs / 6e7 * rng.uniform(0.9, 1.1)
    loss = 0.08 + 0.5 / np.log(macs) ** 1.2 * rng.uniform(0.85, 1.15)
    return {
        "denoising_loss": Estimate(loss, low=loss * 0.985, high=loss * 1.015, n=512),
        "latency_ms": Estimate(latency, low=latency * 0.95, high=latency * 1.05, n=40),
        "macs": Estimate.exact(macs),
        "parameters": Estimate.exact(parameters),
    }
