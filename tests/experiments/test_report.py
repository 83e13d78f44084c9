"""The report: one file that fetches nothing, says what the ledger says, and shows text from files as text."""

import collections
import dataclasses
import errno
import itertools
import json
import platform
import re

import pytest
import yaml
from experiments_fixtures.run_folders import add_rung, add_side_files, make_run, reopened

from experiments import cli, report
from experiments.errors import InputError
from experiments.front import front_of
from experiments.provenance import read_provenance, record_session
from experiments.report import write_report
from experiments.report_data import objective_pairs, report_data, training_curve
from experiments.report_designs import gene_columns, gene_values
from experiments.report_front import PICTURES_LIMIT
from experiments.run_folder import read_run
from experiments.rungs import levels
from experiments.trust_record import FILE, Tau, TrustRecord
from latency_models.phone_profiles import phone_profile
from objectives import Estimate, get_objective
from search_space import Architecture, Level, Stage, design_names, get_design, get_scale, layer_plan

HOSTILE = '</script><script>alert("x")</script><img src=x onerror=alert(1)>'


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    path = make_run(tmp_path_factory.mktemp("runs") / "digits")
    add_side_files(path)
    return path


@pytest.fixture(scope="module")
def page(run_dir):
    return write_report(run_dir).read_text("utf-8")


def _own_markup(page: str) -> str:
    """The page without its scripts and styles."""
    return re.sub(r"<(script|style)\b.*?</\1>", "", page, flags=re.DOTALL)


def _data(page: str) -> dict:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found
    return json.loads(found[1])


def test_the_page_fetches_nothing(page):
    assert not re.search(r'\b(src|href)="(?!data:)', _own_markup(page))
    assert "<link" not in _own_markup(page)
    assert "default-src 'none'" in page


def test_every_design_has_its_costs_by_stage(page):
    data = _data(page)
    stages, columns = data["stages"], {column["name"]: column["values"] for column in data["objectives"]}
    for row in range(len(data["digests"])):
        counts = [stages[name][row] for name in ("parameters", "macs", "peak_activation_bytes")]
        assert {len(count) for count in counts} == {len(stages["layouts"][stages["of"][row]])}
        assert sum(counts[1]) == pytest.approx(columns["macs"][row], rel=1e-5) or columns["macs"][row] is None


def test_every_member_of_the_front_has_a_row_its_stages_and_a_probability(run_dir, page):
    run, data = read_run(run_dir), _data(page)
    assert len(run.front) > 2
    for member, row in zip(run.front, data["front"], strict=True):
        assert data["digests"][row] == member.digest
        assert f'data-value="{member.digest}"' in page
        plan = layer_plan(member.architecture, get_scale("digits-deploy"))
        for count in ("macs", "parameters"):
            assert sum(data["stages"][count][row]) == getattr(plan, count)
        assert [stage["stage"] for stage in data["stages"]["layouts"][data["stages"]["of"][row]]] == list(plan.stages)
    assert len(data["probability"]) == len(run.front)
    assert all(0 < probability <= 1 for probability in data["probability"])
    assert data["run"] == str(run_dir)
    assert _own_markup(page).count('<span class="badge">knee</span>') == 1
    assert data["digests"][data["knee"]] == run.knee.digest


def test_every_outcome_is_a_row_and_what_failed_has_costs_alone(page):
    data = _data(page)
    assert collections.Counter(data["kinds"]) == {"done": 24, "infeasible": 3, "failed": 2}
    columns = {column["name"]: column["values"] for column in data["objectives"]}
    known = {kind: [row for row, found in enumerate(data["kinds"]) if found == kind] for kind in data["kinds"]}
    assert all(columns["latency_ms"][row] > 0 for row in known["done"] + known["infeasible"])
    assert all(columns["denoising_loss"][row] is None for row in known["infeasible"])
    assert all(columns["macs"][row] > 0 for row in known["failed"])
    assert all(columns["denoising_loss"][row] is None for row in known["failed"])
    assert "2 failed, with costs at most, and are listed below." in page


def test_where_no_samples_are_the_page_says_how_to_draw_them(run_dir, tmp_path, page):
    assert f"pocketunet quality measure {run_dir} --ids front draws and measures them." in page
    empty = write_report(make_run(tmp_path / "run", num_done=0)).read_text("utf-8")
    assert "quality measure" not in _own_markup(empty)


def test_the_front_of_any_two_objectives_is_on_the_page(run_dir):
    run = read_run(run_dir)
    data = report_data(run)
    fronts = {tuple(front["of"]): front for front in data["fronts"]}
    names = ["denoising_loss", "latency_ms", "macs", "parameters"]
    assert set(fronts) == set(itertools.combinations(names, 2))
    own = fronts["denoising_loss", "latency_ms"]
    assert sorted(own["rows"]) == sorted(data["front"])
    assert dict(zip(own["rows"], own["probability"], strict=True)) == dict(zip(data["front"], data["probability"], strict=True))
    counted = fronts["macs", "parameters"]
    assert counted["probability"] == [1.0] * len(counted["rows"])  # both are exact
    digests = {data["digests"][row] for row in counted["rows"]}
    assert digests == {e.digest for e in front_of(run.judged.done, [get_objective("macs"), get_objective("parameters")])}


def test_genes_of_every_row_can_be_read_back(run_dir):
    run = read_run(run_dir)
    data = report_data(run)
    columns = {column["name"]: column for column in data["genes"]}
    assert len(columns) == 1 + 3 * 17 + 8
    for row, evaluation in enumerate(run.judged.done):
        genes = gene_values(evaluation.architecture)
        for name, column in columns.items():
            index = column["of"][row] if "of" in column else 0
            assert genes.get(name) == (None if index < 0 else column["choices"][index])


def test_genes_without_effect_have_no_value():
    plain = Architecture((Level(2, Stage(1), Stage(2)),))
    assert set(gene_values(plain)) == {
        *("num_levels", "level0.width", "down0.num_blocks", "down0.convolution", "down0.transformer_depth"),
        *("up0.num_blocks", "up0.convolution", "up0.transformer_depth", "mid.num_blocks"),
    }
    deep = Architecture((Level(2, Stage(1, transformer_depth=1), Stage(2)),), Stage(1))
    columns = {column["name"]: column for column in gene_columns([plain, deep])}
    assert columns["down0.attention"] == {"name": "down0.attention", "choices": ["self_cross"], "of": [-1, 0]}
    assert columns["mid.num_blocks"] == {"name": "mid.num_blocks", "choices": [0, 1], "of": [0, 1]}
    assert columns["level0.width"] == {"name": "level0.width", "choices": [2]}


def test_published_designs_of_the_space_are_counted_and_not_judged(tmp_path):
    path = make_run(tmp_path / "run", num_done=3, num_failed=0, num_infeasible=0, space="mobile-sd", deploy_scale="sd15")
    page = write_report(path).read_text("utf-8")
    data = _data(page)
    assert [data["published"][row]["name"] for row in data["published"]] == list(design_names())
    row = next(int(row) for row, design in data["published"].items() if design["name"] == "sd15")
    columns = {column["name"]: column["values"] for column in data["objectives"]}
    assert (data["kinds"][row], columns["parameters"][row], columns["latency_ms"][row]) == ("published", 859_521_000, None)
    assert sum(data["stages"]["parameters"][int(row)]) == 859_520_964
    assert ">Stable Diffusion 1.5</button></th><td>402 G</td><td>860 M</td>" in page
    assert page.count("<td>not evaluated</td>") == 2 * len(design_names())


def test_a_published_design_that_the_search_alone_has_judged_can_be_handed_over(tmp_path):
    path = make_run(tmp_path / "run", space="mobile-sd", deploy_scale="sd15")
    design = get_design("sd15")
    with reopened(path) as ledger:
        index, worst = ledger.next_index, read_run(path).judged.done[0]
        ledger.asked(index, design.architecture)
        slow = {name: dataclasses.replace(x, value=100 * x.value, low=None, high=None) for name, x in worst.objectives.items()}
        given = {"index": index, "digest": design.architecture.digest, "architecture": design.architecture}
        ledger.record(dataclasses.replace(worst, **given, objectives=slow))
    add_rung(path)
    published = {x["name"]: x["is_judged"] for x in report_data(read_run(path))["published"].values()}
    assert [name for name, is_judged in published.items() if is_judged] == ["sd15"]


def test_what_was_found_of_a_published_design_that_is_not_on_the_front_is_shown(tmp_path):
    path = make_run(tmp_path / "run", num_done=2, num_failed=0, num_infeasible=0, space="mobile-sd", deploy_scale="sd15")
    design = get_design("sd15")
    with reopened(path) as ledger:
        ledger.asked(ledger.next_index, design.architecture)
        of_latency = {"latency_ms": Estimate(1912.0, low=1900.0, high=1930.0, n=1)}
        before, done = ledger.next_index - 1, read_run(path).ledger.evaluations[0]
        given = {"index": before, "digest": design.architecture.digest, "architecture": design.architecture}
        ledger.record(dataclasses.replace(done, **given, status="infeasible", objectives=of_latency, reason="too slow"))
    page = write_report(path).read_text("utf-8")
    row = re.search(r">Stable Diffusion 1\.5</button></th>(.*?)</tr>", page)[1]
    assert (row.count("1,912"), row.count("not evaluated")) == (1, 1)


def test_no_published_design_is_in_the_space_of_digits(page):
    assert _data(page)["published"] == {}
    assert 'id="published"' not in page


def test_a_published_design_that_was_evaluated_is_one_row(tmp_path):
    path = make_run(tmp_path / "run", num_done=2, space="mobile-sd", deploy_scale="sd15")
    run = read_run(path)
    sd15 = get_design("sd15").architecture
    first = dataclasses.replace(run.ledger.events[1], architecture=sd15, digest=sd15.digest)
    events = (dataclasses.replace(run.ledger.events[0], architecture=sd15), first, *run.ledger.events[2:])
    ledger = dataclasses.replace(run.ledger, events=events)
    run = dataclasses.replace(run, levels=tuple(levels(ledger, run.objectives)))
    data = report_data(run)
    assert data["digests"].count(sd15.digest) == 1
    row = data["digests"].index(sd15.digest)
    assert data["published"][row]["name"] == "sd15"
    assert data["kinds"][row] == first.status


def test_grids_of_the_front_are_inlined_up_to_a_limit(tmp_path):
    path = make_run(tmp_path / "run")
    members = [member.digest for member in read_run(path).front]
    folder = path / "quality" / "q0"
    folder.mkdir(parents=True)
    for digest, size in zip(members, [10, PICTURES_LIMIT, *[10] * len(members)], strict=False):
        (folder / f"{digest}.png").write_bytes(b"\x89PNG" + bytes(size))
    (folder / "0123456789abcdef.png").write_bytes(b"\x89PNG")  # of no member
    page = write_report(path).read_text("utf-8")
    assert page.count('alt="Samples of') == len(members) - 1
    assert f"Not in here, to keep this page small: quality/q0/{members[1]}.png." in page


def test_how_it_was_made_is_told(tmp_path):
    path = make_run(tmp_path / "run", num_done=3)
    assert "Nothing says under which versions" in write_report(path).read_text("utf-8")
    record_session(path)
    record_session(path)
    page = write_report(path).read_text("utf-8")
    assert f"python {platform.python_version()}" in page
    assert page.count("<p>Since ") == 1  # the second is like the first
    assert "deploy_scale: digits-deploy" in page
    assert len(read_provenance(path).sessions) == 2
    (path / "provenance.json").write_text("{}x")
    with pytest.raises(InputError, match=r"provenance\.json: this is no JSON file"):
        write_report(path)


def test_the_trust_score_stands_where_it_was_measured(tmp_path):
    path = make_run(tmp_path / "run", num_done=3)
    assert "tau" not in _own_markup(write_report(path).read_text("utf-8"))
    tau = {"denoising_loss": Tau(value=0.6, low=0.4, high=0.8, n=20), "macs": None, "parameters": None}
    record = TrustRecord(
        search_fingerprint="f0", fingerprint="t0", num=20, num_left_out=0, num_pairs=30, num_seeds=1, num_steps=100,
        num_samples=64, tau=tau, tau_equal_cost=tau, between_seeds=None, architectures=[],
    )  # fmt: skip
    (path / FILE).parent.mkdir()
    (path / FILE).write_text(record.model_dump_json())
    page = write_report(path).read_text("utf-8")
    assert "<dt>Kendall&#x27;s tau of denoising_loss with the truth</dt><dd>0.60 [0.40, 0.80]</dd>" in page


def test_what_keeps_the_limits_is_counted(tmp_path):
    path = make_run(tmp_path / "run", limits={"latency_ms": 8.0})
    run = read_run(path)
    known = [e.objectives["latency_ms"].value for e in run.ledger.evaluations if e.objectives]
    page = write_report(path).read_text("utf-8")
    assert f"latency_ms at most 8.00 ms: {sum(value > 8 for value in known)} of 27 break it." in page
    assert "<dt>keep the limits, of those looked at</dt><dd>89 %</dd>" in page


def test_counts_hypervolume_and_held_out_error_are_on_the_page(page):
    assert "<dd>24</dd>" in page
    assert "the predictor is off by 3.1 % on average" in page
    assert len(_data(page)["hypervolume"]["history"]) == 24
    assert {"hypervolume", "supernet", "scatter"} <= set(re.findall(r'id="(\w+)"', page))
    assert "that ranks carry over is an assumption" in page


def test_quality_over_latency_is_the_first_figure(run_dir):
    data = report_data(read_run(run_dir))
    assert data["axes"] == {"x": "latency_ms", "y": "denoising_loss"}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["denoising_loss"], [("denoising_loss", "denoising_loss")]),
        (["macs", "parameters"], [("macs", "parameters")]),
        (["macs", "kid_classifier", "latency_ms"], [("latency_ms", "kid_classifier"), ("macs", "kid_classifier")]),
    ],
)
def test_pairs_that_are_worth_a_scatter(names, expected):
    pairs = objective_pairs([get_objective(name) for name in names])
    assert [(pair["x"], pair["y"]) for pair in pairs] == expected


def test_a_rung_replaces_what_the_search_compared(tmp_path):
    path = make_run(tmp_path / "run")
    add_rung(path)
    page = write_report(path).read_text("utf-8")
    data = _data(page)
    assert data["axes"] == {"x": "latency_ms", "y": "frechet_classifier"}
    assert collections.Counter(data["kinds"]) == {"done": 6, "infeasible": 3, "failed": 2}
    assert "Every architecture that was judged by frechet_classifier of 128 samples;" in page
    told = "24 were judged by denoising_loss, 6 of them by frechet_classifier of 128 samples. The front is that of"
    assert told in _own_markup(page)
    assert "That took 40 % of the time" in page
    assert "<dd>24</dd>" in page


def test_failures_are_counted_alike_on_all_of_a_page(tmp_path):
    path = make_run(tmp_path / "run", num_failed=2)
    add_rung(path, num_left=1)
    with reopened(path) as ledger:
        [left] = read_run(path).levels[1].left
        index = ledger.next_index
        ledger.asked(index, left.architecture, rung="f1")
        ledger.record(dataclasses.replace(left, index=index, status="failed", objectives={}, reason="out of memory"))
    page = write_report(path).read_text("utf-8")
    assert "3 evaluations failed (9.4 %)." in page  # of 24 that were done in the search, 5 on the rung, and 3
    assert re.search(r"<dt>failed</dt>\s*<dd>3</dd>|<dd>3</dd>\s*<dt>failed</dt>", page)
    assert collections.Counter(_data(page)["kinds"])["failed"] == 3


def test_text_from_files_stays_text(tmp_path):
    path = make_run(tmp_path / "run", num_done=4, reason=HOSTILE)
    settings = yaml.safe_load((path / "sweep.yaml").read_text())
    (path / "sweep.yaml").write_text(yaml.safe_dump({**settings, "name": HOSTILE, "proxy_scale": HOSTILE}))
    page = write_report(path).read_text("utf-8")
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert "&lt;script&gt;alert" in page
    assert HOSTILE in _data(page)["reasons"].values()


def test_a_run_with_nothing_done_says_why(tmp_path):
    path = make_run(tmp_path / "run", num_done=0, num_failed=2, num_infeasible=0, reason="FloatingPointError: loss is nan")
    page = write_report(path).read_text("utf-8")
    assert "No architecture is done, so there is no front. The first failure: FloatingPointError: loss is nan" in page
    assert 'id="scatter"' not in page


def test_a_missing_predictor_is_a_warning(tmp_path):
    page = write_report(make_run(tmp_path / "run", num_done=3)).read_text("utf-8")
    assert '<li class="warning">Latency comes without a held-out error' in page


def test_a_predictor_that_was_not_measured_says_so(tmp_path):
    path = make_run(tmp_path / "run", num_done=3)
    phone_profile("Galaxy S24").save(path / "latency")
    page = write_report(path).read_text("utf-8")
    assert "predicted for Galaxy S24 (anchored on 2 published figures, not measured). On 31 published figures" in page


def test_samples_are_inlined(run_dir):
    (run_dir / "samples.png").write_bytes(b"\x89PNG rest")
    page = write_report(run_dir).read_text("utf-8")
    (run_dir / "samples.png").unlink()
    assert 'src="data:image/png;base64,iVBORyByZXN0"' in page


def test_a_run_that_may_only_be_read_asks_for_another_file(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EACCES, "permission denied")

    monkeypatch.setattr(report, "write_whole", refuse)
    with pytest.raises(InputError, match=r"report\.html: permission denied; choose another file with --out"):
        write_report(make_run(tmp_path / "run", num_done=3))


def test_a_damaged_side_file_is_named(tmp_path):
    path = make_run(tmp_path / "run", num_done=3)
    (path / "latency").mkdir()
    (path / "latency" / "predictor.json").write_text("{")
    with pytest.raises(InputError, match=r"predictor\.json: this is no JSON file"):
        write_report(path)
    assert not (path / "report.html").exists()


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        ([{"step": 0, "loss": 1.0}, {"step": 5, "loss": 0.5}], {"step": [0, 5], "series": {"loss": [1.0, 0.5]}}),
        (
            [{"loss": 3.0}, {"step": float("nan"), "loss": 2.0}, {"step": 5, "loss": 0.5}],
            {"step": [5], "series": {"loss": [0.5]}},
        ),
        ({"note": "no columns"}, None),
        ([{"loss": 1.0}], None),
        ([], None),
        (None, None),
    ],
)
def test_training_curves_of_whole_and_of_damaged_files(history, expected):
    assert training_curve(history) == expected


def test_a_report_of_a_run_that_may_only_be_read_goes_elsewhere(run_dir, tmp_path, capsys):
    before = {file: file.read_bytes() for file in run_dir.rglob("*") if file.is_file()}
    with pytest.raises(SystemExit) as ended:
        cli.main(["report", str(run_dir), "--out", str(tmp_path / "page.html")])
    assert not ended.value.code
    assert capsys.readouterr().out.strip() == str(tmp_path / "page.html")
    assert _data((tmp_path / "page.html").read_text("utf-8"))["knee"] is not None
    assert {file: file.read_bytes() for file in run_dir.rglob("*") if file.is_file()} == before


def test_a_front_of_one_says_why(tmp_path):
    page = write_report(make_run(tmp_path / "run", num_done=1, num_failed=0, num_infeasible=0)).read_text("utf-8")
    assert "One design alone was evaluated, so it is all of the front" in page
