"""A ledger as a table for a spreadsheet or a data frame, and as an Optuna study for its dashboard."""

import csv
import io
import math
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from experiments.errors import InputError
from experiments.evaluation import Evaluation
from experiments.ledger_contents import LedgerContents
from experiments.whole_files import write_whole
from objectives import get_objective
from search_space import SearchSpace, get_space


def export_ledger(contents: LedgerContents, path: Path, *, form: str) -> None:
    """Writes every outcome, in the order in which architectures were asked for, into a new file.

    A study has the search's outcomes alone.

    Args:
        contents: what the ledger says; its header names the space, whose genes are columns.
        path: of the file.
        form: csv, parquet or optuna.

    Raises:
        InputError: the file exists, or its folder does not, or the ledger does not say what it is about.
    """
    if not path.parent.is_dir():
        raise InputError(f"{path}: there is no folder {path.parent}; make it, or choose another --out")
    if path.exists():
        raise InputError(f"{path}: this file exists; choose another --out, or remove it")
    name = contents.header.get("space")
    if not isinstance(name, str):
        raise InputError("the ledger's header names no space, so its architectures have no genes to export")
    _FORMS[form](contents, get_space(name), path)


def study_of(contents: LedgerContents, space: SearchSpace, *, name: str, storage: str | None = None) -> Any:
    """The search as an Optuna study: one trial per outcome; failed ones failed, infeasible ones pruned, with their costs.

    Args:
        contents: what the ledger says.
        space: whose genes are the trials' parameters.
        name: of the study.
        storage: address of its database; None for the memory.

    Raises:
        InputError: the ledger names no objectives.
    """
    import optuna
    from optuna.distributions import BaseDistribution, CategoricalDistribution

    objectives = [get_objective(name) for name in contents.header.get("objectives", ())]
    if not objectives:
        raise InputError("the ledger's header names no objectives, which a study needs")
    distributions: dict[str, BaseDistribution] = {
        gene.name: CategoricalDistribution(gene.choices) for gene in space.genes if len(gene.choices) > 1
    }
    states = {"done": "COMPLETE", "failed": "FAIL", "infeasible": "PRUNED"}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(study_name=name, storage=storage, directions=[objective.direction for objective in objectives])
    for evaluation in _in_order(contents.at(None)):
        genes = _genes(evaluation, space)
        estimates = {name: estimate.value for name, estimate in evaluation.objectives.items()}
        told = {"digest": evaluation.digest, "index": evaluation.index, "reason": evaluation.reason, **estimates}
        study.add_trial(
            optuna.trial.create_trial(
                state=optuna.trial.TrialState[states[evaluation.status]],
                values=[estimates[objective.name] for objective in objectives] if evaluation.status == "done" else None,
                params={name: genes[name] for name in distributions},
                distributions=distributions,
                user_attrs={key: value for key, value in told.items() if value is not None},
            )
        )
    return study


def table(contents: LedgerContents, space: SearchSpace) -> dict[str, list[Any]]:
    """Columns by name: what was asked for, its outcome, objectives with their intervals, genes; None for no value.

    `rung` is 0 for the search, 1 for the rung above it, and so on; None for one that is planned no more.
    """
    evaluations = _in_order(contents)
    rung_of = {asked.index: asked.rung for asked in contents.asked}
    positions = {name: i for i, name in enumerate((None, *(rung.fingerprint for rung in contents.rungs)))}
    names = list(dict.fromkeys(name for evaluation in evaluations for name in evaluation.objectives))
    columns: dict[str, list[Any]] = {
        "index": [evaluation.index for evaluation in evaluations],
        "digest": [evaluation.digest for evaluation in evaluations],
        "status": [evaluation.status for evaluation in evaluations],
        "reason": [evaluation.reason for evaluation in evaluations],
        "seconds": [None if math.isnan(evaluation.seconds) else evaluation.seconds for evaluation in evaluations],
        "fingerprint": [evaluation.fingerprint for evaluation in evaluations],
        "rung": [positions.get(rung_of[evaluation.index]) for evaluation in evaluations],
    }
    for name in names:
        estimates = [evaluation.objectives.get(name) for evaluation in evaluations]
        for column, field in ((name, "value"), (f"{name}.low", "low"), (f"{name}.high", "high"), (f"{name}.n", "n")):
            columns[column] = [None if estimate is None else getattr(estimate, field) for estimate in estimates]
    genes = [_genes(evaluation, space) for evaluation in evaluations]
    return columns | {f"gene.{gene.name}": [one[gene.name] for one in genes] for gene in space.genes}


def _in_order(contents: LedgerContents) -> list[Evaluation]:
    return sorted(contents.evaluations, key=lambda evaluation: evaluation.index)


def _genes(evaluation: Evaluation, space: SearchSpace) -> dict[str, Any]:
    return {gene.name: gene.choices[i] for gene, i in zip(space.genes, space.encode(evaluation.architecture), strict=True)}


def _write_csv(contents: LedgerContents, space: SearchSpace, path: Path) -> None:
    columns = table(contents, space)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    write_whole(path, text.getvalue())


def _write_parquet(contents: LedgerContents, space: SearchSpace, path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(pyarrow.table(table(contents, space)), sink)
    write_whole(path, sink.getvalue().to_pybytes())


def _write_optuna(contents: LedgerContents, space: SearchSpace, path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:  # SQLite's own errors are no OSError
        made = Path(folder) / "study.db"
        study_of(contents, space, name=path.stem, storage=f"sqlite:///{made}")
        write_whole(path, made.read_bytes())


_FORMS: Mapping[str, Callable[[LedgerContents, SearchSpace, Path], None]] = {
    "csv": _write_csv,
    "parquet": _write_parquet,
    "optuna": _write_optuna,
}
