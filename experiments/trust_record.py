"""What a run knows of how far to trust its ranking: `trust/trust.json`, read and told; `experiments.trust` measures it."""

import shlex
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, model_validator

from experiments.amounts import text_table
from experiments.json_files import read_record
from experiments.run_folder import Run
from objectives.zero_cost import ZERO_COST

FILE = "trust/trust.json"
BASELINES = ("macs", "parameters", *ZERO_COST)
EQUAL_COST = 1.5  # MACs of one at most so many times the other's


class Tau(BaseModel):
    """Kendall's tau with its 95 % interval, of so many architectures."""

    model_config = ConfigDict(frozen=True)

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        """For people."""
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


class TrustRecord(BaseModel):
    """How well scores rank architectures that were also trained alone.

    Attributes:
        search_fingerprint: of the search whose scores they are.
        fingerprint: how the truths were measured.
        num: architectures.
        num_left_out: of them, since they diverged or have no score.
        num_pairs: of architectures of about equal MACs.
        num_seeds: trainings of each.
        num_steps: of each training.
        num_samples: that judge each.
        tau: by score, the search's own and then the baselines; None where there is no ranking.
        tau_equal_cost: the same over pairs of about equal MACs; None where they are few.
        between_seeds: of the truths of the first two seeds; None with one.
        architectures: each with its scores, baselines and truths, for whoever wants to look closer.
    """

    model_config = ConfigDict(frozen=True)

    schema_version: Literal[1] = 1
    search_fingerprint: str | None
    fingerprint: str
    num: int
    num_left_out: int
    num_pairs: int
    num_seeds: int
    num_steps: int
    num_samples: int
    tau: dict[str, Tau | None]
    tau_equal_cost: dict[str, Tau | None]
    between_seeds: Tau | None
    architectures: list[dict[str, Any]]

    @model_validator(mode="after")
    def _same_scores(self) -> "TrustRecord":
        if self.tau.keys() != self.tau_equal_cost.keys() or "macs" not in self.tau:
            raise ValueError("tau and tau_equal_cost must have the same scores, and macs among them")
        return self

    @property
    def own(self) -> list[str]:
        """Names of the search's own scores."""
        return [name for name in self.tau if name not in BASELINES]


def read_trust(run: Run) -> TrustRecord | None:
    """The record of a run; None where there is none, or it is of another search.

    Raises:
        InputError: the file is no such record.
    """
    remedy = f"delete it, `pocketunet quality trust {shlex.quote(str(run.path))}` writes it again"
    found = read_record(run.path / FILE, TrustRecord, remedy=remedy)
    return found if found and found.search_fingerprint == run.ledger.header.get("fingerprint") else None


def ranking_notes(run: Run) -> list[tuple[str, str]]:
    """How far to trust the ranking by quality: pairs of a level (note, warning) and a sentence; none where costs alone rank."""
    if all(objective.is_cost for objective in run.objectives):
        return []
    if (record := read_trust(run)) is None:
        measure = f"pocketunet quality trust {shlex.quote(str(run.path))}"
        return [("note", f"Nobody has looked how well the search ranks; this does: {measure}")]
    return [("note", trust_summary(record)), *(("warning", f"{text[0].upper()}{text[1:]}.") for text in trust_warnings(record))]


def trust_text(record: TrustRecord) -> str:
    """Rank correlations of every score, the search's own first; then what they rest on, and a warning where it is due."""
    rows = [("Kendall's tau with the truth", "over all", f"within {EQUAL_COST:g} times the MACs")]
    rows += [(name, _told(record.tau[name]), _told(record.tau_equal_cost[name])) for name in record.tau]
    rows += [("another seed", str(record.between_seeds), "")] * (record.between_seeds is not None)
    warnings = [f"Careful: {warning}" for warning in trust_warnings(record)]
    return "\n".join([text_table(rows), "", trust_basis(record), *warnings])


def trust_basis(record: TrustRecord) -> str:
    """What the correlations rest on."""
    seeds = "once" if record.num_seeds == 1 else f"with {record.num_seeds} seeds"
    left_out = f" {record.num_left_out} are left out: they diverged, or have no score." if record.num_left_out else ""
    return (
        f"The truth: the Fréchet distance of {record.num_samples} samples of each of {record.num} networks, trained alone "
        f"{seeds} for {record.num_steps} steps; {record.num_pairs} pairs are of about equal MACs.{left_out}"
    )


def trust_summary(record: TrustRecord) -> str:
    """The search's own scores in one sentence, beside MACs."""
    told = [
        f"{name} {_told(record.tau[name])}, and {_told(record.tau_equal_cost[name])} among those of about equal MACs"
        for name in (*record.own, "macs")
    ]
    return f"Kendall's tau with the truth, of {'; of '.join(told)}. {trust_basis(record)}"


def trust_warnings(record: TrustRecord) -> list[str]:
    """Scores of the search that may rank networks of about equal cost by chance, or rank them backwards."""
    return [
        f"among networks of about equal MACs, {name} {_fault(tau)}: its tau there is {_told(tau)}"
        for name in record.own
        if (tau := record.tau_equal_cost[name]) is None or tau.low <= 0
    ]


def _fault(tau: Tau | None) -> str:
    return "ranks backwards" if tau is not None and tau.high < 0 else "may rank by chance"


def _told(tau: Tau | None) -> str:
    return "not known" if tau is None else str(tau)
