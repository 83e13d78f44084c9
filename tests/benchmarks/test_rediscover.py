"""The command of the experiment, and what it refuses."""

import dataclasses
import gzip
import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from experiments.errors import InputError
from experiments.progress import silent_progress
from search_space import Architecture, Level, Stage, get_space

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def rediscover():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        import rediscover  # pyright: ignore[reportMissingImports]

        yield rediscover
    for name in [name for name in sys.modules if name.startswith("rediscover")] + ["judged_losses", "rounded_weights", "kept"]:
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


def test_what_is_kept_has_less_than_10_mb(rediscover):
    assert (rediscover.KEPT / rediscover.WEIGHTS).is_file()
    assert sum(path.stat().st_size for path in rediscover.KEPT.rglob("*") if path.is_file()) < 10e6


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
    folders[tmp_path / "two" / "base"] = trained
    with pytest.raises(InputError, match=r"supernet: other weights than .*supernet\.npz; delete it, and its copies"):
        experiment.base()


def test_weights_of_other_settings_are_refused(rediscover, tmp_path):
    small, large = (
        rediscover.Experiment(tmp_path, rediscover.SCALES[x], silent_progress(), tmp_path) for x in ("check", "cores")
    )
    (tmp_path / rediscover.WEIGHTS).touch()
    with rediscover.begun(small.config("trained")), pytest.raises(InputError, match=r"other settings \(supernet: .*--folder"):
        large.base()
    with pytest.raises(InputError, match=r"trained/sweep\.yaml: begun with other settings \(.*supernet: "):
        rediscover.begun(large.config("trained")).__enter__()


def test_a_finished_search_of_other_settings_is_refused(rediscover, tmp_path, monkeypatch):
    monkeypatch.setattr(rediscover.Experiment, "base", lambda _: None)
    monkeypatch.setattr(rediscover, "run_sweep", lambda *_, **__: pytest.fail("it is finished"))
    shutil.copytree(rediscover.KEPT / "published", tmp_path / "published")
    packed = tmp_path / "published" / "ledger.jsonl.gz"
    packed.with_suffix("").write_bytes(gzip.decompress(packed.read_bytes()))
    rediscover.Experiment(tmp_path, rediscover.SCALES["cores"], silent_progress(), tmp_path).published()
    with pytest.raises(InputError, match="this ledger was begun with fingerprint="):
        rediscover.Experiment(tmp_path, rediscover.SCALES["gpu"], silent_progress(), tmp_path).published()


@pytest.mark.parametrize("error", [ValueError("a bug"), InputError("a file"), FileNotFoundError(2, "No such file", "x.json")])
def test_a_refusal_is_one_message_and_a_bug_shows_its_trace(rediscover, tmp_path, monkeypatch, capsys, error):
    def fail(_):
        raise error

    monkeypatch.setattr(rediscover.Experiment, "scales", fail)
    monkeypatch.setattr(sys, "argv", ["rediscover.py", "scales", "--folder", str(tmp_path)])
    if type(error) is ValueError:
        with pytest.raises(ValueError, match="a bug"):
            rediscover.main()
        return
    with pytest.raises(SystemExit) as exit_:
        rediscover.main()
    assert exit_.value.code == 2
    assert capsys.readouterr().err.startswith("scales: ")


def test_without_the_weights_that_have_judged_nothing_is_trained(rediscover, tmp_path, monkeypatch):
    monkeypatch.setattr(rediscover.Experiment, "supernet", lambda *_: pytest.fail("it would be another"))
    (tmp_path / "search-0").mkdir()
    (tmp_path / "search-0" / "ledger.jsonl").touch()
    experiment = rediscover.Experiment(tmp_path, rediscover.SCALES["check"], silent_progress(), tmp_path)
    with pytest.raises(InputError, match=r"supernet\.npz: not there, and it has judged what is in search-0; copy it again"):
        experiment.base()


@pytest.mark.parametrize("only_whole", [False, True])
def test_a_design_is_judged_once(rediscover, tmp_path, monkeypatch, only_whole):
    import judged_losses  # pyright: ignore[reportMissingImports]

    judged, quality = [], SimpleNamespace(loss_samples=3, model_copy=lambda update: SimpleNamespace(**update))
    config = SimpleNamespace(quality=quality, model_copy=lambda update: SimpleNamespace(**update))

    class Evaluator:
        def __init__(self, inputs):
            self.num = inputs.config.quality.loss_samples
            assert inputs.batches == [7]

        def image_losses(self, design):
            judged.append(design.digest)
            if len(judged) == 3:
                raise KeyboardInterrupt
            return np.arange(self.num) / 7

    monkeypatch.setattr(judged_losses, "SupernetEvaluator", Evaluator)
    monkeypatch.setattr(judged_losses, "tuning_batches", lambda config: [config.quality.fine_tune_steps])
    monkeypatch.setattr(judged_losses, "evaluation_settings", lambda config: vars(config.quality))
    space, rng = get_space("mobile-sd"), np.random.default_rng(0)
    designs = [space.sample(rng) for _ in range(4)]
    asked = {"progress": silent_progress(), "fresh": 2, "updates": 7, "only_whole": only_whole}
    path, settings = tmp_path / "found.jsonl", judged_losses.asked_of(config, fresh=2, updates=7)
    with pytest.raises(KeyboardInterrupt):
        judged_losses.judge(Inputs(config), designs, path, **asked)
    assert len(judged_losses.read_rows(path)) == (0 if only_whole else 2)
    judged_losses.judge(Inputs(config), judged_losses.not_judged([*designs, designs[0]], path, settings), path, **asked)
    assert judged_losses.not_judged(designs, path, settings) == []
    with pytest.raises(InputError, match=r"found\.jsonl: judged with other settings; set them back, or delete it"):
        judged_losses.not_judged(designs, path, judged_losses.asked_of(config, fresh=2, updates=8))
    again = (0, 1, 2) if only_whole else (2,)
    assert judged == [designs[i].digest for i in (0, 1, 2, *again, 3)]
    rows = judged_losses.read_rows(path)
    assert list(rows) == [x.digest for x in designs]
    assert all(row["of_images"] == [0.42857, 0.57143, 0.71429, 0.85714, 1, 1.1429] for row in rows.values())
    assert rows[designs[0].digest]["loss"] == pytest.approx(5.5 / 7)
    asked["fresh"] = 3
    with pytest.raises(InputError, match=r"12 images are asked for, so that 9 are new, and there are 9; lower quality\.loss"):
        judged_losses.judge(Inputs(config), [space.sample(rng)], path, **asked)


@dataclasses.dataclass(frozen=True)
class Inputs:
    """What an evaluator is made of."""

    config: SimpleNamespace
    images: range = range(9)
    batches: list[int] = dataclasses.field(default_factory=list)


def test_a_run_is_locked_while_it_is_trained(rediscover, tmp_path):
    experiment = rediscover.Experiment(tmp_path, rediscover.SCALES["check"], silent_progress(), tmp_path)
    config = experiment.config("base")
    with rediscover.begun(config), pytest.raises(InputError, match="another process"), rediscover.begun(config):
        pytest.fail("two would train it")


def test_a_stage_that_was_not_run_is_named(rediscover, tmp_path, monkeypatch):
    experiment = rediscover.Experiment(tmp_path, rediscover.SCALES["check"], silent_progress(), tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(rediscover.Experiment, "found", lambda _: SimpleNamespace(published={}, contenders=[]))
        with pytest.raises(InputError, match=r"ablation\.jsonl: not there; run the stage `ablation`"):
            experiment.again()
    with pytest.raises(InputError, match=r"published: not there, or not finished; run the stage `published`"):
        experiment.table()


def test_a_trained_row_stays_until_another_design_wins(rediscover, tmp_path):
    import rediscover_found  # pyright: ignore[reportMissingImports]

    space, rng, file = get_space("mobile-sd"), np.random.default_rng(0), rediscover.TRAINED
    published = {name: space.sample(rng) for name in rediscover_found.COMPARED}
    designs = [space.sample(rng) for _ in range(2)]

    def contest(**winners):
        of = {name: SimpleNamespace(digest=design.digest) for name, design in published.items()}
        chosen = {name: (tmp_path / "search-0", SimpleNamespace(digest=x.digest)) for name, x in winners.items()}
        found = SimpleNamespace(folder=tmp_path, published=of, winners=chosen)
        return rediscover.Contest(found, (1, 1, 1, 1), silent_progress())

    first, second = (contest(winner=design) for design in designs)
    assert (first.known(file), first.missing(file)) == ({}, ["sd15", "winner", "mobilediffusion", "snapfusion"])
    known = {"sd15": {"design": published["sd15"].to_json()}, "winner": {"design": designs[0].to_json()}}
    (tmp_path / file).write_text(json.dumps(known))
    assert (first.known(file), first.missing(file)) == (known, ["mobilediffusion", "snapfusion"])
    assert (second.known(file).keys(), second.missing(file)) == ({"sd15"}, ["winner", "mobilediffusion", "snapfusion"])
    both = contest(winner=designs[0], first_winner=designs[1])
    assert (both.known(file), both.missing(file)) == (known, ["first_winner", "mobilediffusion", "snapfusion"])
    assert (contest().known(file), contest().missing(file)) == ({}, [])


def test_stages_of_fronts_are_shares_of_the_designs_that_have_them(rediscover):
    import rediscover_tables  # pyright: ignore[reportMissingImports]

    level = Level(2, Stage(1, transformer_depth=1, attention="cross"), Stage(2, "separable"))
    with_mid = Architecture((level, level, level), Stage(1))
    bands = (SimpleNamespace(title="MACs", distinct=[with_mid, Architecture((level, level, level)), Architecture((level,))]),)
    rows = rediscover_tables.stages_of_fronts(SimpleNamespace(bands=lambda: bands))
    assert [name for name in rows if "mid" in name] == ["band of MACs: mid has transformers"]
    assert rows["band of MACs: mid has transformers"]["n"] == 1
    down, up = rows["band of MACs: down1 has transformers"], rows["band of MACs: up1 has transformers"]
    assert (down["value"], down["cross_attention_alone"], down["separable"], down["designs"]) == (1, 1, 0, 2)
    assert (up["value"], up["relu"], up["separable"]) == (0, None, 1)
