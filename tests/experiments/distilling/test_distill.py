"""Distilling by name and by plan: which keys, which teacher, what is kept, what is refused."""

import dataclasses
import json
import re
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import yaml
from experiments_fixtures.networks import TINY

from experiments import cli, fitting
from experiments.bundle import Bundle, read_bundle, with_settings, write_bundle
from experiments.config import load_config
from experiments.data import write_latents
from experiments.distilling import adversarial
from experiments.distilling.distill import distill_as_asked, distill_bundle, distill_plan
from experiments.distilling.methods import METHODS
from experiments.distilling.settings import ProgressiveSettings, UfogenSettings
from experiments.errors import InputError
from experiments.fitting import Given, with_constants_as_arguments
from experiments.fitting_loop import fit_phases
from experiments.handoff import training_settings
from experiments.progress import silent_progress
from experiments.training import with_fresh_weights
from objectives.extractor import FeatureMaps
from search_space import Architecture
from search_space.architecture import Level, Stage

ROOT = Path(__file__).parents[3]
SETTINGS = training_settings(load_config("digits-small"), "fresh weights").model_copy(update={"batch_size": 16})
BUNDLE = with_fresh_weights(Bundle(TINY, SETTINGS, {}), 0)


@pytest.fixture
def bundle(tmp_path):
    write_bundle(tmp_path / "bundle", BUNDLE, expected={}, card="")
    return tmp_path / "bundle"


def plan_file(folder, **keys):
    path = folder / "plan.yaml"
    path.write_text(yaml.safe_dump(keys), "utf-8")
    return path


def test_a_chain_goes_on_from_what_each_method_made_and_is_gone_on_with(bundle, tmp_path):
    write_bundle(teacher := tmp_path / "teacher", BUNDLE, expected={}, card="")
    chain = [
        {"method": "progressive", "steps": 2, "from_steps": 4, "updates": 2},
        {"method": "ufogen", "updates": 2, "teacher": str(teacher)},
    ]
    path = plan_file(tmp_path, bundle=str(bundle), out=str(tmp_path / "out"), seed=3, chain=chain)
    first, second = distill_plan(path)
    assert [first.name, second.name] == ["1-progressive", "2-ufogen"]
    assert [read_bundle(made).settings.sample_steps for made in (first, second)] == [2, 1]
    assert read_bundle(second).settings.origin.count("then distilled") == 2
    assert read_bundle(second).settings.learning_rate == SETTINGS.learning_rate  # not UFOGen's own
    times = [(made / "weights.safetensors").stat().st_mtime_ns for made in (first, second)]
    assert distill_plan(path) == [first, second]
    assert [(made / "weights.safetensors").stat().st_mtime_ns for made in (first, second)] == times
    with pytest.raises(InputError, match=r"2-ufogen: .* another request \(method.updates was 2, and is 3\)"):
        distill_plan(
            plan_file(tmp_path, **{**yaml.safe_load(path.read_text()), "chain": [chain[0], {**chain[1], "updates": 3}]})
        )
    write_bundle(teacher, with_settings(BUNDLE, guidance_scale=3.0), expected={}, card="")
    with pytest.raises(InputError, match=r"teacher\.settings\.guidance_scale was .*, and is 3\.0"):
        distill_plan(path)
    with pytest.raises(InputError, match="seed was 3, and is 4"):
        distill_plan(path, ("seed=4",))


class Lowered(Exception):
    """In the place of a step that would be compiled and taken: its program."""


KEYS = {"progressive": {"steps": 16, "from_steps": 32}, "cfg-aware": {"steps": 16, "from_steps": 32}}


@pytest.mark.parametrize("method", METHODS)
def test_weights_that_are_not_trained_are_no_part_of_the_program(tmp_path, monkeypatch, method):
    """A program has 2 GB at most; a teacher's weights may be more."""

    def lowered(step, arguments):
        program = with_constants_as_arguments(step, arguments)
        raise Lowered(program.func.lower(*program.args, *arguments).as_text())

    monkeypatch.setattr(fitting, "with_constants_as_arguments", lowered)
    maps = FeatureMaps(lambda weights, images: [images.reshape(len(images), -1) @ weights], jnp.ones((64, 64)))
    monkeypatch.setattr(adversarial, "_classifier_maps", lambda *_, **__: maps)
    stages = Stage(1, transformer_depth=1), Stage(1)
    student, teacher = (
        with_fresh_weights(Bundle(Architecture((Level(1, *stages),)).canonical(), SETTINGS, {}), seed) for seed in range(2)
    )
    settings = {"method": method, "updates": 1, **KEYS.get(method, {})}
    [phase] = METHODS[method].phases(
        Given(student, teacher, 0, tmp_path, silent_progress()), METHODS[method].settings.model_validate(settings)
    )
    with pytest.raises(Lowered) as found:
        fit_phases(student, [phase], seed=0, folder=None, progress=silent_progress())
    assert max(map(len, re.findall(r"dense<[^>]*>", str(found.value))), default=0) < 2000


def test_keys_of_a_method_change_the_training_and_stay_in_the_bundle(bundle, tmp_path):
    settings = UfogenSettings(method="ufogen", updates=2, learning_rate=1e-4, batch_size=8)
    made = distill_bundle(bundle, settings, seed=5, out=tmp_path / "made")
    asked = json.loads((made / "made_by.json").read_text())
    assert asked["method"]["method"] == "ufogen"
    assert (asked["teacher"], asked["seed"]) == (None, 5)
    found = read_bundle(made)
    assert (found.settings.learning_rate, found.settings.batch_size, found.settings.sample_steps) == (1e-4, 8, 1)
    moved = [key for key, x in found.parameters["network"].items() if not np.array_equal(x, BUNDLE.parameters["network"][key])]
    assert moved


REFUSED_PLANS = [
    ({"chain": []}, "key 'chain' must name at least one method"),
    ({"chain": [{"steps": 8}]}, r"plan.yaml:\d+: key 'method' must be one of knowledge, relu-attention, progressive"),
    ({"chain": [{"method": "progresive", "steps": 8}]}, r"key 'method' must be one of .* got 'progresive'"),
    (
        {"chain": [{"method": "progressive", "steps": 8, "form_steps": 16}]},
        "'form_steps' is not known; did you mean 'from_steps'",
    ),
    ({"chain": [{"method": "progressive", "steps": 8, "from_steps": 24}]}, "steps must be from_steps halved once or more"),
    ({"chain": [{"method": "progressive"}]}, "key 'steps' is missing"),
    ({"chain": [{"method": ["progressive"]}]}, "key 'method' must be one of"),
    ({"chain": [{"method": "ufogen"}, {"method": "ufogen", "teacher": "nowhere"}]}, "nowhere: there is no such bundle"),
    ({"chain": [{"method": "ufogen"}, {"method": "knowledge"}]}, "the bundle has no teacher to distil from"),
    ({"chain": [{"method": "ufogen"}], "sed": 1}, "'sed' is not known; did you mean 'seed'"),
    ({"chain": [{"method": "ufogen", "steps": 8}]}, "key 'steps' .*less than or equal to 4"),
]


@pytest.mark.parametrize(("keys", "message"), REFUSED_PLANS)
def test_a_plan_with_a_wrong_key_is_refused_before_anything_is_made(bundle, tmp_path, keys, message):
    path = plan_file(tmp_path, bundle=str(bundle), out=str(tmp_path / "out"), **keys)
    with pytest.raises((InputError, NotADirectoryError), match=message):
        distill_plan(path)
    assert not (tmp_path / "out").exists()


def eps_bundle(folder):
    write_bundle(folder, with_settings(BUNDLE, parameterisation="eps"), expected={}, card="")


def torn_bundle(folder):
    write_bundle(folder, BUNDLE, expected={}, card="")
    (folder / "weights.safetensors").write_bytes(b"junk")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (eps_bundle, "the teacher has parameterisation 'eps', the student 'v'"),
        (torn_bundle, "no whole safetensors file"),
        (Path.mkdir, "is missing"),
    ],
)
@pytest.mark.parametrize("is_own", [True, False])
def test_a_plan_whose_last_teacher_does_not_fit_is_refused_before_anything_is_made(bundle, tmp_path, is_own, make, message):
    folder = bundle / "teacher" if is_own else tmp_path / "other"
    make(folder)
    last = {"method": "knowledge"} if is_own else {"method": "knowledge", "teacher": str(folder)}
    path = plan_file(tmp_path, bundle=str(bundle), out=str(tmp_path / "out"), chain=[{"method": "ufogen"}, last])
    with pytest.raises((InputError, FileNotFoundError), match=message):
        distill_plan(path)
    assert not (tmp_path / "out").exists()


def test_a_plan_whose_last_method_has_keys_that_do_not_go_together_is_refused_before_anything_is_made(bundle, tmp_path):
    write_bundle(bundle, with_settings(BUNDLE, accumulation=4), expected={}, card="")
    chain = [{"method": "ufogen"}, {"method": "knowledge", "batch_size": 6, "teacher": str(bundle)}]
    with pytest.raises(InputError, match="accumulation must divide batch_size=6, got 4"):
        distill_plan(plan_file(tmp_path, bundle=str(bundle), out=str(tmp_path / "out"), chain=chain))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("last", "message"),
    [
        ({"method": "cfg-aware", "steps": 8}, "prompt_dropout is 0 in its training.yaml, so that it cannot be guided"),
        ({"method": "progressive", "steps": 8, "guidance_scale": 2}, "it cannot be guided; use one .* or guidance_scale=1"),
        ({"method": "relu-attention"}, "has no softmax attention to change; leave relu-attention out"),
    ],
)
def test_a_plan_whose_last_method_cannot_be_done_is_refused_before_anything_is_made(bundle, tmp_path, last, message):
    write_bundle(bundle, with_settings(BUNDLE, prompt_dropout=0.0), expected={}, card="")
    with pytest.raises(InputError, match=message):
        distill_plan(plan_file(tmp_path, bundle=str(bundle), out=str(tmp_path / "out"), chain=[{"method": "ufogen"}, last]))
    assert not (tmp_path / "out").exists()


def test_a_plan_without_data_is_refused(bundle, tmp_path):
    write_bundle(bundle, with_settings(BUNDLE, data=None), expected={}, card="")
    with pytest.raises(InputError, match=r"training\.yaml"):
        distill_plan(plan_file(tmp_path, bundle=str(bundle), out=str(tmp_path / "out"), chain=[{"method": "adversarial"}]))
    assert not (tmp_path / "out").exists()


def test_a_plan_is_held_to_its_own_data(bundle, tmp_path):
    images = write_latents(tmp_path / "images.npz", np.zeros((30, 8, 8, 1), np.float32))
    chain = [{"method": "ufogen"}, {"method": "adversarial"}]
    with pytest.raises(InputError, match="has no labels, and the discriminator sees images by a classifier"):
        distill_plan(plan_file(tmp_path, bundle=str(bundle), out=str(tmp_path / "out"), data=str(images), chain=chain))
    assert not (tmp_path / "out").exists()


def test_a_teacher_computes_as_its_student_is_trained(bundle, tmp_path, monkeypatch):
    write_bundle(bundle, with_settings(BUNDLE, precision="bfloat16", remat=True), expected={}, card="")
    write_bundle(teacher := tmp_path / "teacher", BUNDLE, expected={}, card="")
    found = []

    def phases(given, settings):
        found.append(given.teacher.settings)
        raise InputError("seen")

    monkeypatch.setitem(METHODS, "ufogen", dataclasses.replace(METHODS["ufogen"], phases=phases))
    with pytest.raises(InputError, match="seen"):
        distill_bundle(bundle, UfogenSettings(method="ufogen", teacher=teacher), out=tmp_path / "made")
    assert (found[0].precision, found[0].remat) == ("bfloat16", True)


def test_options_of_a_bundle_do_not_go_with_a_plan(bundle, tmp_path):
    path = plan_file(tmp_path, bundle=str(bundle), out=str(tmp_path / "out"), chain=[{"method": "ufogen"}])
    for options in ({"method": "ufogen"}, {"seed": 0}, {"out": tmp_path / "x"}, {"data": "digits"}):
        with pytest.raises(InputError, match=f"--{next(iter(options))} goes with a bundle; .* is a plan"):
            distill_as_asked(path, (), **options)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("parameterisation", "eps", "parameterisation 'eps', the student 'v'"),
        ("schedule", "scaled_linear", "schedule 'scaled_linear', the student 'cosine'"),
    ],
)
@pytest.mark.parametrize("method", METHODS)
def test_a_teacher_that_does_not_fit_is_refused_whatever_the_method(bundle, tmp_path, method, key, value, message):
    write_bundle(tmp_path / "teacher", with_settings(BUNDLE, **{key: value}), expected={}, card="")
    steps = ("steps=2",) if method in ("progressive", "cfg-aware") else ()
    with pytest.raises(InputError, match=message):
        distill_as_asked(bundle, steps, method=method, teacher=str(tmp_path / "teacher"))


def test_the_command_says_what_is_wrong_and_exits_with_2(bundle, tmp_path, capsys):
    for arguments, message in (
        (("--method", "progressive", "--steps", "3"), "steps must be from_steps halved"),
        (("--method", "progressive", "--steps", "many"), "distill: key 'steps' must be a whole number"),
        (("--method", "gan"), "key 'method' must be one of"),
        (("--method", "[ufogen]"), "key 'method' must be one of"),
        (("--method", "ufogen", "--teacher", "2026"), "2026: there is no such bundle"),
        (("--method", "knowledge"), "the bundle has no teacher to distil from; name one with --teacher"),
        (("--method", "knowledge", "--steps", "8"), "key 'steps' is not known"),
        (("--method", "ufogen", "updates=0"), "key 'updates'"),
        (("--method", "ufogen", "updates"), "must be KEY=VALUE"),
        (("--method", "ufogen", "--teacher", tmp_path / "none"), "there is no such bundle"),
    ):
        with pytest.raises(SystemExit) as exit_:
            cli.main(["distill", str(bundle), *map(str, arguments)])
        told = capsys.readouterr()
        assert (exit_.value.code, told.out) == (2, ""), told.err
        assert message in told.err.replace("override 'steps=many'", "distill"), arguments
    assert {path.name for path in tmp_path.iterdir()} == {"bundle"}


def test_halvings_begin_with_four_times_the_steps_and_at_least_32():
    starts = {steps: ProgressiveSettings(method="progressive", steps=steps).start for steps in (1, 8, 16)}
    assert starts == {1: 32, 8: 32, 16: 64}
