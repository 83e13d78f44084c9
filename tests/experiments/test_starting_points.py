"""What a sweep starts from: designs, an earlier front, an earlier ledger."""

import dataclasses
import json
import shutil

import pytest
from toy_problem import OBJECTIVES, architectures, evaluation, point, quality, small_space, swept

from experiments.config import SweepConfig, ledger_header, load_config, resolved_yaml
from experiments.data_record import check_same_data
from experiments.errors import InputError
from experiments.ledger import Ledger
from experiments.ledger_contents import read_ledger
from experiments.records import encode_line
from experiments.run_folder import read_run
from experiments.searchers import searcher_names
from experiments.starting_points import starting_points
from experiments.status import status_json
from latency_models.phone_profiles import phone_profile
from objectives import Estimate
from search_space import get_design, get_space

SPACE = small_space()
HEADER = {"space": "small", "fingerprint": "f", "objectives": [objective.name for objective in OBJECTIVES]}
DESIGNS = architectures(3, seed=7, space=SPACE)


class Quality:
    """Remembers what it judged."""

    def __init__(self):
        self.judged = []

    def __call__(self):
        return lambda architecture: self.judged.append(architecture) or quality(architecture, SPACE)


def search(path, num, evaluators=None, **settings):
    factory = evaluators or Quality()
    return swept(path, num, space=SPACE, evaluator_factory=factory, header=HEADER, executor="local", **settings)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.jsonl"


@pytest.mark.parametrize("name", searcher_names())
def test_designs_are_evaluated_first_and_once_and_a_resume_goes_on_alike(tmp_path, name):
    whole, parts = tmp_path / "whole.jsonl", tmp_path / "parts.jsonl"
    search(whole, 14, name=name, designs=DESIGNS)
    for goal in (2, 5, 14):
        search(parts, goal, name=name, designs=DESIGNS)
    asked = read_ledger(whole).asked
    assert [x.architecture for x in asked[:3]] == DESIGNS
    assert [x.origin for x in asked] == ["start"] * 3 + ["searcher"] * 11
    assert len({x.architecture.digest for x in asked}) == 14
    assert read_ledger(parts).asked == asked


@pytest.mark.parametrize("name", searcher_names())
def test_outcomes_are_taken_over_without_being_judged_or_counted(tmp_path, name):
    search(tmp_path / "earlier.jsonl", 12, name="random")
    known = read_ledger(tmp_path / "earlier.jsonl").evaluations
    evaluators = Quality()
    ended = search(tmp_path / "ledger.jsonl", 6, evaluators, name=name, outcomes=known)
    contents = read_ledger(tmp_path / "ledger.jsonl")
    assert ended.num_done == contents.num_ended == len(evaluators.judged) == 6
    assert len(contents.evaluations) == 18
    taken = [x for x in contents.evaluations if contents.is_taken_over(x)]
    assert [(x.digest, x.objectives) for x in taken] == [(x.digest, x.objectives) for x in known]
    assert not {x.digest for x in known} & {x.digest for x in evaluators.judged}
    assert contents.seconds < 60  # what the earlier run took is not spent again
    search(tmp_path / "ledger.jsonl", 9, evaluators, name=name, outcomes=known)
    assert len(evaluators.judged) == 9
    assert len(read_ledger(tmp_path / "ledger.jsonl").evaluations) == 21


def test_a_kill_while_outcomes_are_taken_over_loses_none(tmp_path, path):
    search(tmp_path / "earlier.jsonl", 4)
    known = read_ledger(tmp_path / "earlier.jsonl").evaluations
    with Ledger.open(path, header=HEADER) as ledger:
        ledger.asked(0, known[0].architecture, origin="ledger")
    evaluators = Quality()
    search(path, 2, evaluators, outcomes=known)
    contents = read_ledger(path)
    assert contents.in_flight == ()
    assert [x.digest for x in contents.evaluations[:4]] == [x.digest for x in known]
    assert len(evaluators.judged) == 2


def test_an_outcome_beyond_the_new_limits_is_infeasible(tmp_path, path):
    search(tmp_path / "earlier.jsonl", 12)
    known = read_ledger(tmp_path / "earlier.jsonl").evaluations
    search(path, 1, outcomes=known, limits={"macs": 0.5})
    contents = read_ledger(path)
    for outcome in filter(contents.is_taken_over, contents.evaluations):
        assert (outcome.status == "infeasible") == (point(outcome.architecture, SPACE)[1] > 0.5)


def test_pocket_makes_a_model_of_what_it_is_told_at_once(tmp_path, path):
    """A search that knows forty outcomes starts where another one has got to after forty evaluations."""
    search(tmp_path / "earlier.jsonl", 40, name="random")
    known = read_ledger(tmp_path / "earlier.jsonl").evaluations
    search(path, 10, name="pocket", outcomes=known)
    ours = read_ledger(path).asked
    search(tmp_path / "other.jsonl", 10, name="pocket", outcomes=known[:3])
    assert ours[-8:] != read_ledger(tmp_path / "other.jsonl").asked[-8:]


# The configuration's side.


def config(tmp_path, **start) -> SweepConfig:
    overrides = [f"run_dir={json.dumps(str(tmp_path / 'new'))}"]
    return load_config("digits-small", [*overrides, *(f"start_from.{key}={json.dumps(value)}" for key, value in start.items())])


@pytest.fixture
def earlier(tmp_path):
    """A run folder with two outcomes on its front, one beside it, and one infeasible."""
    folder, settings = tmp_path / "earlier", config(tmp_path)
    space = get_space(settings.space)
    folder.mkdir()
    (folder / "sweep.yaml").write_text(resolved_yaml(settings))
    with Ledger.open(folder / "ledger.jsonl", header=ledger_header(settings)) as ledger:
        for index, architecture in enumerate(architectures(4, space=space)):
            ledger.asked(index, architecture)
            status = "infeasible" if index == 3 else "done"
            found = evaluation(index, architecture, status=status, space=space)
            latency = {"latency_ms": Estimate.exact([3.0, 2.0, 9.0, 1.0][index])}
            ledger.record(dataclasses.replace(found, objectives=found.objectives | latency))
    for stage in ("supernet", "latency"):
        (folder / stage).mkdir()
        (folder / stage / "weights").write_text(stage)
    return folder


def test_a_front_and_designs_of_files_are_read(tmp_path, earlier):
    run = read_run(earlier)
    own = architectures(1, seed=5, space=get_space("digits-small"))[0]
    (tmp_path / "own.json").write_text(json.dumps(own.to_json()))
    found = starting_points(config(tmp_path, designs=[str(tmp_path / "own.json")], front=str(earlier)), {})
    assert found.designs == (own, *(member.architecture for member in run.front))
    assert found.outcomes == found.stages == ()


def test_a_published_design_starts_a_space_that_holds_it(tmp_path):
    settings = load_config("mobile-digits", ["space=mobile-sd", "start_from.designs=[sd15, md-lite]"])
    assert starting_points(settings, {}).designs == (get_design("sd15").architecture, get_design("md-lite").architecture)


def test_a_ledger_comes_with_the_stages_that_its_numbers_rest_on(tmp_path, earlier):
    found = starting_points(config(tmp_path, ledger=str(earlier)), {})
    assert [outcome.index for outcome in found.outcomes] == [0, 1, 2]
    new = tmp_path / "new"
    new.mkdir()
    for _ in range(2):  # a sweep that goes on has them already
        found.take_stages(new)
        assert [(new / stage / "weights").read_text() for stage in ("supernet", "latency")] == ["supernet", "latency"]


def test_outcomes_are_not_taken_over_beside_a_supernet_of_the_runs_own(tmp_path, earlier):
    """Its numbers would stand beside theirs on one front."""
    new = tmp_path / "new"
    (new / "supernet").mkdir(parents=True)
    (new / "supernet" / "weights").write_text("another")
    found = starting_points(config(tmp_path, ledger=str(earlier)), {})
    with pytest.raises(InputError, match=r"start_from\.ledger: .*new/supernet is not that of .*earlier, whose outcomes"):
        found.take_stages(new)
    starting_points(config(tmp_path, stages=str(earlier)), {}).take_stages(new)
    assert (new / "supernet" / "weights").read_text() == "another"  # without outcomes, what a run has is its own
    assert (new / "latency" / "weights").read_text() == "latency"


def test_what_an_earlier_run_has_gained_since_does_not_matter(tmp_path, earlier):
    new = tmp_path / "new"
    new.mkdir()
    starting_points(config(tmp_path, ledger=str(earlier)), {}).take_stages(new)
    (earlier / "latency" / "validation-x").mkdir()
    (earlier / "latency" / "validation-x" / "found.json").write_text("{}")
    starting_points(config(tmp_path, ledger=str(earlier)), {}).take_stages(new)
    assert not (new / "latency" / "validation-x").exists()


@pytest.mark.parametrize("key", ["ledger", "stages"])
def test_numbers_of_other_images_are_not_taken_over(tmp_path, earlier, key):
    class Split(list):
        def digest(self):
            return f"{self}"

    check_same_data(earlier, {"train": Split([1, 2])})
    splits = {"train": Split([1, 2, 3])}
    told = rf"start_from\.{key}: .*earlier/data\.json: .* had 2 examples and has 3.*start_from\.front"
    with pytest.raises(InputError, match=told):
        starting_points(config(tmp_path, **{key: str(earlier)}), splits)
    starting_points(config(tmp_path, front=str(earlier)), splits)


def test_a_run_that_lacks_what_decided_its_numbers_is_refused(tmp_path, earlier):
    """A new supernet would measure what comes, and the old one has measured what is there."""
    shutil.rmtree(earlier / "supernet")
    with pytest.raises(InputError, match=r"start_from\.ledger: .*earlier has no supernet folder, which decided its numbers"):
        starting_points(config(tmp_path, ledger=str(earlier)), {})


def test_numbers_that_a_classifier_gave_want_the_classifier(tmp_path, earlier):
    judged = config(tmp_path, ledger=str(earlier)).model_copy(update={"objectives": ("frechet_classifier", "latency_ms")})
    shutil.rmtree(earlier / "features", ignore_errors=True)
    with pytest.raises(InputError, match="earlier has no features folder, which decided its numbers"):
        starting_points(judged, {})


def test_stages_come_without_what_was_found_with_them(tmp_path, earlier):
    found = starting_points(config(tmp_path, stages=str(earlier)), {})
    assert found.outcomes == found.designs == ()
    assert [stage.name for stage in found.stages] == ["supernet", "latency"]


def test_stages_are_taken_where_designs_will_be_judged_otherwise_but_for_the_anchors(tmp_path, earlier):
    (earlier / "anchors").mkdir()
    (earlier / "features").mkdir()
    judged = ["objectives=[predicted_frechet, latency_ms]", "anchors={num: 8}", "quality.num_samples=333"]
    stages, ledger = (f"start_from.{key}={json.dumps(str(earlier))}" for key in ("stages", "ledger"))
    found = starting_points(load_config("digits-small", [*judged, stages]), {})
    assert [stage.name for stage in found.stages] == ["features", "supernet", "latency"]
    with pytest.raises(InputError, match=r"start_from.ledger: .* measured in another way \(anchors, quality\)"):
        starting_points(load_config("digits-small", [*judged, ledger]), {})


def test_stages_are_taken_for_another_device_but_for_the_predictor(tmp_path, earlier):
    phone_profile("Galaxy S24").save(tmp_path / "P")
    of_phone = f"latency.predictor={tmp_path / 'P'}"
    stages, ledger = (f"start_from.{key}={json.dumps(str(earlier))}" for key in ("stages", "ledger"))
    for other in (of_phone, "latency.rounds=7"):
        found = starting_points(load_config("digits-small", [other, stages]), {})
        assert [stage.name for stage in found.stages] == ["supernet"]
        with pytest.raises(InputError, match=r"start_from.ledger: .* measured in another way \(latency\)"):
            starting_points(load_config("digits-small", [other, ledger]), {})
    of_image = "latency.image={num_steps: 8, guidance_factor: 2, encoder_ms: 4, decoder_ms: 92}"
    found = starting_points(load_config("digits-small", [of_image, stages]), {})
    assert [stage.name for stage in found.stages] == ["supernet", "latency"]
    (earlier / "latency" / "predictor.json").write_bytes((tmp_path / "P" / "predictor.json").read_bytes())
    found = starting_points(load_config("digits-small", [of_phone, stages]), {})
    assert [stage.name for stage in found.stages] == ["supernet", "latency"]


@pytest.mark.parametrize(
    ("start", "told"),
    [
        ({"designs": ["sd51"]}, r"start_from.designs: there is no published design 'sd51'.*did you mean 'sd15'"),
        ({"designs": ["sd15"]}, r"start_from: sd15: .* is not in space 'digits-small': .*choose a space that holds it"),
        ({"designs": ["{tmp}/bad.json"]}, r"start_from.designs: .*bad.json: this is no architecture"),
        ({"front": "{tmp}/none"}, r"start_from.front: .*none: there is no such run folder"),
        ({"front": "{tmp}/empty"}, r"start_from.front: .*empty has no front yet"),
        ({"stages": "{tmp}/none"}, r"start_from.stages: .*none: there is no such run folder.*leave it out"),
        ({"ledger": "{tmp}/earlier", "stages": "{tmp}/earlier"}, "ledger and stages are both given"),
        ({"ledger": "{tmp}/none"}, r"start_from.ledger: .*none: there is no such run folder.*leave it out"),
    ],
)
def test_refusals(tmp_path, start, told):
    (tmp_path / "bad.json").write_text('{"schema": 99}')
    (tmp_path / "empty").mkdir()
    Ledger.open(tmp_path / "empty" / "ledger.jsonl", header=ledger_header(config(tmp_path))).close()
    filled = json.loads(json.dumps(start).replace("{tmp}", str(tmp_path)))
    with pytest.raises(InputError, match=told):
        starting_points(config(tmp_path, **filled), {})


@pytest.mark.parametrize("key", ["ledger", "stages"])
def test_numbers_that_were_measured_in_another_way_are_refused_by_key(tmp_path, earlier, key):
    settings = load_config("digits-small", ["supernet.learning_rate=0.5", f"start_from.{key}={earlier}"])
    with pytest.raises(InputError, match=r"measured in another way \(supernet\).*start_from.front takes its designs alone"):
        starting_points(settings, {})


def test_status_tells_apart_what_was_taken_over(tmp_path):
    search(tmp_path / "earlier.jsonl", 5)
    search(tmp_path / "ledger.jsonl", 2, outcomes=read_ledger(tmp_path / "earlier.jsonl").evaluations)
    found = status_json(read_run(tmp_path))
    assert (found["done"], found["ended"], found["taken_over"]) == (7, 2, 5)


def test_a_ledger_of_schema_1_is_read_and_brought_forward(path, capsys):
    lines = [{"kind": "header", "schema": 1, **HEADER}]
    for index, architecture in enumerate(DESIGNS[:2]):
        lines.append({"kind": "asked", "index": index, "digest": architecture.digest, "architecture": architecture.to_json()})
    path.write_bytes(b"".join(map(encode_line, lines)))
    before = read_ledger(path)
    assert [x.origin for x in before.asked] == ["searcher", "searcher"]
    with Ledger.open(path, header=HEADER) as ledger:
        assert "brought from schema 1 to 3" in capsys.readouterr().err
        ledger.record(evaluation(0, DESIGNS[0], space=SPACE))
    after = read_ledger(path)
    assert after.header == {**before.header, "schema": 3}
    assert after.asked == before.asked
    assert len(after.evaluations) == 1
    assert b'"origin":"searcher"' in path.read_bytes()
