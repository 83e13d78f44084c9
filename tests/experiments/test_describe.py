"""Architectures and spaces as text and JSON."""

import dataclasses
import json

import numpy as np
import pytest
import yaml

from experiments.compare import comparison_json, comparison_text
from experiments.describe import find_subject, subject_json, subject_text
from experiments.describe_space import describe_space
from experiments.errors import InputError
from search_space import Architecture, Level, Stage, design_names, get_design, get_scale, get_space, layer_plan


@pytest.fixture
def architecture():
    return get_space("digits").sample(np.random.default_rng(0))


@pytest.fixture
def file(tmp_path, architecture):
    path = tmp_path / "architecture.json"
    path.write_text(json.dumps(architecture.to_json()))
    return path


def test_a_space_tells_its_size_every_gene_both_ends_and_its_costs():
    space = get_space("digits")
    text = describe_space("digits", limits=["parameters=1e6"])
    assert f"{space.size:,} architectures" in text
    assert all(gene.name in text for gene in space.genes)
    assert space.smallest().digest in text
    assert space.largest().digest in text
    assert "at scale digits-deploy" in text
    assert [name for name in ("parameters", "macs", "peak_activation_bytes") if f" {name} " in text.split("excludes")[1]]


def test_limits_are_read_in_either_form():
    found = [describe_space("digits", limits=limits) for limits in (["macs=1e9"], ["macs <= 1 G"], ["macs <= 1000 M"])]
    assert found[0] == found[1] == found[2]
    assert "1 G" in found[0]


def test_a_narrowed_space_is_described_like_any_other():
    text = describe_space("mobile-sd[*.shared_kv=true,num_levels=3]")
    assert "at scale sd15\n" in text
    assert "down0.shared_kv           true\n" in text
    assert "level3" not in text


def test_an_architecture_alone_is_drawn_and_with_a_scale_counted(file, architecture):
    alone = subject_text(find_subject(str(file)))
    assert architecture.digest in alone
    assert "MACs" not in alone
    assert subject_json(find_subject(str(file)))["parameters"] is None
    counted = subject_text(find_subject(str(file), scale="digits-proxy"))
    plan = layer_plan(architecture, get_scale("digits-proxy"))
    assert f"{plan.parameters:,}" in counted
    assert all(f"\n{stage} " in counted for stage in plan.stages)


def test_a_bundle_is_counted_at_its_own_scale(file):
    scale = dataclasses.asdict(get_scale("digits-proxy"))
    (file.parent / "training.yaml").write_text(yaml.safe_dump({"scale": scale}))
    at_its_own = subject_json(find_subject(str(file.parent)))
    assert at_its_own["scale"] == "digits-proxy"
    assert at_its_own["stages"] == subject_json(find_subject(str(file), scale="digits-proxy"))["stages"]


@pytest.mark.parametrize("name", design_names())
def test_the_parts_of_a_design_add_up_and_its_published_figures_come_with_their_marks(name):
    design = get_design(name)
    found = subject_json(find_subject(name))
    plan = layer_plan(design.architecture, get_scale(design.scale))
    for quantity in ("parameters", "macs_conv_linear", "macs_attention"):
        assert found[quantity] == getattr(plan, quantity) == sum(stage[quantity] for stage in found["stages"])
    assert found["peak_activation_bytes"] == max(stage["peak_activation_bytes"] for stage in found["stages"])
    assert [stage["name"] for stage in found["stages"]] == list(plan.stages)
    assert found["published"] == [dataclasses.asdict(figure) for figure in design.figures]
    assert Architecture.from_json(json.loads(json.dumps(found))["architecture"]) == design.architecture.canonical()
    text = subject_text(find_subject(name))
    assert all(figure.mark in text and figure.source in text for figure in design.figures)
    assert design.note in text


def test_a_file_that_is_called_like_a_design_is_reached_by_its_path(file, monkeypatch, architecture):
    file.rename(file.with_name("sd15"))
    monkeypatch.chdir(file.parent)
    assert find_subject("./sd15").architecture == architecture
    assert find_subject("sd15").design is get_design("sd15")


def test_differences_are_marked_and_nothing_else(file, architecture):
    level = architecture.levels[0]
    changed = dataclasses.replace(architecture, levels=(dataclasses.replace(level, width=7), *architecture.levels[1:]))
    other = file.with_name("other.json")
    other.write_text(json.dumps(changed.to_json()))
    subjects = [find_subject(str(path)) for path in (file, other)]
    assert comparison_json(subjects)["differences"] == ["digest", "widths"]
    marked = [line.split()[1] for line in comparison_text(subjects).splitlines() if line.startswith("*")]
    assert marked == ["digest", "widths"]
    assert comparison_json(subjects[:1] * 2)["differences"] == []


def test_published_figures_stand_beside_the_counted_ones():
    lines = comparison_text([find_subject(name) for name in ("sd15", "snapfusion")]).splitlines()
    row = next(i for i, line in enumerate(lines) if "parameters" in line)
    assert lines[row].split() == ["*", "parameters", "859,520,964", "741,301,124"]
    assert lines[row + 1].split() == ["published", "859,520,964", "verified", "848,000,000", "verified"]
    assert lines[-1].startswith("snapfusion: Table 3 merges")


def test_designs_with_and_without_a_level_and_a_mid_stage_are_compared():
    found = comparison_json([find_subject(name) for name in ("bk-sdm-small", "bk-sdm-tiny", "bk-sdm-base")])
    assert {"down3 blocks", "mid blocks", "mid layers", "up3 blocks", "parameters", "weight_bytes.int8"} <= set(
        found["differences"]
    )
    assert "down0 blocks" not in found["differences"]


def test_refusals_name_the_file(file, tmp_path):
    with pytest.raises(InputError, match=r"gone\.json: there is no such file; give an architecture\.json, a bundle, or"):
        find_subject(str(file.with_name("gone.json")))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty: this folder holds no architecture\.json; give a bundle, or"):
        find_subject(str(tmp_path / "empty"))
    (file.parent / "training.yaml").write_text("scale: {name: x}")
    with pytest.raises(InputError, match=r"training\.yaml: key 'scale' must hold the fields of a scale"):
        find_subject(str(file))
    for key, value in (("resolution", "64"), ("norm_groups", 0), ("base_width", -64)):
        scale = {**dataclasses.asdict(get_scale("sd15")), key: value}
        (file.parent / "training.yaml").write_text(yaml.safe_dump({"scale": scale}))
        with pytest.raises(InputError, match=rf"key 'scale' .*{key} must be a whole number of 1 or more, got {value!r}"):
            find_subject(str(file))
    for content in (b"[]", b"{", b"\x80\x81", b'{"schema": 1}'):
        file.write_bytes(content)
        with pytest.raises(InputError, match=r"architecture\.json: this is no architecture"):
            find_subject(str(file))


def test_a_scale_that_the_architecture_does_not_fit_is_refused(file):
    level = Level(1, Stage(1), Stage(1))
    file.write_text(json.dumps(Architecture((level,) * 5).to_json()))
    with pytest.raises(InputError, match="does not fit scale 'digits-proxy': resolution 8 .* use at most 4 levels; or give"):
        find_subject(str(file), scale="digits-proxy")


def test_a_design_is_counted_at_another_scale():
    assert find_subject("md-lite", scale="digits-proxy").plan.scale.name == "digits-proxy"


def test_published_figures_stand_beside_counts_at_their_own_scale_alone():
    assert subject_json(find_subject("sd15"))["published"]
    elsewhere = find_subject("sd15", scale="digits-proxy")
    assert subject_json(elsewhere)["published"] == []
    assert "published" not in subject_text(elsewhere)
