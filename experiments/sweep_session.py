"""The driver's side of a sweep: what to evaluate next, and what came of it, written to the ledger before anything else.

Both executors go through here, so that the ledger, the limits and the counts do not depend on where evaluators run.
"""

import collections
import dataclasses
import math
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from experiments.evaluation import Evaluation
from experiments.ledger import Ledger
from experiments.ledger_contents import LedgerContents
from experiments.limits import broken_limits
from experiments.records import Asked, Origin
from experiments.searchers import Searcher, SpaceExhaustedError, replay
from objectives import Estimate, Objective
from search_space import Architecture

Estimates = dict[str, Estimate]
Evaluator = Callable[[Architecture], Mapping[str, Estimate]]
EvaluatorFactory = Callable[[], Evaluator]

_FAILURES_IN_A_ROW = 10
_MAX_INFEASIBLE = 1000  # and twenty for every evaluation


@dataclasses.dataclass(frozen=True)
class SweepProgress:
    """Where a sweep stands.

    Attributes:
        num_evaluations: the goal for `num_done + num_failed`; None where time alone ends it.
        num_done: evaluated.
        num_failed: failed to be evaluated.
        num_infeasible: broke a limit, and were not evaluated.
        seconds: that evaluators have spent, the sum of all.
        last: the newest outcome.
        stopped: why it ended before its goal; None while it runs and where it reached it.
    """

    num_evaluations: int | None
    num_done: int
    num_failed: int
    num_infeasible: int
    seconds: float = 0.0
    last: Evaluation | None = None
    stopped: str | None = None


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What an evaluator made of an architecture: estimates, or the reason why there are none; and the time it took."""

    objectives: Estimates
    reason: str | None
    seconds: float


def judge(evaluator: Evaluator, architecture: Architecture) -> Outcome:
    """Runs an evaluator; an exception becomes a reason that names it and the line that raised it."""
    start = time.perf_counter()
    try:
        estimates, reason = dict(evaluator(architecture)), None
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        estimates, reason = {}, f"{type(error).__name__}: {error} ({frame.name}, line {frame.lineno})"
    return Outcome(estimates, reason, time.perf_counter() - start)


def _batch_has_begun_to_end(contents: LedgerContents) -> bool:
    """Whether an evaluation of the newest batch has ended, so that the batch is whole; infeasible architectures need none."""
    in_flight, has_ended = set[int](), False
    for event in contents.events:
        if isinstance(event, Asked) and event.origin != "ledger":
            has_ended = has_ended and bool(in_flight)  # a batch is asked for when the one before has ended
            in_flight.add(event.index)
        elif isinstance(event, Evaluation) and event.index in in_flight:
            in_flight.remove(event.index)
            has_ended = has_ended or event.status != "infeasible"
    return has_ended


class SweepSession:
    """One run of a sweep, from where its ledger ends to its number of evaluations."""

    def __init__(
        self,
        *,
        searcher: Searcher,
        ledger: Ledger,
        costs: Callable[[Architecture], Mapping[str, Estimate]],
        limits: Mapping[str, float],
        objectives: Sequence[Objective],
        fingerprint: str,
        num_evaluations: int | None,
        seconds: float,
        progress: Callable[[SweepProgress], None] | None,
        designs: Sequence[Architecture] = (),
        outcomes: Sequence[Evaluation] = (),
        rung: str | None = None,
    ) -> None:
        """Replays the ledger into the searcher and takes over outcomes; what was in flight is evaluated first, then designs."""
        contents = ledger.contents.at(rung)
        replay(searcher, contents)
        self._searcher = searcher
        self._ledger = ledger
        self._costs = costs
        self._limits = limits
        self._objectives = objectives
        self._fingerprint = fingerprint
        self._rung = rung
        self._num_evaluations = num_evaluations
        self._most_seconds = seconds
        self._spent = contents.seconds
        self._progress = progress or (lambda progress: None)
        self._counts = collections.Counter(x.status for x in contents.evaluations if not contents.is_taken_over(x))
        self._requeued = collections.deque(asked for asked in contents.in_flight if asked.origin != "ledger")
        self._ready: collections.deque[tuple[Asked, Estimates]] = collections.deque()  # asked for, to be handed out
        self._out: dict[int, tuple[Asked, Estimates]] = {}
        self._failures_in_a_row = 0
        self._last: Evaluation | None = None
        self._stopped: str | None = None
        self._take_over(outcomes, {asked.architecture.digest: asked for asked in contents.asked})
        known = {asked.architecture.digest for asked in ledger.contents.at(rung).asked}
        self._designs = collections.deque(architecture for architecture in designs if architecture.digest not in known)
        if searcher.batch is not None:  # what was in flight is the rest of a batch, or the beginning of one
            while self._requeued and self._wants_more:
                self._admit(self._requeued.popleft())
            if self._ready and not _batch_has_begun_to_end(contents):
                self._fill(searcher.batch)
        self._progress(self.progress)

    @property
    def progress(self) -> SweepProgress:
        """Where the sweep stands."""
        counts = self._counts
        return SweepProgress(
            num_evaluations=self._num_evaluations,
            num_done=counts["done"],
            num_failed=counts["failed"],
            num_infeasible=counts["infeasible"],
            seconds=self._spent,
            last=self._last,
            stopped=self._stopped,
        )

    @property
    def has_work(self) -> bool:
        """Whether another architecture is to be evaluated beside those that are."""
        return self._may_go_on and (bool(self._ready) or self._wants_more)

    @property
    def _may_go_on(self) -> bool:
        return self._stopped is None and self._spent < self._most_seconds

    @property
    def _wants_more(self) -> bool:
        begun = self._num_ended + len(self._out) + len(self._ready)
        return self._may_go_on and (self._num_evaluations is None or begun < self._num_evaluations)

    @property
    def _num_ended(self) -> int:
        return self._counts["done"] + self._counts["failed"]

    def next(self) -> Asked | None:
        """The next architecture to evaluate, within its limits; None where there is none now, or none any more."""
        if not self._ready and not (self._searcher.batch and self._out):
            self._fill(self._searcher.batch or 1)
        if not self._ready or not self._may_go_on:
            return None
        asked, costs = self._ready.popleft()
        self._out[asked.index] = (asked, costs)
        return asked

    def finish(self, index: int, outcome: Outcome) -> None:
        """Takes what an evaluator made of the architecture with this index."""
        asked, costs = self._out.pop(index)
        estimates = {**costs, **outcome.objectives}
        missing = [objective.name for objective in self._objectives if objective.name not in estimates]
        reason = outcome.reason
        if reason is None and missing:
            reason = f"the evaluator gave no {', '.join(missing)}"
        self._settle(asked, "failed" if reason else "done", estimates, reason, outcome.seconds)

    def _fill(self, num: int) -> None:
        """Asks until so many are ready, or there is none now."""
        while len(self._ready) < num and self._wants_more:
            asked = self._requeued.popleft() if self._requeued else self._ask()
            if asked is None:
                return
            self._admit(asked)

    def _admit(self, asked: Asked) -> None:
        """Makes it ready where it keeps the limits; its outcome is known otherwise."""
        outcome = judge(self._costs, asked.architecture)
        costs = outcome.objectives
        finite = all(estimate.is_finite for estimate in costs.values())
        broken = broken_limits(costs, self._limits) if finite and outcome.reason is None else []
        if outcome.reason is None and finite and not broken:
            self._ready.append((asked, costs))
            return
        status = "infeasible" if broken else "failed"
        self._settle(asked, status, costs, outcome.reason or "; ".join(broken) or None, outcome.seconds)

    def _take_over(self, outcomes: Sequence[Evaluation], known: Mapping[str, Asked]) -> None:
        """Records outcomes of an earlier ledger, unless this one has its own; their costs and limits are this sweep's."""
        in_flight = {asked.architecture.digest for asked in self._ledger.contents.at(self._rung).in_flight}
        for outcome in outcomes:
            asked = known.get(outcome.digest)
            if asked is not None and (asked.origin != "ledger" or outcome.digest not in in_flight):
                continue
            costs = judge(self._costs, outcome.architecture)
            estimates = outcome.objectives | costs.objectives
            if costs.reason is not None or any(objective.name not in estimates for objective in self._objectives):
                continue
            asked = asked or self._asked(outcome.architecture, origin="ledger")
            broken = broken_limits(estimates, self._limits)
            self._record(asked, "infeasible" if broken else "done", estimates, "; ".join(broken) or None, math.nan)

    def _ask(self) -> Asked | None:
        if self._designs:
            return self._asked(self._designs.popleft(), origin="start")
        try:
            architecture = self._searcher.ask()
        except SpaceExhaustedError as error:
            self._stopped = str(error) if not self._out and not self._ready else None
            return None
        if architecture is None:
            return None
        return self._asked(architecture, origin="searcher")

    def _asked(self, architecture: Architecture, *, origin: Origin) -> Asked:
        asked = self._ledger.asked(self._ledger.next_index, architecture, origin=origin, rung=self._rung)
        if origin != "searcher":
            self._searcher.reserve(architecture)
        return asked

    def _settle(self, asked: Asked, status: Any, estimates: Estimates, reason: str | None, seconds: float) -> None:
        self._last = self._record(asked, status, estimates, reason, seconds)
        self._spent += seconds if math.isfinite(seconds) else 0.0
        self._counts[self._last.status] += 1
        self._watch(self._last)
        self._progress(self.progress)

    def _record(self, asked: Asked, status: Any, estimates: Estimates, reason: str | None, seconds: float) -> Evaluation:
        """Writes an outcome and tells the searcher."""
        evaluation = Evaluation(
            index=asked.index,
            digest=asked.architecture.digest,
            architecture=asked.architecture,
            status=status,
            objectives=estimates,
            fingerprint=self._fingerprint,
            reason=reason,
            seconds=seconds if math.isfinite(seconds) else math.nan,
        )
        recorded = self._ledger.record(evaluation)
        self._searcher.tell(recorded)
        return recorded

    def _watch(self, evaluation: Evaluation) -> None:
        """Stops a sweep that only burns time: evaluations that all fail, limits that nothing keeps."""
        if evaluation.status == "infeasible":
            if self._counts["infeasible"] >= _MAX_INFEASIBLE + 20 * max(self._num_evaluations or 0, self._num_ended):
                self._stopped = (
                    f"{self._counts['infeasible']} architectures broke the limits, the last one: {evaluation.reason}; "
                    "loosen the limits, or search a space of smaller networks"
                )
            return
        self._failures_in_a_row = self._failures_in_a_row + 1 if evaluation.status == "failed" else 0
        if self._failures_in_a_row >= _FAILURES_IN_A_ROW:
            self._stopped = f"the last {_FAILURES_IN_A_ROW} evaluations failed, the newest one: {evaluation.reason}"
