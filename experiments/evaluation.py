"""What is known of one architecture after it was judged: the value that ledger, front, report and hand-off share."""

import dataclasses
import math
from typing import Literal

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
