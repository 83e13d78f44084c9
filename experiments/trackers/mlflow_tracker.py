"""MLflow: a run in a SQLite store of the run's folder, or wherever `MLFLOW_TRACKING_URI` says.

Nothing is sent to anybody else: MLflow's own telemetry is off.
"""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.trackers.tracker import TrackedRun, dotted

_KEY_TAG = "pocketunet.key"
# What MLflow takes at once is bounded, and each call is a transaction: numbers wait for others, but not for long.
_MOST_METRICS, _MOST_SECONDS = 500, 1.0
_MOST_PARAMETERS, _LONGEST_PARAMETER = 100, 6000


class MLflowTracker:
    """A run of MLflow; the one that was begun under the same key, where there is one. `Tracker` describes the methods."""

    def __init__(self, run: TrackedRun) -> None:
        """Opens the store and the run, whatever they are, and logs the settings as parameters."""
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # read while it is imported
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
        from mlflow import MlflowClient

        remote = os.environ.get("MLFLOW_TRACKING_URI")
        self._client = MlflowClient(remote or _local_store(run.folder))
        artifacts = None if remote else (run.folder / "mlflow" / "artifacts").resolve().as_uri()
        self._run_id = self._found_or_new(run, artifacts)
        self._log_parameters(dotted(run.settings))
        self._waiting: list[Any] = []
        self._sent = time.monotonic()

    def last_steps(self) -> Mapping[str, int]:
        steps: dict[str, int] = {}
        for metric in self._client.get_run(self._run_id).data.metrics:
            series = metric.rpartition("/")[0]
            last = max(point.step for point in self._client.get_metric_history(self._run_id, metric))
            steps[series] = max(last, steps.get(series, 0))
        return steps

    def log(self, series: str, step: int, values: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        now = round(1000 * time.time())
        self._waiting += [Metric(f"{series}/{name}", value, now, step) for name, value in values.items()]
        if len(self._waiting) >= _MOST_METRICS or time.monotonic() - self._sent >= _MOST_SECONDS:
            self._send()

    def close(self, *, is_done: bool) -> None:
        self._send()
        self._client.set_terminated(self._run_id, status="FINISHED" if is_done else "FAILED")

    def _send(self) -> None:
        """Writes what waits in one transaction, so that no step is there by half."""
        self._client.log_batch(self._run_id, metrics=self._waiting)
        self._waiting.clear()
        self._sent = time.monotonic()

    def _found_or_new(self, run: TrackedRun, artifacts: str | None) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "pocketunet")
        experiment = self._client.get_experiment_by_name(name)
        number = experiment.experiment_id if experiment else self._client.create_experiment(name, artifacts)
        found = self._client.search_runs([number], f"tags.`{_KEY_TAG}` = '{run.key}'", max_results=1)
        if not found:
            return self._client.create_run(number, run_name=run.name, tags={_KEY_TAG: run.key}).info.run_id
        self._client.update_run(found[0].info.run_id, status="RUNNING")
        return found[0].info.run_id

    def _log_parameters(self, settings: Mapping[str, Any]) -> None:
        """Parameters never change in MLflow: one that has become another is a tag as well."""
        from mlflow.entities import Param

        known = self._client.get_run(self._run_id).data.params
        texts = {name: str(value)[:_LONGEST_PARAMETER] for name, value in settings.items()}
        new = [Param(name, text) for name, text in texts.items() if name not in known]
        for start in range(0, len(new), _MOST_PARAMETERS):
            self._client.log_batch(self._run_id, params=new[start : start + _MOST_PARAMETERS])
        for name, text in texts.items():
            if name in known and known[name] != text:
                self._client.set_tag(self._run_id, name, text)


def _local_store(folder: Path) -> str:
    path = folder.resolve() / "mlflow" / "mlflow.db"
    path.parent.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{path}"
