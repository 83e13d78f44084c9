"""Spaces and architectures as text."""

import dataclasses
import json

import numpy as np
import pytest
import yaml

from experiments.describe import describe_architecture, describe_space
from experiments.errors import InputError
from search_space import get_scale, get_space, layer_plan


@pytest.fixture
def architecture():
    return get_space("digits").sample(np.random.default_rng(0))


@pytest.fixture
def file(tmp_path, architecture):
    path = tmp_path / "architecture.json"
    path.write_text(json.dumps(architecture.to_json()))
    return path


def test_a_space_tells_its_size_every_gene_and_both_ends():
    space = get_space("digits")
    text = describe_space("digits")
    assert f"{space.size:,} architectures" in text
    assert all(gene.name in text for gene in space.genes)
    assert space.smallest().digest in text
    assert space.largest().digest in text


def test_an_architecture_alone_is_drawn_and_with_a_scale_counted(file, architecture):
    assert architecture.digest in describe_architecture(file)
    assert "MACs" not in describe_architecture(file)
    counted = describe_architecture(file, scale="digits-proxy")
    macs = layer_plan(architecture, get_scale("digits-proxy")).macs
    assert f"{macs / 1e6:.3g} M MACs" in counted.splitlines()[-1]


def test_a_bundle_is_counted_at_its_own_scale(file):
    scale = dataclasses.asdict(get_scale("digits-proxy"))
    (file.parent / "training.yaml").write_text(yaml.safe_dump({"scale": scale}))
    assert describe_architecture(file.parent).endswith(describe_architecture(file, scale="digits-proxy").splitlines()[-1])


def test_refusals_name_the_file(file):
    with pytest.raises(FileNotFoundError, match=r"gone\.json: there is no such file; give an architecture\.json"):
        describe_architecture(file.with_name("gone.json"))
    (file.parent / "training.yaml").write_text("scale: {name: x}")
    with pytest.raises(InputError, match=r"training\.yaml: key 'scale' must hold the fields of a scale"):
        describe_architecture(file)
    file.write_text("[]")
    with pytest.raises(InputError, match=r"architecture\.json: this is no architecture"):
        describe_architecture(file)
