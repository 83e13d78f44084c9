"""Choosing a design: what each way of saying it means, and what is said of how sure it is."""

import json
import re

import numpy as np
import pytest
from experiments_fixtures.run_folders import add_rung, make_run
from toy_problem import architectures

from experiments import cli
from experiments.choosing import choose, narrowed, objective_named, told_apart
from experiments.errors import InputError
from experiments.evaluation import Evaluation
from experiments.ledger import Ledger
from experiments.run_folder import read_run
from objectives import Estimate


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return read_run(make_run(tmp_path_factory.mktemp("runs") / "digits", num_done=60))


def made_run(path, rows):
    """A run of (latency with half its interval, loss with half its interval), in this order."""
    path.mkdir()
    with Ledger.open(path / "ledger.jsonl", header={"objectives": ["denoising_loss", "latency_ms"]}) as ledger:
        for index, (architecture, (latency, loss)) in enumerate(zip(architectures(len(rows)), rows, strict=True)):
            ledger.asked(index, architecture)
            numbers = {"latency_ms": latency, "denoising_loss": loss}
            estimates = {name: Estimate(v, low=v - h, high=v + h) for name, (v, h) in numbers.items()}
            ledger.record(Evaluation(index, architecture.digest, architecture, "done", estimates, "f0"))
    return read_run(path)


def value(choice, name):
    return choice.evaluation.objectives[name].value


def test_best_is_the_least_of_all_that_keep_the_bounds_on_the_front_or_not(run):
    losses = {e.digest: e.objectives["denoising_loss"].value for e in run.judged.done}
    assert choose(run, "best quality").evaluation.digest == min(losses, key=losses.__getitem__)
    small = [e for e in run.judged.done if e.objectives["parameters"].value <= 2e6 and e.objectives["latency_ms"].value <= 20]
    expected = min(small, key=lambda e: e.objectives["denoising_loss"].value)
    assert choose(run, "best quality with params <= 2 M and latency_ms <= 20").evaluation == expected
    assert choose(run, "best params") == choose(run, "best parameters")
    assert choose(run, "best macs").evaluation == min(run.judged.done, key=lambda e: e.objectives["macs"].value)


def test_best_says_which_others_cannot_be_told_from_it(tmp_path):
    """The third is 0.3 worse with half-intervals of 0.3 and 0.3, so 0.42 for the difference; the second is 0.5 worse."""
    rows = [((9, 0), (1.0, 0.3)), ((2, 0), (1.5, 0.3)), ((4, 0), (1.3, 0.3)), ((6, 0), (1.2, 0.3))]
    run = made_run(tmp_path / "run", rows)
    digests = [e.digest for e in run.judged.done]
    choice = choose(run, "best quality")
    assert choice.evaluation.digest == digests[0]
    told = f"2 other designs cannot be told from it in denoising_loss; {digests[2]} has least latency_ms, 4.00 ms for 9.00 ms"
    assert choice.notes == (told,)
    (note,) = choose(run, "best quality with latency_ms <= 5").notes
    assert (
        note
        == f"one other design cannot be told from it in denoising_loss; {digests[1]} has least latency_ms, 2.00 ms for 4.00 ms"
    )
    assert choose(run, "best quality with latency_ms <= 2").notes == ()


def test_a_bound_that_the_interval_breaks_is_said(tmp_path):
    run = made_run(tmp_path / "run", [((4.9, 0.3), (1.0, 0.0)), ((9, 0.3), (2.0, 0.0))])
    assert choose(run, "best quality with latency_ms <= 5").notes == (
        "the interval of its latency_ms reaches 5.20 ms, beyond the bound",
    )
    assert choose(run, "best quality with latency_ms <= 5.2").notes == ()


def test_the_knee_is_the_runs_and_says_where_chance_may_move_it(tmp_path, run):
    assert choose(run, "knee").evaluation == run.knee
    sharp = made_run(tmp_path / "sharp", [((1, 0.01), (9, 0.01)), ((2, 0.01), (2, 0.01)), ((9, 0.01), (1, 0.01))])
    assert choose(sharp, "knee").notes == ()
    blurred = made_run(
        tmp_path / "blurred", [((1, 0.0), (9, 0.0)), ((2, 1.5), (2, 1.5)), ((2.2, 1.5), (1.9, 1.5)), ((9, 0), (1, 0))]
    )
    (note,) = choose(blurred, "knee").notes
    shares = [int(number) for number in re.findall(r"in (\d+) %", note)]
    assert len(shares) == 3  # its own, and the next two
    assert 30 < shares[0] < 70
    assert 90 < sum(shares) <= 102
    assert choose(blurred, "knee").notes == (note,)


def test_a_design_that_is_dominated_by_a_hair_may_be_the_knee_too(tmp_path):
    rows = [((1, 0), (9, 0)), ((2, 1), (2, 1)), ((2.01, 1), (2.01, 1)), ((9, 0), (1, 0))]
    run = made_run(tmp_path / "run", rows)
    assert len(run.front) == 3
    (note,) = choose(run, "knee").notes
    assert f"{run.judged.done[2].digest} in " in note


def test_nearest_prefers_what_is_better_than_the_wish(tmp_path):
    rows = [((1, 0), (10.0, 0)), ((4, 0), (4.0, 0)), ((10, 0), (1.0, 0))]
    run = made_run(tmp_path / "run", rows)
    choice = choose(run, "nearest latency_ms = 5 and quality = 5")
    assert value(choice, "latency_ms") == 4
    assert choice.notes == ("it has latency_ms 4.00 ms for 5.00 ms, denoising_loss 4.000 for 5.000",)
    assert value(choose(run, "nearest latency_ms = 2"), "latency_ms") == 1
    assert value(choose(run, "nearest quality = 0.5 and latency_ms = 10"), "latency_ms") == 10


def test_a_digest_or_its_beginning(run):
    evaluation = run.front[0]
    assert choose(run, evaluation.digest).evaluation == evaluation
    assert choose(run, evaluation.digest[:12]).evaluation == evaluation
    failed = run.with_status("failed")[0]
    assert choose(run, failed.digest).evaluation == failed


def test_a_digest_means_its_evaluation_on_the_highest_rung(tmp_path):
    add_rung(make_run(tmp_path / "digits"))
    run = read_run(tmp_path / "digits")
    judged = run.judged.done[0]
    assert choose(run, judged.digest).evaluation == judged
    assert "frechet_classifier" in choose(run, "best quality").evaluation.objectives


@pytest.mark.parametrize(
    ("pick", "told"),
    [
        ("zzz", "zzz: no architecture of .* has a digest that begins so; give knee, a digest"),
        ("ffffffff", "has a digest that begins so; the nearest are [0-9a-f]{16}, [0-9a-f]{16}, [0-9a-f]{16}; give knee"),
        ("", "no architecture of .* has a digest"),
        ("2", "2: 4 architectures of .* have a digest that begins so: 2d74991428a19658, .*; give more of it"),
        ("best quality with latency_ms <= 1e999", "'1e999' is no number"),
        ("best speed", "'speed' is no objective that .* recorded; recorded are denoising_loss, latency_ms, macs, parameters"),
        (
            "best quality with latency_ms <= 1",
            "no design of .* has latency_ms <= 1.00 ms; nearest is 993f35921c2f9c33 with 6.01 ms",
        ),
        ("best quality with latency_ms <= 9 and params <= 1 M", "parameters <= 1 M and keeps the bounds before; nearest is"),
        ("best quality with latency_ms < 5 miles", "unit 'miles' is not known here"),
        ("best quality with macs <= 50% of nothing", "no published design 'nothing'"),
        ("best quality with frechet_classifier <= 5", "'frechet_classifier' is no objective that"),
        ("nearest latency_ms <= 5", "'latency_ms <= 5' is no wish; write such as 'latency_ms = 5'"),
        ("nearest latency_ms 5", "is no wish"),
        ("nearest latency_ms == 5", "'latency_ms == 5' is no wish"),
        ("nearest latency_ms = 5, quality = 1", "latency_ms"),
    ],
)
def test_what_fits_nothing_is_refused(run, pick, told):
    with pytest.raises(InputError, match=told):
        choose(run, pick)


def test_a_digest_with_a_slip_names_the_nearest(run):
    digest = run.front[0].digest
    slipped = f"{digest[:8]}{'0' if digest[8] != '0' else '1'}{digest[9:]}"
    with pytest.raises(InputError, match=f"the nearest are {digest}"):
        choose(run, slipped)


def test_an_empty_front_has_no_choice(tmp_path):
    run = read_run(make_run(tmp_path / "run", num_done=0, num_failed=1, num_infeasible=0))
    with pytest.raises(InputError, match="the front is empty, so it has no knee"):
        choose(run, "knee")
    with pytest.raises(InputError, match="recorded are none"):
        choose(run, "best quality")


def test_the_front_within_bounds_is_that_of_what_keeps_them(run):
    bound = float(np.median([e.objectives["latency_ms"].value for e in run.judged.done]))
    within = narrowed(run, [f"latency_ms >= {bound}"])
    assert within.front
    assert all(e.objectives["latency_ms"].value >= bound for e in within.front)
    assert not {e.digest for e in within.front} <= {e.digest for e in run.front}  # what the rest dominated comes forward
    assert within.knee in within.front
    with pytest.raises(InputError, match="no design of .* has latency_ms >= 1,000,000 ms; nearest is [0-9a-f]{16} with"):
        narrowed(run, ["latency_ms >= 1e6"])


def test_quality_stands_for_the_first_quality(run):
    assert objective_named(run, "quality").name == "denoising_loss"


def test_told_apart_is_the_interval_of_the_difference():
    one, near, far = (Estimate(v, low=v - 0.3, high=v + 0.3) for v in (1.0, 1.4, 1.43))
    assert not told_apart(one, near)
    assert told_apart(one, far)
    assert told_apart(Estimate.exact(1.0), Estimate.exact(1.1))


def test_the_command_narrows_sorts_and_refuses(tmp_path, capsys):
    run = make_run(tmp_path / "run", num_done=60)

    def front(*options):
        with pytest.raises(SystemExit) as ended:
            cli.main(["front", str(run), *options])
        return ended.value.code or 0, capsys.readouterr()

    code, said = front("--where", "latency_ms <= 20", "--where", "params <= 3 M", "--sort", "quality", "--json")
    members = json.loads(said.out)["front"]
    losses = [member["objectives"]["denoising_loss"]["value"] for member in members]
    assert (code, losses) == (0, sorted(losses))
    assert all(member["objectives"]["parameters"]["value"] <= 3e6 for member in members)
    for options in (("--where", "latency_ms <= 1"), ("--where", "speed <= 1"), ("--sort", "speed")):
        code, said = front(*options)
        assert (code, said.out, said.err.count("\n")) == (2, "", 1)
