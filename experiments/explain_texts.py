"""What explains a design, for people and for programs."""

from typing import Any

from experiments.amounts import amount, text_table
from experiments.explaining import Change, Explanation
from experiments.front_view import interval
from objectives import Estimate, Objective, get_objective
from search_space import picture

_NUM_GENES = 12


def explanation_text(found: Explanation) -> str:
    """The design, what each other choice would do, the largest saving first, and which genes matter."""
    evaluation = found.evaluation
    known = ", ".join(f"{name} {interval(x, get_objective(name))}" for name, x in evaluation.objectives.items())
    parts = [f"{evaluation.digest}: {known}", picture(evaluation.architecture, found.scale), _changes(found), *_models(found)]
    return "\n\n".join([*parts, _importance(found)])


def explanation_json(found: Explanation) -> dict[str, Any]:
    """The same for `json.dumps`, every change and gene of it."""
    changes = [
        {
            **{field: getattr(change, field) for field in ("gene", "before", "after", "also", "is_measured", "breaks")},
            "digest": change.architecture.digest,
            "differences": {name: x.to_json() for name, x in change.differences.items()},
        }
        for change in found.changes
    ]
    return {
        "digest": found.evaluation.digest,
        "objectives": {name: x.to_json() for name, x in found.evaluation.objectives.items()},
        "changes": changes,
        "model_tau": {name: tau and tau.to_json() for name, tau in found.model_tau.items()},
        "importance": found.importance,
    }


def difference_text(estimate: Estimate, objective: Objective) -> str:
    """A difference with its sign, and its interval where it has one.

    >>> difference_text(Estimate(-3.1, low=-3.5, high=-2.7), get_objective("latency_ms"))
    '-3.10 ms [-3.50 ms, -2.70 ms]'
    """

    def signed(value: float) -> str:
        return f"{'+' * (value >= 0)}{amount(value, objective.unit)}"

    if not estimate.half_width:
        return signed(estimate.value)
    assert estimate.low is not None
    assert estimate.high is not None
    return f"{signed(estimate.value)} [{signed(estimate.low)}, {signed(estimate.high)}]"


def _changes(found: Explanation) -> str:
    costs = [objective for objective in found.objectives if objective.is_cost]
    order = costs[0].name if costs else found.objectives[0].name
    rows = [("One choice made otherwise", "", *(objective.name for objective in found.objectives), "")]
    for change in sorted(found.changes, key=lambda change: change.differences[order].value):
        cells = [difference_text(change.differences[objective.name], objective) for objective in found.objectives]
        rows.append((change.gene, f"{change.before} -> {change.after}", *cells, _remarks(change, found.objectives)))
    return text_table(rows, num_left=2)


def _remarks(change: Change, objectives: tuple[Objective, ...]) -> str:
    """What is to be known of a change beside its differences."""
    remarks = ["measured"] * change.is_measured
    if is_improvement(change, objectives):
        remarks.append("better")
    remarks += [f"and {gene} -> {choice}" for gene, choice in change.also.items()]
    return ", ".join([*remarks, *change.breaks])


def is_improvement(change: Change, objectives: tuple[Objective, ...]) -> bool:
    """Whether it makes nothing worse, by the values, and something better beyond doubt."""
    found = [change.differences[o.name] for o in objectives]
    signs = [1 if o.direction == "minimize" else -1 for o in objectives]
    is_better = [s * x.value + (x.half_width or 0.0) < 0 for s, x in zip(signs, found, strict=True)]
    return any(is_better) and all(s * x.value <= 0 for s, x in zip(signs, found, strict=True))


def _models(found: Explanation) -> list[str]:
    lines = []
    for name, tau in found.model_tau.items():
        known = f"{tau.value:.2f} [{tau.low:.2f}, {tau.high:.2f}]" if tau else "nothing: all are the same"
        lines.append(
            f"{name} is told by a model of the run's evaluations unless the change was measured. Fitted on four fifths of "
            f"them, it ranks the rest with a tau of {known}."
        )
    return lines


def _importance(found: Explanation) -> str:
    """The genes that matter most, by the sum of their shares."""
    names = list(found.importance)
    genes = dict.fromkeys(gene for shares in found.importance.values() for gene in shares)
    ordered = sorted(genes, key=lambda gene: -sum(found.importance[name].get(gene, 0.0) for name in names))[:_NUM_GENES]
    rows = [("Share of the variance over the run, by the gene alone", *names)]
    rows += [(gene, *(f"{100 * found.importance[name].get(gene, 0.0):.0f} %" for name in names)) for gene in ordered]
    return text_table(rows)
