"""The command of the experiment, and what it refuses."""

import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

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
    for name in ("rediscover", "rediscover_found", "rediscover_tables", "rediscover_picture", "rounded_weights"):
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


def test_a_machine_that_has_the_weights_trains_none(rediscover, tmp_path, monkeypatch):
    trained = {"network": {"kernel": np.array([1 / 3, -0.7], np.float32)}}
    folders, runs = {tmp_path / "one" / "trained": trained}, []

    def load(_, folder):
        if folder not in folders:
            raise FileNotFoundError(folder)
        return folders[folder]

    monkeypatch.setattr(rediscover.Experiment, "supernet", lambda _, config: runs.append(config.run_dir))
    monkeypatch.setattr(rediscover, "load_supernet", load)
    monkeypatch.setattr(rediscover, "write_supernet", lambda _, folder, weights: folders.update({folder: weights}))
    monkeypatch.setattr(rediscover, "first_state", lambda _: SimpleNamespace(average=trained))
    monkeypatch.setattr(rediscover, "fit", lambda *_: pytest.fail("the predictor is there"))
    for name in ("one", "two"):
        folder = tmp_path / name
        (folder / "base" / "latency").mkdir(parents=True)
        (folder / "base" / "latency" / rediscover.RECORD_FILE).touch()
        if name == "two":
            shutil.copy(tmp_path / "one" / rediscover.WEIGHTS, folder)
        experiment = rediscover.Experiment(folder, rediscover.SCALES["check"], silent_progress(), folder)
        experiment.base()
        experiment.base()
        np.testing.assert_allclose(folders[folder / "base"]["network"]["kernel"], trained["network"]["kernel"], rtol=1 / 64)
    assert runs == [str(tmp_path / "one" / "trained")]
    one, two = (folders[tmp_path / name / "base"]["network"]["kernel"] for name in ("one", "two"))
    np.testing.assert_array_equal(one, two)


def test_a_stage_that_was_not_run_is_named(rediscover, tmp_path):
    with pytest.raises(InputError, match=r"ablation\.json: not there; run the stage `ablation`"):
        rediscover.read_json(tmp_path / "ablation.json")
    with pytest.raises(InputError, match=r"published: not there; run the stage `published`"):
        rediscover.Experiment(tmp_path, rediscover.SCALES["check"], silent_progress(), tmp_path).table()
