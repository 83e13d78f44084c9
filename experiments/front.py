"""What a ledger amounts to: the front, the counts, the hypervolume over time; `front.json` holds it."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float

from experiments.errors import InputError
from experiments.evaluation import Evaluation
from experiments.ledger_contents import LedgerContents
from experiments.records import evaluation_to_json
from experiments.searchers.minimized import minimized_values
from experiments.whole_files import write_whole
from objectives import Objective, as_minimized, get_objective
from objectives.front import hypervolume_over_time, non_dominated

SCHEMA_VERSION = 1
_MARGIN = 0.1
Item = TypeVar("Item")


def spread(items: Sequence[Item], num: int) -> list[Item]:
    """So many of them at even distances, the first and the last among them; all where they are fewer."""
    return [items[i] for i in np.unique(np.linspace(0, len(items) - 1, num).round().astype(int))] if items else []


def front_of(evaluations: Sequence[Evaluation], objectives: Sequence[Objective]) -> list[Evaluation]:
    """The evaluations that no other one dominates, in the order of the first objective's value, best first.

    Only those that are done take part: failed and infeasible ones are never on the front and dominate nothing.

    Raises:
        InputError: they were not all measured in the same way, or one lacks an objective.
    """
    done = _comparable(evaluations, objectives)
    if not done:
        return []
    values = np.stack([minimized_values(evaluation, objectives) for evaluation in done])
    rows = np.flatnonzero(non_dominated(values))
    return [done[row] for row in sorted(rows, key=lambda row: (*values[row], done[row].index))]


def summary(contents: LedgerContents, objectives: Sequence[Objective] | None = None) -> dict[str, Any]:
    """The front and the counts of a ledger as a JSON object.

    The hypervolume is given in the order in which evaluations were done, as a share of the box between the best and the
    reference value of each objective. The reference is the worst value that was seen, moved away by a tenth of the range;
    it is stated, because the share means nothing without it, and it may move while a sweep runs.

    Args:
        contents: what the ledger says.
        objectives: what to compare; by default those that the ledger's header names.

    Raises:
        InputError: no objectives are known, or evaluations of different fingerprints stand in one ledger.
    """
    objectives = _objectives_of(contents) if objectives is None else tuple(objectives)
    counts = Counter(evaluation.status for evaluation in contents.evaluations)
    return {
        "schema": SCHEMA_VERSION,
        "space": contents.header.get("space"),
        "objectives": [{"name": x.name, "direction": x.direction, "unit": x.unit} for x in objectives],
        "num_done": counts["done"],
        "num_failed": counts["failed"],
        "num_infeasible": counts["infeasible"],
        "num_in_flight": len(contents.in_flight),
        "front": [evaluation_to_json(evaluation) for evaluation in front_of(contents.evaluations, objectives)],
        "hypervolume": _hypervolume(_comparable(contents.evaluations, objectives), objectives),
    }


def write_front(path: str | Path, found: dict[str, Any]) -> None:
    """Writes a run's summary to a file, which is replaced as a whole."""
    write_whole(Path(path), f"{json.dumps(found, indent=1, allow_nan=False)}\n")


def reference_box(
    values: Float[np.ndarray, "points objectives"],
) -> tuple[Float[np.ndarray, " objectives"], Float[np.ndarray, " objectives"]]:
    """The box that hypervolumes are shares of: its corner at the ideal point, and its lengths up to the reference point.

    The reference is the worst of each objective, moved away by a tenth of the range, which is 1 where all are equal.

    Args:
        values: to be minimised; one or more.
    """
    ideal, worst = values.min(axis=0), values.max(axis=0)
    return ideal, np.where(worst > ideal, worst - ideal, 1.0) * (1 + _MARGIN)


def _objectives_of(contents: LedgerContents) -> tuple[Objective, ...]:
    names = contents.header.get("objectives")
    if not names:
        raise InputError("the ledger's header names no objectives; say which ones to compare")
    return tuple(get_objective(name) for name in names)


def _comparable(evaluations: Sequence[Evaluation], objectives: Sequence[Objective]) -> list[Evaluation]:
    done = [evaluation for evaluation in evaluations if evaluation.status == "done"]
    fingerprints = sorted({evaluation.fingerprint for evaluation in done})
    if len(fingerprints) > 1:
        raise InputError(
            f"numbers measured in different ways are never compared, got the fingerprints {', '.join(fingerprints)}; "
            "choose the evaluations of one"
        )
    for evaluation in done:
        missing = [objective.name for objective in objectives if objective.name not in evaluation.objectives]
        if missing:
            known = ", ".join(evaluation.objectives)
            raise InputError(f"evaluation {evaluation.index} has no {', '.join(missing)}; compare what it has: {known}")
    return done


def _hypervolume(done: Sequence[Evaluation], objectives: Sequence[Objective]) -> dict[str, Any] | None:
    if not done:
        return None
    values = np.stack([minimized_values(evaluation, objectives) for evaluation in done])
    ideal, size = reference_box(values)
    history = hypervolume_over_time((values - ideal) / size, reference=np.ones(len(objectives)))
    names = [objective.name for objective in objectives]

    def named(point: np.ndarray) -> dict[str, float]:
        return dict(zip(names, as_minimized(objectives, point).tolist(), strict=True))

    return {
        "reference": named(ideal + size),
        "ideal": named(ideal),
        "index": [evaluation.index for evaluation in done],
        "history": history.tolist(),
    }
