"""The report: one file that fetches nothing, says what the ledger says, and shows text from files as text."""

import collections
import json
import re

import pytest
import yaml
from experiments_fixtures.run_folders import add_rung, add_side_files, make_run

from experiments.errors import InputError
from experiments.report import write_report
from experiments.report_data import report_data, training_curve
from experiments.run_folder import read_run
from latency_models.phone_profiles import phone_profile

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


def test_every_member_of_the_front_has_a_row_a_picture_and_its_command(run_dir, page):
    run = read_run(run_dir)
    assert len(run.front) > 2
    for member in run.front:
        assert f'data-value="{member.digest}"' in page
        assert f"pocketunet handoff {run_dir} --pick {member.digest} --out {member.digest}" in page
    assert _own_markup(page).count("<pre>") == len(run.front)
    assert _own_markup(page).count('<span class="badge">knee</span>') == 1


def test_points_are_shown_as_what_they_are(run_dir, page):
    run = read_run(run_dir)
    kinds = [point["kind"] for point in _data(page)["points"]]
    assert kinds.count("infeasible") == 3
    assert kinds.count("knee") == 1
    assert kinds.count("front") == len(run.front) - 1
    assert kinds.count("dominated") == 24 - len(run.front)
    assert len(kinds) == 27  # the two that failed are no points


def test_counts_hypervolume_and_held_out_error_are_on_the_page(page):
    assert "<dd>24</dd>" in page
    assert "the predictor is off by 3.1 % on average" in page
    assert len(_data(page)["hypervolume"]["history"]) == 24
    assert {"hypervolume", "supernet", "scatters"} <= set(re.findall(r'id="(\w+)"', page))
    assert "that ranks carry over is an assumption" in page


def test_quality_over_latency_is_the_first_figure(run_dir):
    data = report_data(read_run(run_dir))
    assert data["pairs"][0] == {"x": "latency_ms", "y": "denoising_loss"}


def test_a_rung_replaces_what_the_search_compared(tmp_path):
    path = make_run(tmp_path / "run")
    add_rung(path)
    page = write_report(path).read_text("utf-8")
    data = _data(page)
    assert data["pairs"][0] == {"x": "latency_ms", "y": "frechet_classifier"}
    kinds = collections.Counter(point["kind"] for point in data["points"])
    assert (kinds["infeasible"], sum(kinds.values())) == (3, 9)
    assert "Every architecture that was judged by frechet_classifier of 128 samples." in page
    told = "24 were judged by denoising_loss, 6 of them by frechet_classifier of 128 samples. The front is that of"
    assert told in _own_markup(page)
    assert "That took 40 % of the time" in page
    assert "<dd>24</dd>" in page


def test_text_from_files_stays_text(tmp_path):
    path = make_run(tmp_path / "run", num_done=4, reason=HOSTILE)
    settings = yaml.safe_load((path / "sweep.yaml").read_text())
    (path / "sweep.yaml").write_text(yaml.safe_dump({**settings, "name": HOSTILE, "proxy_scale": HOSTILE}))
    page = write_report(path).read_text("utf-8")
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert "&lt;script&gt;alert" in page
    assert any("&lt;img" in point["hover"] for point in _data(page)["points"])


def test_a_run_with_nothing_done_says_why(tmp_path):
    path = make_run(tmp_path / "run", num_done=0, num_failed=2, num_infeasible=0, reason="FloatingPointError: loss is nan")
    page = write_report(path).read_text("utf-8")
    assert "No architecture is done, so there is no front. The first failure: FloatingPointError: loss is nan" in page
    assert 'id="scatters"' not in page


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
        ({"step": [0, 5], "loss": [1.0, 0.5]}, {"step": [0, 5], "series": {"loss": [1.0, 0.5]}}),
        ({"note": "no columns"}, None),
        ([{"loss": 1.0}], None),
        ([], None),
        (None, None),
    ],
)
def test_training_curves_of_both_forms(history, expected):
    assert training_curve(history) == expected
