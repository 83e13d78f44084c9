"""The processes that evaluate under Ray: how many, and what each may take of its node."""

import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class Workers:
    """What a sweep asks Ray for.

    Attributes:
        number: evaluations at a time.
        cpus: cores that Ray sets aside for each, a fraction where they share one.
        gpus: accelerators for each, or a fraction of one.
        max_bytes: of memory that one may hold when an evaluation is done; one that holds more is replaced.
    """

    number: int = 1
    cpus: float = 1.0
    gpus: float = 0.0
    max_bytes: float = math.inf
