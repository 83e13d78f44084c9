import pytest
import yaml

from experiments.config import builtin_names, evaluation_settings, ledger_header, load_config, resolved_yaml
from experiments.errors import InputError

GOOD = """\
name: mine
space: digits
proxy_scale: digits-proxy
deploy_scale: digits-deploy
data: digits
objectives: [denoising_loss, macs]
"""


def written(tmp_path, text):
    path = tmp_path / "sweep.yaml"
    path.write_text(text)
    return path


def refusal(path, overrides=()):
    with pytest.raises(InputError) as caught:
        load_config(path, overrides)
    return str(caught.value).splitlines()


@pytest.mark.parametrize("name", builtin_names())
def test_what_ships_loads_and_comes_back_the_same_from_its_resolved_form(tmp_path, name):
    config = load_config(name)
    assert config.name == name
    assert load_config(written(tmp_path, resolved_yaml(config))) == config


def test_the_sections_have_defaults(tmp_path):
    config = load_config(written(tmp_path, GOOD))
    assert config.search.searcher == "pocket"
    assert (config.limits, config.run_dir) == ({}, "runs/mine")


def test_overrides_win_and_are_yaml(tmp_path):
    overrides = ["trials=5", "limits.latency_ms=40", "objectives=[macs]", "supernet.learning_rate=1e-4"]
    config = load_config(written(tmp_path, GOOD), [*overrides, "trials=7"])
    assert config.trials == 7
    assert config.limits == {"latency_ms": 40.0}
    assert config.objectives == ("macs",)
    assert config.supernet.learning_rate == 1e-4


def test_an_unknown_key_is_named_with_file_line_and_the_nearest_good_key(tmp_path):
    path = written(tmp_path, GOOD + "search:\n  popsize: 3\n")
    assert refusal(path) == [f"{path}:8: key 'search.popsize' is not known; did you mean 'search.population'?"]


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("serach: {}", 7, "key 'serach' is not known; did you mean 'search'?"),
        ("population: 8", 7, "key 'population' is not known; did you mean 'search.population'?"),
        ("search:\n  zzz: 8", 8, "key 'search.zzz' is not known; known are search.searcher, search.num_workers"),
        ("trials: 0", 7, "key 'trials' must be greater than or equal to 1, got 0"),
        ("trials: many", 7, "key 'trials' must be a whole number, got 'many'"),
        ("trials: 2.5", 7, "key 'trials' must be a whole number, got 2.5"),
        ("budget: long", 7, "key 'budget': must be a duration in s, min, h or d, such as 90min or 2h, got 'long'"),
        ("budget: 0h", 7, "key 'budget': must be a duration"),
        ("budget: 7200", 7, "key 'budget' must be a string, got 7200"),
        ("search: {executor: cloud}", 7, "key 'search.executor' must be 'ray' or 'local', got 'cloud'"),
        ("search: {searcher: nsga}", 7, "there is no searcher 'nsga'; known are random, pocket, nsga2"),
        ("latency: {device: fridge}", 7, "there is no device 'fridge'; known are "),
        ("search: 3", 7, "key 'search' must be a mapping of keys to values, got 3"),
        ("supernet:\n  learning_rate: 0", 8, "key 'supernet.learning_rate' must be greater than 0, got 0"),
        ("supernet:\n  learning_rate: .nan", 8, "key 'supernet.learning_rate' must be a finite number, got nan"),
        ("supernet:\n  learning_rate: true", 8, "key 'supernet.learning_rate': must be a number, got true"),
        ("supernet: {ema_decay: 1}", 7, "key 'supernet.ema_decay' must be less than 1, got 1"),
        ("limits:\n  latency: 3", 8, "did you mean 'latency_ms'?"),
        ("limits:\n  denoising_loss: 3", 8, "a limit must be on a cost that is minimised"),
        ("limits:\n  macs: -3", 8, "key 'limits.macs' must be greater than 0, got -3"),
        ("seed: -1", 7, "key 'seed' must be greater than or equal to 0, got -1"),
        ("seed: 1\nseed: 2", 8, "key 'seed' is given twice; the other is at"),
    ],
)
def test_every_refusal_says_where_what_and_what_instead(tmp_path, text, line, told):
    path = written(tmp_path, GOOD + text + "\n")
    (problem,) = refusal(path)
    assert problem.startswith(f"{path}:{line}: ")
    assert told in problem


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("space: digit", "there is no search space 'digit'"),
        ("proxy_scale: digits", "'digits'"),
        ("objectives: [latency]", "key 'objectives.0': no objective is called 'latency'; did you mean 'latency_ms'?"),
        ("objectives: [macs, macs]", "no objective may be listed twice, got macs twice"),
        ("objectives: []", "key 'objectives'"),
        ("name: ''", "key 'name'"),
    ],
)
def test_names_are_checked(tmp_path, line, told):
    key = line.split(":")[0]
    path = written(tmp_path, "\n".join(line if row.startswith(f"{key}:") else row for row in GOOD.splitlines()))
    (problem,) = refusal(path)
    assert told in problem


def test_all_problems_are_told_at_once(tmp_path):
    path = written(tmp_path, GOOD.replace("data: digits\n", "") + "search: {popsize: 3, num_workers: 0}\n")
    problems = refusal(path, ["seed=x", "supernet.lr=1", "nonsense", "seed.x=3"])
    assert len(problems) == 7
    assert f"{path}: key 'data' is missing; it has no default" in problems
    assert any(problem.startswith("override 'supernet.lr=1': key 'supernet.lr' is not known") for problem in problems)
    assert "override 'nonsense': must be KEY=VALUE, such as trials=50" in problems
    assert "override 'seed.x=3': 'seed' is a value and holds no keys" in problems


@pytest.mark.parametrize("text", ["- a\n", "", "3\n"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path, text):
    assert "this file must be a mapping of keys to values" in refusal(written(tmp_path, text))[0]


def test_broken_yaml_is_refused_with_its_line(tmp_path):
    path = written(tmp_path, GOOD + "search: {a: [1\n")
    assert refusal(path)[0].startswith(f"{path}:8: this is no YAML")


def test_yaml_that_would_build_an_object_is_refused(tmp_path):
    path = written(tmp_path, GOOD + "search: !!python/object/apply:os.getcwd []\n")
    assert "this is no YAML: could not determine a constructor" in refusal(path)[0]


@pytest.mark.parametrize("name", ["frechet_classifier", "kid_classifier"])
def test_samples_that_are_too_few_to_be_judged_are_refused(name):
    overrides = [f"objectives=[{name}, macs]", "quality.num_samples=39"]
    with pytest.raises(InputError, match=rf"quality\.num_samples is 39, and {name} needs 40 or more to have an interval"):
        load_config("digits", overrides)
    load_config("digits", [overrides[0], "quality.num_samples=40"])


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("rungs=[{num_sample: 128}]", "'rungs.0.num_sample' is not known; did you mean 'rungs.num_samples'?"),
        ("anchors={nmu: 9}", "'anchors.nmu' is not known; did you mean 'anchors.num'?"),
        ("latency.image={num_step: 3}", "did you mean 'latency.image.num_steps'?"),
        ("latency.rounds=1", "greater than or equal to 2"),
    ],
)
def test_keys_of_lists_and_of_sections_that_may_be_missing_are_suggested(override, told):
    with pytest.raises(InputError) as caught:
        load_config("digits", [override])
    assert told in str(caught.value)


@pytest.mark.parametrize("text", ["x: &a [*a]\n", "x: &a {b: *a}\n"])
def test_a_value_inside_itself_is_refused(tmp_path, text):
    assert "cannot be read" in refusal(written(tmp_path, GOOD + text))[0]


def test_a_missing_file_is_told_with_what_ships(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such sweep ships; those that do are .*digits"):
        load_config(tmp_path / "nothing.yaml")


def test_a_run_folder_in_the_place_of_its_file_is_told_so(tmp_path):
    (tmp_path / "ledger.jsonl").touch()
    with pytest.raises(FileNotFoundError, match=r"sweep\.yaml: this file of a run folder is gone; put it back from a copy"):
        load_config(tmp_path / "sweep.yaml")
    (tmp_path / "sweep.yaml").write_text(GOOD)
    again = rf"`pocketunet sweep {tmp_path}/sweep\.yaml --run-dir {tmp_path}`"
    with pytest.raises(InputError, match=rf"{tmp_path}: this is a run folder; go on with it by {again}"):
        load_config(tmp_path)


def test_how_one_searches_does_not_change_how_numbers_are_measured():
    config = load_config("digits")
    assert ledger_header(config) == ledger_header(load_config("digits", ["trials=9", "run_dir=elsewhere"]))
    other_search = load_config("digits", ["search.searcher=random"])
    assert evaluation_settings(other_search) == evaluation_settings(config)
    assert ledger_header(other_search)["fingerprint"] == ledger_header(config)["fingerprint"]
    assert ledger_header(other_search) != ledger_header(config)
    other_numbers = load_config("digits", ["quality.num_samples=64"])
    assert ledger_header(other_numbers)["fingerprint"] != ledger_header(config)["fingerprint"]


def test_the_samplers_are_those_that_exist():
    from diffusion.samplers import SAMPLERS

    for name in SAMPLERS:
        assert load_config("digits", [f"quality.sampler={name}"]).quality.sampler == name
    with pytest.raises(InputError, match="quality.sampler"):
        load_config("digits", ["quality.sampler=euler"])


def test_the_resolved_form_is_plain_yaml():
    assert yaml.safe_load(resolved_yaml(load_config("digits")))["search"]["searcher"]


def test_a_space_is_narrowed_in_the_file_and_written_out_by_name(tmp_path):
    text = GOOD.replace(
        "space: digits\n", "space:\n  base: digits\n  '*.attention_function': softmax\n  level0.width: [2, 3]\n"
    )
    config = load_config(written(tmp_path, text))
    assert config.space == "digits[*.attention_function=softmax,level0.width=2|3]"
    assert load_config(written(tmp_path, resolved_yaml(config))) == config
    assert ledger_header(config)["space"] == config.space
    assert ledger_header(config)["fingerprint"] != ledger_header(load_config(written(tmp_path, GOOD)))["fingerprint"]


@pytest.mark.parametrize(
    ("space", "told"),
    [
        ("{base: digits, level0.width: 7}", "key 'space': gene 'level0.width' has no choice 7"),
        ("{level0.width: 2}", "key 'space' must be a string"),
        ("{base: digit}", "there is no search space 'digit'"),
    ],
)
def test_a_space_that_cannot_be_narrowed_is_refused(tmp_path, space, told):
    (problem,) = refusal(written(tmp_path, GOOD.replace("space: digits\n", f"space: {space}\n")))
    assert told in problem


@pytest.mark.parametrize(
    ("text", "trials", "budget"),
    [("", 200, None), ("budget: 2h", None, "2h"), ("trials: 5", 5, None), ("budget: 1 h 30 min\ntrials: 5", 5, "1 h 30 min")],
)
def test_a_sweep_ends_by_trials_by_time_or_by_both(tmp_path, text, trials, budget):
    config = load_config(written(tmp_path, GOOD + text + "\n"))
    assert (config.trials, config.budget) == (trials, budget)
    assert load_config(written(tmp_path, resolved_yaml(config))) == config
