"""A run folder as its readers see it: the ledger and what lies beside it, its front, its knee; nothing is written.

Where rungs judge better than the search, the front is that of the highest that is complete.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from experiments.errors import InputError
from experiments.evaluation import Evaluation, Status
from experiments.front import front_of, summary
from experiments.json_files import read_json
from experiments.ledger_contents import LedgerContents, read_ledger
from experiments.limit_sentences import Bound
from experiments.rungs import Level, levels, rungs_json, top
from experiments.searchers.minimized import minimized_values
from objectives import Estimate, Objective, get_objective
from objectives.front import knee

# Of the keys that are read of a run which is only looked at.
_KINDS = {"trials": int, "budget": str, "search": dict, "distill": dict, "supernet": dict}


@dataclasses.dataclass(frozen=True)
class Run:
    """What a run folder holds.

    Attributes:
        path: the folder.
        levels: the search with every architecture that it asked for and every outcome, then the rungs above it.
        settings: `sweep.yaml` as plain data; empty where the file is not there.
        bounds: that a design must keep to be on the front, beside the limits of the search.
    """

    path: Path
    levels: tuple[Level, ...]
    settings: dict[str, Any]
    bounds: tuple[Bound, ...] = ()

    @property
    def ledger(self) -> LedgerContents:
        """What the search asked for and found."""
        return self.levels[0].contents

    @cached_property
    def predictor_record(self) -> Mapping[str, Any]:
        """What `latency/predictor.json` says; empty where it is not there."""
        record = read_json(self.path / "latency" / "predictor.json")
        return record if isinstance(record, Mapping) else {}

    @property
    def latency_device(self) -> str | None:
        """The device that its latencies are of: the predictor's, else the one that the settings name."""
        known = (self.predictor_record.get("fingerprint"), self.settings.get("latency"))
        return next((str(x["device"]) for x in known if isinstance(x, Mapping) and x.get("device")), None)

    @cached_property
    def judged(self) -> Level:
        """The level of the front: the highest rung that is complete, or else the search."""
        return top(self.levels)

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """What the front is about, in the sweep's order."""
        return self.judged.objectives

    def with_status(self, status: Status) -> tuple[Evaluation, ...]:
        """The search's evaluations of one status, in the order in which they came."""
        return tuple(evaluation for evaluation in self.ledger.evaluations if evaluation.status == status)

    @cached_property
    def known(self) -> dict[str, Mapping[str, Estimate]]:
        """Objectives of each architecture, by digest, as the highest level on which it did not fail says."""
        return {e.digest: e.objectives for level in self.levels for e in level.contents.evaluations if e.status != "failed"}

    @cached_property
    def front(self) -> tuple[Evaluation, ...]:
        """The non-dominated of the evaluations within the bounds, the fastest first, or in the first objective's order."""
        members = front_of([e for e in self.judged.done if self.is_within(e)], self.objectives)
        if all("latency_ms" in evaluation.objectives for evaluation in members):
            members.sort(key=lambda evaluation: evaluation.objectives["latency_ms"].value)
        return tuple(members)

    def is_within(self, evaluation: Evaluation) -> bool:
        """Whether an evaluation is known to keep the bounds."""
        known = evaluation.objectives
        return all(bound.name in known and bound.is_kept(known[bound.name].value) for bound in self.bounds)

    @cached_property
    def knee(self) -> Evaluation | None:
        """The member of the front where giving up a little of one objective stops paying; None without a front."""
        if not self.front:
            return None
        return self.front[knee(np.stack([minimized_values(e, self.objectives) for e in self.front]))]

    @cached_property
    def summary(self) -> dict[str, Any]:
        """The front; counts and hypervolume over time of the search; counts of its rungs: what `front.json` holds."""
        counted = summary(self.ledger, self.levels[0].objectives)
        if len(self.levels) == 1:
            return counted
        above = summary(self.judged.contents, self.objectives)
        return counted | {key: above[key] for key in ("objectives", "front")} | {"rungs": rungs_json(self.levels)}

    @property
    def has_outdated_winner(self) -> bool:
        """Whether what was handed off and distilled is another design than the knee of the front as it is now."""
        winner = read_json(self.path / "winner" / "expected.json")
        return not self.bounds and isinstance(winner, dict) and (self.knee is None or winner.get("digest") != self.knee.digest)


def read_run(path: str | Path) -> Run:
    """Reads a run folder, finished or not, without changing anything in it.

    Raises:
        NotADirectoryError: there is no such folder.
        FileNotFoundError: the folder holds no ledger.
        InputError: the ledger or `sweep.yaml` is damaged.
    """
    path = Path(path)
    if not path.is_dir():
        raise NotADirectoryError(f"{path}: there is no such run folder; `pocketunet sweep` makes one")
    contents = read_ledger(path / "ledger.jsonl")
    settings = _settings(path / "sweep.yaml")
    names = contents.header.get("objectives") or settings.get("objectives")
    if not isinstance(names, Sequence) or not names:
        raise InputError(f"{path / 'ledger.jsonl'}:1: key 'objectives' must list what the sweep improves, got {names!r}")
    return Run(path, tuple(levels(contents, [get_objective(str(name)) for name in names])), settings)


def _settings(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        settings = yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a date that is none, a mapping inside itself
        raise InputError(f"{path}: this is no YAML file ({error}); take it from a copy of the run folder") from None
    if not isinstance(settings, dict):
        raise InputError(f"{path}: a sweep must be a mapping of keys, got {type(settings).__name__}")
    for key, kind in _KINDS.items():
        if settings.get(key) is not None and not isinstance(settings[key], kind):
            raise InputError(f"{path}: key {key!r} cannot be {settings[key]!r}; take the file from a copy of the run folder")
    return settings
