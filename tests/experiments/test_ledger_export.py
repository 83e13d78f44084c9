"""A ledger as CSV, Parquet and an Optuna study: every outcome, nothing lost."""

import csv

import optuna
import pyarrow.parquet
import pytest
from experiments_fixtures.run_folders import make_run

from experiments.cli import main
from experiments.ledger_contents import read_ledger
from experiments.run_folder import read_run
from search_space import get_space

SPACE = get_space("digits")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "digits")


def export(folder, form, out):
    with pytest.raises(SystemExit, match="0"):
        main(["ledger", "export", str(folder), "--format", form, "--out", str(out)])


def outcomes(folder):
    return sorted(read_ledger(folder / "ledger.jsonl").evaluations, key=lambda evaluation: evaluation.index)


def test_csv_has_a_row_for_every_outcome(folder, tmp_path):
    export(folder, "csv", tmp_path / "a.csv")
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 29
    for row, evaluation in zip(rows, outcomes(folder), strict=True):
        assert (row["digest"], row["status"], row["reason"]) == (evaluation.digest, evaluation.status, evaluation.reason or "")
        for name, estimate in evaluation.objectives.items():
            assert float(row[name]) == estimate.value
        if evaluation.status != "done":
            assert row["denoising_loss"] == ""


def test_parquet_restores_every_architecture_from_its_genes(folder, tmp_path):
    export(folder, "parquet", tmp_path / "a.parquet")
    rows = pyarrow.parquet.read_table(tmp_path / "a.parquet").to_pylist()
    for row, evaluation in zip(rows, outcomes(folder), strict=True):
        assert SPACE.from_values({gene.name: row[f"gene.{gene.name}"] for gene in SPACE.genes}) == evaluation.architecture
        assert row["latency_ms"] == (evaluation.objectives["latency_ms"].value if evaluation.objectives else None)


def test_an_optuna_study_has_the_same_front(folder, tmp_path):
    export(folder, "optuna", tmp_path / "digits.db")
    study = optuna.load_study(study_name="digits", storage=f"sqlite:///{tmp_path / 'digits.db'}")
    states = [trial.state.name for trial in study.trials]
    assert (states.count("COMPLETE"), states.count("FAIL"), states.count("PRUNED")) == (24, 2, 3)
    best = {evaluation.digest for evaluation in read_run(folder).front}
    assert {trial.user_attrs["digest"] for trial in study.best_trials} == best
    assert all(trial.user_attrs["reason"] for trial in study.trials if trial.state.name != "COMPLETE")


def test_the_file_lies_in_the_run_folder_by_default(tmp_path, capsys):
    folder = make_run(tmp_path / "run")
    with pytest.raises(SystemExit, match="0"):
        main(["ledger", "export", str(folder)])
    assert capsys.readouterr().out.strip() == str(folder / "ledger.csv")
    assert (folder / "ledger.csv").is_file()


@pytest.mark.parametrize("form", ["csv", "optuna"])
def test_a_folder_that_is_not_there_is_named(folder, tmp_path, capsys, form):
    out = tmp_path / "nowhere" / "x"
    with pytest.raises(SystemExit, match="2"):
        main(["ledger", "export", str(folder), "--format", form, "--out", str(out)])
    assert capsys.readouterr().err.startswith(f"pocketunet: {out}: there is no folder {out.parent}; make it")


@pytest.mark.parametrize("form", ["csv", "parquet", "optuna"])
def test_a_file_that_cannot_be_written_is_one_message(folder, capsys, form):
    with pytest.raises(SystemExit, match="2"):
        main(["ledger", "export", str(folder), "--format", form, "--out", "/proc/export"])
    error = capsys.readouterr().err
    assert error.startswith("pocketunet: ")
    assert "/proc/export" in error


@pytest.mark.parametrize("form", ["csv", "parquet", "optuna"])
def test_a_file_that_exists_is_not_overwritten(folder, tmp_path, capsys, form):
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(SystemExit, match="2"):
        main(["ledger", "export", str(folder), "--format", form, "--out", str(tmp_path / "mine")])
    assert "this file exists; choose another --out" in capsys.readouterr().err
    assert (tmp_path / "mine").read_text() == "precious"


def test_what_cannot_be_exported_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["ledger", "export", str(tmp_path)])
    assert "there is no ledger" in capsys.readouterr().err
