"""The command of the experiment, and what it refuses."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments.errors import InputError
from experiments.progress import silent_progress

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def rediscover():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        import rediscover  # pyright: ignore[reportMissingImports]

        yield rediscover
    for name in ("rediscover", "rediscover_found", "rediscover_tables", "rediscover_picture"):
        sys.modules.pop(name, None)


def test_without_stages_all_are_run(rediscover):
    assert rediscover.arguments([]).stages == []
    assert rediscover.arguments(["search", "table", "--scale", "check"]).stages == ["search", "table"]
    assert all(callable(getattr(rediscover.Experiment, stage)) for stage in rediscover.STAGES)


def test_an_unknown_stage_is_refused(rediscover, capsys):
    with pytest.raises(SystemExit) as exit_:
        rediscover.arguments(["serch"])
    assert exit_.value.code == 2
    assert "no stage 'serch'; there are base, published" in capsys.readouterr().err


def test_what_another_supernet_has_judged_is_not_gone_on_with(rediscover, tmp_path, monkeypatch):
    weights = {"network": {"kernel": np.ones(3, np.float32)}}
    monkeypatch.setattr(rediscover.Experiment, "supernet", lambda *_: None)
    monkeypatch.setattr(rediscover, "load_supernet", lambda *_: weights)
    monkeypatch.setattr(rediscover, "fit", lambda *_: pytest.fail("the predictor is there"))
    (tmp_path / "base" / "latency").mkdir(parents=True)
    (tmp_path / "base" / "latency" / rediscover.RECORD_FILE).touch()
    experiment = rediscover.Experiment(tmp_path, rediscover.SCALES["check"], silent_progress(), tmp_path)
    experiment.base()
    experiment.base()
    assert len(json.loads((tmp_path / rediscover.IDENTITY).read_text())["sha256"]) == 64
    weights["network"]["kernel"] = np.nextafter(weights["network"]["kernel"], np.float32(2))
    with pytest.raises(InputError, match=r"supernet\.json: the designs here were judged by another supernet"):
        experiment.base()


def test_a_stage_that_was_not_run_is_named(rediscover, tmp_path):
    with pytest.raises(InputError, match=r"ablation\.json: not there; run the stage `ablation`"):
        rediscover.read_json(tmp_path / "ablation.json")
    with pytest.raises(InputError, match=r"published: not there; run the stage `published`"):
        rediscover.Experiment(tmp_path, rediscover.SCALES["check"], silent_progress(), tmp_path).table()
