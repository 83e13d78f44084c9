"""What a run knows of how far to trust its ranking: `trust/trust.json`, read and told; `experiments.trust` measures it."""

from collections.abc import Mapping
from typing import Any

from experiments.amounts import text_table
from experiments.run_folder import Run, read_json

FILE = "trust/trust.json"
BASELINES = ("macs", "parameters")
EQUAL_COST = 1.5  # MACs of one at most so many times the other's


def read_trust(run: Run) -> dict[str, Any] | None:
    """The record of a run; None where there is none, or it is of another search.

    Raises:
        InputError: the file is no JSON.
    """
    record = read_json(run.path / FILE)
    is_ours = isinstance(record, dict) and record.get("search_fingerprint") == run.ledger.header.get("fingerprint")
    return record if is_ours else None


def trust_text(record: Mapping[str, Any]) -> str:
    """Rank correlations of every score, the search's own first; then what they rest on, and a warning where it is due."""
    rows = [("Kendall's tau with the truth", "over all", f"within {EQUAL_COST:g} times the MACs")]
    rows += [(name, _tau(record["tau"][name]), _tau(record["tau_equal_cost"][name])) for name in record["tau"]]
    rows += [("another seed", _tau(record["ceiling"]), "")] * bool(record["ceiling"])
    warnings = [f"Careful: {warning}" for warning in trust_warnings(record)]
    return "\n".join([text_table(rows), "", trust_basis(record), *warnings])


def trust_basis(record: Mapping[str, Any]) -> str:
    """What the correlations rest on."""
    seeds = "once" if record["num_seeds"] == 1 else f"with {record['num_seeds']} seeds"
    return (
        f"The truth: the Fréchet distance of {record['num_samples']} samples of each of {record['num']} networks, trained "
        f"alone {seeds} for {record['num_steps']} steps."
    )


def trust_summary(record: Mapping[str, Any]) -> str:
    """The search's own scores in one sentence, beside MACs."""
    told = [
        f"{name} {_tau(record['tau'][name])}, and {_tau(record['tau_equal_cost'][name])} among those of about equal MACs"
        for name in (*_own(record), "macs")
    ]
    return f"Kendall's tau with the truth, of {'; of '.join(told)}. {trust_basis(record)}"


def trust_warnings(record: Mapping[str, Any]) -> list[str]:
    """Scores of the search that may rank networks of about equal cost by chance."""
    taus = {name: record["tau_equal_cost"][name] for name in _own(record)}
    return [
        f"among networks of about equal MACs, {name} may rank by chance: its tau there is {_tau(tau)}"
        for name, tau in taus.items()
        if tau is None or tau["low"] <= 0
    ]


def _own(record: Mapping[str, Any]) -> list[str]:
    return [name for name in record["tau"] if name not in BASELINES]


def _tau(record: Mapping[str, Any] | None) -> str:
    return "not known" if record is None else f"{record['value']:.2f} [{record['low']:.2f}, {record['high']:.2f}]"
