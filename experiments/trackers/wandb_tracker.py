"""Weights & Biases: offline files in the run's folder, for `wandb sync`, or its server where `WANDB_MODE=online` says so.

Nothing else is sent anywhere: its reports of errors are off.
"""

import os
import shutil
from collections.abc import Mapping
from typing import Any

from experiments.trackers.tracker import TrackedRun, dotted


class WandbTracker:
    """A run of Weights & Biases; `Tracker` describes the methods.

    Offline, a run cannot go on: files of the same run replace each other when they are synced. So the files of before are
    removed and the run is told from its beginning; online it is resumed.
    """

    def __init__(self, run: TrackedRun) -> None:
        """Opens the run, with the settings as its configuration."""
        os.environ["WANDB_ERROR_REPORTING"] = "false"
        import wandb

        mode: Any = os.environ.get("WANDB_MODE", "offline")
        run.folder.mkdir(parents=True, exist_ok=True)
        if mode == "offline":
            for before in (run.folder / "wandb").glob(f"offline-run-*-{run.key}"):
                shutil.rmtree(before)
        # Its measurements of the machine would be load beside measurements of latency.
        quiet = wandb.Settings(console="off", silent=True, x_disable_stats=True, x_disable_machine_info=True)
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "pocketunet"), id=run.key, name=run.name, dir=run.folder,
            mode=mode, resume=None if mode == "offline" else "allow", settings=quiet,
        )  # fmt: skip
        self._run.config.update(dotted(run.settings), allow_val_change=True)
        self._series: set[str] = set()

    def last_steps(self) -> Mapping[str, int]:
        steps = {name: last for name, last in dict(self._run.summary).items() if name.endswith("/step")}
        return {name.removesuffix("/step"): int(last) for name, last in steps.items() if isinstance(last, int | float)}

    def log(self, series: str, step: int, values: Mapping[str, float]) -> None:
        if series not in self._series:
            self._run.define_metric(f"{series}/*", step_metric=f"{series}/step")
            self._series.add(series)
        self._run.log({f"{series}/step": step, **{f"{series}/{name}": value for name, value in values.items()}})

    def close(self, *, is_done: bool) -> None:
        self._run.finish(exit_code=0 if is_done else 1)
