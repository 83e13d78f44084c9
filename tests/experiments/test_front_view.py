"""The front in the terminal and as JSON."""

import dataclasses
import io
import json

import numpy as np
import pytest
from experiments_fixtures.run_folders import add_rung, make_run
from rich.console import Console
from toy_problem import architectures, evaluation, point

from experiments.choosing import narrowed
from experiments.errors import InputError
from experiments.front_view import front_json, print_front
from experiments.ledger import Ledger
from experiments.run_folder import read_run
from experiments.trust_record import FILE, Tau, TrustRecord
from objectives import Estimate, get_objective


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return read_run(make_run(tmp_path_factory.mktemp("runs") / "digits"))


def _printed(run, *, width=200, **settings) -> str:
    console = Console(file=io.StringIO(), width=width)
    print_front(run, console=console, **settings)
    return console.file.getvalue()


def test_the_table_is_sorted_by_latency_and_marks_the_knee_once(run):
    lines = _printed(run).splitlines()
    rows = [line for line in lines if any(member.digest in line for member in run.front)]
    latencies = [member.objectives["latency_ms"].value for member in run.front]
    assert latencies == sorted(latencies)
    assert [line.strip("*~ ").split()[0] for line in rows] == [member.digest for member in run.front]
    marked = [line for line in rows if line.startswith("*")]
    assert len(marked) == 1
    assert run.knee.digest in marked[0]


def test_members_no_better_for_sure_than_a_cheaper_one_are_marked(run):
    """Losses have intervals of 1.5 %, so that two may be 2.1 % apart and not be told apart."""
    losses, marked = [], []
    for line in _printed(run).splitlines():
        if member := next((e for e in run.front if e.digest in line), None):
            loss = member.objectives["denoising_loss"].value
            difference = [np.hypot(0.015 * loss, 0.015 * other) - (other - loss) for other in losses]
            assert ("~" in line) == any(x >= 0 for x in difference)
            marked.append("~" in line)
            losses.append(loss)
    assert 0 < sum(marked) < len(marked)
    assert "by the intervals, a cheaper one may be no worse; `quality measure` tells finer" in _printed(run)


def test_of_two_that_cost_the_same_neither_is_a_cheaper_one(tmp_path):
    rows = {"denoising_loss": (1.0, 1.1), "latency_ms": (5.0, 5.0), "parameters": (2e6, 1e6)}
    with Ledger.open(
        tmp_path / "ledger.jsonl", header={"objectives": ["denoising_loss", "latency_ms", "parameters"]}
    ) as ledger:
        for index, architecture in enumerate(architectures(2)):
            ledger.asked(index, architecture)
            numbers = {name: Estimate(x[index], x[index] * 0.8, x[index] * 1.2) for name, x in rows.items()}
            ledger.record(dataclasses.replace(evaluation(index, architecture), objectives=numbers))
    first, second = (line for line in _printed(read_run(tmp_path)).splitlines() if "5.00 ms" in line)
    assert "~" in (first if "2 M" in first else second)  # it has more parameters for no better loss
    assert "~" not in (first if "1 M" in first else second)


def test_the_order_may_be_that_of_any_objective(run):
    by_size = sorted(run.front, key=lambda e: e.objectives["parameters"].value)
    printed = _printed(run, order=get_objective("parameters"))
    assert [next(word for word in line.split() if len(word) == 16) for line in printed.splitlines()[2 : 2 + len(by_size)]] == [
        e.digest for e in by_size
    ]
    assert [x["digest"] for x in front_json(run, order=get_objective("parameters"))["front"]] == [e.digest for e in by_size]


def test_a_front_within_bounds_says_so(run):
    within = narrowed(run, ["latency_ms <= 20", "params >= 1 M"])
    printed = _printed(within)
    assert f"{len(within.front)} on the front of those with latency_ms <= 20.0 ms and parameters >= 1 M" in printed
    assert f"--pick {within.knee.digest} --out {within.knee.digest}" in printed
    assert front_json(within)["where"][0] == {"name": "latency_ms", "relation": "<=", "value": 20.0}


def test_digests_are_whole_on_a_narrow_terminal(run):
    assert all(member.digest in _printed(run, width=60) for member in run.front)


def test_counts_stand_above_the_table(run):
    assert "24 done, 3 infeasible, 2 failed" in _printed(run)


def test_how_far_to_trust_the_ranking_stands_below_the_table(tmp_path):
    path = make_run(tmp_path / "run")
    assert f"Nobody has looked how well the search ranks; this does: pocketunet quality trust {path}" in _printed(
        read_run(path)
    )
    assert front_json(read_run(path))["trust"] is None
    names = ("denoising_loss", "macs")
    taus = dict(zip(names, (Tau(value=0.6, low=0.4, high=0.8, n=8), Tau(value=0.5, low=0.2, high=0.7, n=8)), strict=True))
    chance = {name: tau.model_copy(update={"low": -0.1}) for name, tau in taus.items()}
    record = TrustRecord(
        search_fingerprint=read_run(path).ledger.header.get("fingerprint"), fingerprint="0" * 16, num=8, num_left_out=0,
        num_pairs=12, num_seeds=1, num_steps=10, num_samples=40, tau=taus, tau_equal_cost=chance, between_seeds=None,
        architectures=[],
    )  # fmt: skip
    (path / FILE).parent.mkdir()
    (path / FILE).write_text(record.model_dump_json())
    printed = _printed(read_run(path))
    assert "Kendall's tau with the truth, of denoising_loss 0.60 [0.40, 0.80], and 0.60 [-0.10, 0.80] among" in printed
    assert "Among networks of about equal MACs, denoising_loss may rank by chance" in printed
    assert front_json(read_run(path))["trust"]["tau"]["macs"]["value"] == 0.5


def test_json_holds_what_programs_need(run):
    record = json.loads(json.dumps(front_json(run), allow_nan=False))
    assert (record["num_done"], record["num_failed"], record["num_infeasible"]) == (24, 2, 3)
    assert {entry["digest"] for entry in record["front"]} == {member.digest for member in run.front}
    assert record["knee"] in {entry["digest"] for entry in record["front"]}
    assert set(record["front"][0]["objectives"]["latency_ms"]) == {"value", "low", "high", "n"}


def test_the_front_of_a_rung_holds_what_was_judged_on_it(tmp_path):
    add_rung(make_run(tmp_path / "digits"))
    run = read_run(tmp_path / "digits")
    printed = _printed(run)
    assert "24 done, 3 infeasible, 2 failed" in printed
    assert "judged by frechet_classifier of 128 samples" in printed
    assert "rung      frechet_classifier of 128 samples: 6 done, 0 failed, 0 left of 6 promoted" in printed
    assert "denoising_loss" not in printed
    record = front_json(run)
    assert [x["name"] for x in record["objectives"]] == ["frechet_classifier", "latency_ms"]
    assert {x["fingerprint"] for x in record["front"]} == {"f1"}
    assert len(record["hypervolume"]["history"]) == 24  # of the search, which alone can go on
    assert (record["num_done"], [x["num_done"] for x in record["rungs"]]) == (24, [24, 6])


def test_a_front_of_one_says_why(tmp_path):
    assert "One design alone was evaluated" in _printed(read_run(make_run(tmp_path / "a", num_done=1)))
    run = read_run(make_run(tmp_path / "b"))
    fastest = min(run.judged.done, key=lambda e: e.objectives["latency_ms"].value)
    within = narrowed(run, [f"latency_ms <= {fastest.objectives['latency_ms'].value}"])
    assert "One of 24 designs keeps the bounds, so it is all of the front." in _printed(within)
    with Ledger.open(tmp_path / "ledger.jsonl", header={"objectives": ["denoising_loss", "macs"]}) as ledger:
        for index, architecture in enumerate(architectures(3)):
            ledger.asked(index, architecture)
            numbers = {name: Estimate.exact(1.0 + index) for name in ("denoising_loss", "macs")}
            ledger.record(dataclasses.replace(evaluation(index, architecture), objectives=numbers))
    assert "One of 3 designs is the best in denoising_loss and macs alike" in _printed(read_run(tmp_path))
    assert "One " not in _printed(run)


def test_an_empty_front_says_why(tmp_path):
    run = read_run(make_run(tmp_path / "a", num_done=0, num_failed=0, num_infeasible=2, reason="latency_ms is 51 ms"))
    printed = _printed(run)
    assert "No architecture keeps the limits, so there is no front. Nearest to them:" in printed
    assert printed.count(": latency_ms is 51 ms") == 2
    assert front_json(run)["front"] == []


def test_where_nothing_is_feasible_the_least_violating_are_listed(tmp_path):
    path = tmp_path / "ledger.jsonl"
    with Ledger.open(path, header={"objectives": ["denoising_loss", "macs"], "limits": {"macs": 1e-6}}) as ledger:
        for index, architecture in enumerate(architectures(9)):
            ledger.asked(index, architecture)
            ledger.record(evaluation(index, architecture, status="infeasible", reason=f"macs {point(architecture)[1]:.9f}"))
    listed = [float(line.rpartition(" ")[2]) for line in _printed(read_run(tmp_path)).splitlines() if ": macs 0." in line]
    assert listed == pytest.approx(sorted(point(x)[1] for x in architectures(9))[:5])


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(NotADirectoryError, match="there is no such run folder; `pocketunet sweep` makes one"):
        read_run(tmp_path / "missing")
    with pytest.raises(FileNotFoundError, match="there is no ledger"):
        read_run(tmp_path)


def test_a_damaged_sweep_yaml_is_named(tmp_path):
    path = make_run(tmp_path / "run", num_done=2)
    (path / "sweep.yaml").write_text("a: [")
    with pytest.raises(InputError, match=r"sweep\.yaml: this is no YAML file"):
        read_run(path)
    (path / "sweep.yaml").write_text("- a")
    with pytest.raises(InputError, match=r"sweep\.yaml: a sweep must be a mapping of keys, got list"):
        read_run(path)
