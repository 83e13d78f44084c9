"""What is known of one architecture after it was judged: the value that ledger, front, report and hand-off share."""

import dataclasses
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from experiments.limits import broken_limits
from objectives import Estimate
from search_space import Architecture

Status = Literal["done", "failed", "infeasible"]


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """One architecture's outcome.

    Attributes:
        index: position in the order in which architectures were asked for, from 0.
        digest: the architecture's digest.
        architecture: the architecture itself, canonical.
        status: done, failed (it has a reason), or infeasible (a limit is broken; quality was not measured).
        objectives: estimates by objective name; an infeasible one holds its costs only, a failed one may be empty.
        fingerprint: how the numbers were measured; numbers with different fingerprints are never compared.
        reason: why it failed, or which limits it breaks; None when done.
        seconds: wall time of the evaluation.
    """

    index: int
    digest: str
    architecture: Architecture
    status: Status
    objectives: dict[str, Estimate]
    fingerprint: str
    reason: str | None = None
    seconds: float = math.nan


def evaluated(
    architecture: Architecture,
    values: Mapping[str, float],
    *,
    limits: Mapping[str, float] = MappingProxyType({}),
    fingerprint: str = "",
) -> Evaluation:
    """An outcome from plain numbers, for a search outside a sweep.

    It is failed where a number is not finite, infeasible where one breaks a limit, done otherwise.

    Args:
        architecture: what was evaluated.
        values: by objective name.
        limits: upper bound by cost, as the searcher was given.
        fingerprint: how the numbers were measured; outcomes of one search share it.
    """
    bad = [f"{name} is {value}" for name, value in values.items() if not math.isfinite(value)]
    objectives = {name: Estimate.exact(value) for name, value in values.items() if math.isfinite(value)}
    broken = broken_limits(objectives, {name: bound for name, bound in limits.items() if name in objectives})
    canonical = architecture.canonical()
    return Evaluation(
        index=0,
        digest=canonical.digest,
        architecture=canonical,
        status="failed" if bad else "infeasible" if broken else "done",
        objectives=objectives,
        fingerprint=fingerprint,
        reason=", ".join(bad) or "; ".join(broken) or None,
    )
