"""Where a run stands: what is finished, what is under way, and the command that goes on from there."""

import itertools
import math
import shlex
import statistics
from typing import Any

from experiments.amounts import brief
from experiments.config_fields import seconds_of
from experiments.front_view import rung_lines, summary
from experiments.locks import writer_of
from experiments.progress import duration
from experiments.run_folder import Run
from experiments.rungs import rungs_json, saved_share
from experiments.training_curve import last_step
from search_space import get_space


def status_json(run: Run) -> dict[str, Any]:
    """Counts, goal, writer, stages and how the front has moved, for `json.dumps`."""
    volume = run.summary["hypervolume"]
    history = volume["history"] if volume else []
    moved = [n for n, before, now in zip(itertools.count(1), [0.0, *history], history, strict=False) if now > before]
    seconds = [evaluation.seconds for evaluation in run.with_status("done") if math.isfinite(evaluation.seconds)]
    search = run.settings.get("search") or {}
    workers = 1 if search.get("executor") == "local" else search.get("num_workers") or 1
    return {
        "run": str(run.path),
        "written_by": writer_of(run.path / "ledger.jsonl"),
        "searcher": run.ledger.header.get("searcher"),
        "trials": run.settings.get("trials"),
        "budget": run.settings.get("budget"),
        "done": len(run.with_status("done")),
        "failed": len(run.with_status("failed")),
        "infeasible": len(run.with_status("infeasible")),
        "in_flight": len(run.ledger.in_flight),
        "taken_over": run.ledger.num_taken_over,
        "ended": run.ledger.num_ended,
        "front": len(run.front),
        "hypervolume": history[-1] if history else None,
        "front_moved_last_at": moved[-1] if moved else None,
        "median_seconds": statistics.median(seconds) if seconds else None,
        "seconds": run.ledger.seconds / workers,
        "workers": workers,
        "rungs": rungs_json(run.levels),
        "saved": saved_share(run.levels),
        "stages": {"supernet": _is_trained(run)} | {name: (run.path / path).exists() for name, path in _STAGES.items()},
    }


def status_text(run: Run) -> str:
    """The same for people, the last line what to do next."""
    found = status_json(run)
    lines = [summary(run)]
    goals = [f"{found['trials']} evaluations" if found["trials"] else "", found["budget"] or ""]
    if any(goals):
        ended, spent = found["ended"], duration(found["seconds"])
        lines.append(f"goal      {' or '.join(filter(None, goals))}, searcher {found['searcher']}; {ended} in {spent} so far")
    if found["hypervolume"] is not None:
        moved = found["front_moved_last_at"]
        lines.append(f"front     hypervolume {found['hypervolume']:.3f}, moved last at evaluation {moved}")
    if found["median_seconds"] is not None:
        lines.append(f"time      {brief(found['median_seconds'])} s an evaluation, {found['workers']} at a time")
    lines += rung_lines(run)
    finished = [name for name, is_there in found["stages"].items() if is_there]
    lines.append(f"finished  {', '.join(finished) or 'nothing yet'}")
    lines.append(f"writer    {found['written_by'] or 'none: nobody is at work here'}")
    return "\n".join([*lines, f"Next: {_next(run, found)}"])


_STAGES = {
    "predictor": "latency/predictor.json",
    "front": "front.json",
    "winner": "winner/distilled",
    "samples": "samples.png",
    "report": "report.html",
}


def _is_trained(run: Run) -> bool:
    """Whether the last step of the supernet's training is in its history, which is written now and then before it, too."""
    wanted = (run.settings.get("supernet") or {}).get("num_steps") or 1
    return last_step(run.path / "supernet") >= wanted


def _next(run: Run, found: dict[str, Any]) -> str:
    folder = shlex.quote(found["run"])
    if found["written_by"]:
        return f"wait, or look at what is there with `pocketunet front {folder}`"
    left = _size(run) - found["infeasible"] - found["taken_over"]  # of the space, for this run to evaluate
    is_short = not found["trials"] or found["ended"] < min(found["trials"], left)
    has_time = not found["budget"] or found["seconds"] < seconds_of(found["budget"])
    has_winner = run.knee is not None and (run.settings.get("distill") or {}).get("at_end") is not False
    is_handed_off = found["stages"]["samples"] and not run.has_outdated_winner
    is_unfinished = (has_winner and not is_handed_off) or any(rung["num_left"] for rung in found["rungs"])
    if is_unfinished or ((found["trials"] or found["budget"]) and is_short and has_time):
        return f"`pocketunet sweep {folder}/sweep.yaml --run-dir {folder}` goes on"
    return f"`pocketunet front {folder}`; `pocketunet sweep extend {folder} trials=N` searches further"


def _size(run: Run) -> float:
    """How many architectures there are to evaluate, as far as it is known."""
    name = run.ledger.header.get("space")
    return get_space(name).size if isinstance(name, str) else math.inf
