"""The commands about phones that were not measured: `latency anchor` and `latency options`, and a prediction by a profile."""

import json
import re

import numpy as np
import pytest

from experiments.cli import main
from experiments.latency import Costs, held_out_text
from latency_models.kernel_options import OPTIONS
from latency_models.predictor import Predictor
from search_space import get_scale, get_space

LABEL = "anchored on 2 published figures, not measured"


def run(capsys, *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["latency", *arguments])
    printed = capsys.readouterr()
    return int(ended.value.code or 0), printed.out, printed.err


@pytest.fixture
def anchored(capsys, tmp_path):
    code, out, _ = run(capsys, "anchor", "Galaxy S24", "--out", str(tmp_path / "P"))
    assert code == 0
    return tmp_path / "P", out


def test_a_profile_says_what_it_rests_on(anchored):
    _, out = anchored
    assert out.startswith(f"Galaxy S24 ({LABEL})")
    assert re.search(r"^SD 1.5 +anchor +512 +1 +79.1 +\d+\.\d$", out, re.MULTILINE)
    assert re.search(r"^ControlNet branch of SD 1.5 +no anchor: not a whole UNet ", out, re.MULTILINE)
    assert "90% interval: -" in out
    assert "stable-diffusion.cpp" in out


def test_remembered_figures_are_shown_and_anchor_nothing(capsys, tmp_path):
    _, out, _ = run(capsys, "anchor", "iPhone 15 Pro", "--out", str(tmp_path / "P"))
    assert re.search(r"^MobileDiffusion +no anchor: remembered +512 +\? +142.0 +\d+", out, re.MULTILINE)
    assert "of the iPhone 15 Pro Max, which has its chip" in out


def test_predictions_carry_the_label_and_say_what_is_outside(capsys, anchored):
    path, _ = anchored
    code, out, _ = run(capsys, "predict", str(path), "sd15")
    assert code == 0
    assert LABEL in out
    assert "outside" not in out
    assert "peak memory: 1.41 GB, counted" in out
    code, out, _ = run(capsys, "predict", str(path), "mobilediffusion", "--json")
    found = json.loads(out)
    assert LABEL in found["device"]
    assert LABEL in found["profile"]["device"]
    assert found["is_outside"]
    code, out, _ = run(capsys, "predict", str(path), "sd15", "--scale", "sd15-quarter")
    assert code == 0
    assert "outside what was published" in out


def test_options_are_compared_one_by_one(capsys):
    code, out, _ = run(capsys, "options", "Galaxy S23 Ultra", "sd15", "--json")
    found = json.loads(out)
    rows = {row["kernels"]: row for row in found["rows"]}
    assert code == 0
    assert set(rows) == {"as published", *(f"without {option}" for option in OPTIONS), "with all", "without any"}
    assert rows["as published"]["latency_ms"] == pytest.approx(575)
    assert all(row["latency_ms"] > 575 for name, row in rows.items() if name.startswith("without"))
    assert rows["without winograd"]["peak_memory_bytes"] < rows["as published"]["peak_memory_bytes"]
    assert rows["without flash_attention"]["peak_memory_bytes"] > rows["as published"]["peak_memory_bytes"]
    code, out, _ = run(capsys, "options", "Galaxy S24", "sd15")
    assert LABEL in out
    assert re.search(r"^with flash_attention +\d+.*-\d+\.\d% +\d+ MB +-\d+\.\d%", out, re.MULTILINE)
    assert re.search(r"^without fused_gelu .*\+\d", out, re.MULTILINE)


def test_switches_reach_the_saved_predictor(capsys, tmp_path):
    arguments = ("--with", "winograd", "--without", "fused_gelu", "--out", str(tmp_path / "P"))
    code, out, _ = run(capsys, "anchor", "Galaxy S24", *arguments)
    assert code == 0
    assert "options: fused_group_norm, winograd\n" in out
    execution = Predictor.load(tmp_path / "P").execution
    assert execution is not None
    assert execution.options == {"fused_group_norm", "winograd"}


def test_a_sweeps_costs_come_from_a_profile(anchored):
    predictor = Predictor.load(anchored[0])
    space, rng = get_space("mobile-sd"), np.random.default_rng(0)
    architectures = [space.sample(rng) for _ in range(5)]
    costs = Costs(get_scale("sd15"), predictor)
    columns = costs.columns(architectures)
    estimate = costs(architectures[2])["latency_ms"]
    assert columns["latency_ms"][2] == pytest.approx(estimate.value)
    assert estimate.low is not None
    assert estimate.low < estimate.value
    assert estimate.n == 31
    assert LABEL in held_out_text(predictor)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("anchor", "Galaxy S42", "--out", "P"), "no published figure anchors 'Galaxy S42'; profiles there are of Snapdragon"),
        (("anchor", "Galaxy S24", "--with", "wino", "--out", "P"), "there is no kernel option 'wino'; known are fused_group"),
        (
            ("anchor", "Galaxy S24", "--with", "winograd", "--without", "winograd", "--out", "P"),
            "kernel option 'winograd' is to be on and off",
        ),
        (("options", "Galaxy S42", "sd15"), "no published figure anchors 'Galaxy S42'"),
        (("options", "Galaxy S24", "sd16"), "sd16"),
        (("options", "Galaxy S24", "sd15", "--scale", "sd17"), "there is no scale 'sd17'"),
    ],
)
def test_bad_input_is_one_message(capsys, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, _, err = run(capsys, *arguments)
    assert code == 2
    assert message in err
    assert "Traceback" not in err
    assert not (tmp_path / "P").exists()
