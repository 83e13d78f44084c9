"""Architectures as values: canonical form, digest, JSON, and every refusal."""

import copy
import dataclasses
import hashlib
import json

import numpy as np
import pytest

from search_space import Architecture, Level, Stage, get_design, get_scale, get_space, picture, space_names


def _one_level(down: Stage, up: Stage, mid: Stage | None = None) -> Architecture:
    return Architecture((Level(2, down, up),), mid)


@pytest.mark.parametrize(
    "change",
    [
        {"attention": "cross"},
        {"attention_function": "relu"},
        {"expansion": 2},
        {"shared_kv": True},
        {"gating": "silu"},
    ],
)
def test_genes_of_absent_transformers_do_not_change_the_digest(change: dict):
    plain, dressed = Stage(1), Stage(1, transformer_depth=0, **change)
    assert _one_level(plain, plain).digest == _one_level(dressed, dressed).digest
    with_transformer = Stage(1, transformer_depth=1)
    changed = Stage(1, transformer_depth=1, **change)
    assert _one_level(plain, with_transformer).digest != _one_level(plain, changed).digest


def test_an_empty_mid_stage_is_no_mid_stage():
    side = Stage(1)
    assert _one_level(side, side, Stage(0, "separable", 2)).canonical() == _one_level(side, side).canonical()


def test_a_mid_stage_of_one_block_has_no_place_for_transformers():
    side = Stage(1)
    one = _one_level(side, side, Stage(1, transformer_depth=2))
    assert one.digest == _one_level(side, side, Stage(1)).digest
    assert _one_level(side, side, Stage(2, transformer_depth=2)).digest != _one_level(side, side, Stage(2)).digest


def test_cross_attention_alone_has_no_keys_to_share():
    side = Stage(1)
    cross = [Stage(1, transformer_depth=1, attention="cross", shared_kv=shared) for shared in (False, True)]
    assert _one_level(side, cross[0]).digest == _one_level(side, cross[1]).digest


def test_json_round_trip_and_a_digest_that_never_changes():
    largest = get_space("digits").largest()
    assert Architecture.from_json(largest.to_json()) == largest
    # Run folders and bundles name architectures by this; a change of it orphans them.
    assert get_space("digits").smallest().digest == "004799242df841fa"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("schema",), 2, "schema must be 1, got 2; read this file with the version"),
        (("middle",), None, "architecture: key 'middle' is not known; did you mean 'mid'"),
        (("levels",), {}, "levels must be a list"),
        (("levels", 0, "width"), 0, r"levels\[0\]: width must be a whole number, 1 or more, got 0"),
        (
            ("levels", 0, "down", "num_block"),
            1,
            r"levels\[0\].down: key 'num_block' is not known; did you mean 'num_blocks'",
        ),
        (
            ("levels", 1, "up", "convolution"),
            "ful",
            r"levels\[1\].up.convolution must be one of full, separable, got 'ful'",
        ),
        (("levels", 0, "up", "num_blocks"), 9, r"levels\[0\]: up.num_blocks must be at most down.num_blocks \+ 1 = 2"),
        (("mid",), 3, "mid must be a JSON object, got 3"),
    ],
)
def test_damaged_json_is_refused_by_key(path: tuple, value: object, message: str):
    record = copy.deepcopy(get_space("digits").smallest().to_json())
    *parents, last = path
    place = record
    for key in parents:
        place = place[key]
    place[last] = value
    with pytest.raises(ValueError, match=message):
        Architecture.from_json(record)


def test_a_missing_key_is_named():
    record = get_space("digits").smallest().to_json()
    del record["levels"][2]["up"]
    with pytest.raises(ValueError, match=r"levels\[2\]: key 'up' is missing"):
        Architecture.from_json(record)


def test_an_architecture_needs_a_level_and_a_level_needs_blocks():
    with pytest.raises(ValueError, match="at least one level"):
        Architecture(())
    with pytest.raises(ValueError, match="down.num_blocks must be a whole number, 1 or more, got 0"):
        Level(1, Stage(0), Stage(1))


def test_the_picture_shows_every_stage_and_gene():
    space = get_space("digits")
    drawn = picture(space.largest())
    assert [line.split()[0] for line in drawn.splitlines()] == ["down0", "down1", "down2", "mid", "up2", "up1", "up0"]
    assert "[self cross ff4 softmax] x2" in drawn
    assert "K=V" not in drawn
    written_otherwise = Architecture((Level(2, Stage(1), Stage(1)),), Stage(1, transformer_depth=2))
    assert picture(written_otherwise) == picture(written_otherwise.canonical())
    assert "mid" not in picture(Architecture((Level(2, Stage(1), Stage(1)),), Stage(0)), get_scale("digits-proxy"))
    assert "(separable + [self cross ff3 relu K=V silu] x3) x2" in picture(get_design("mobilediffusion").architecture)


def test_the_digest_is_that_of_the_canonical_json():
    for space in map(get_space, space_names()):
        for architecture in (space.sample(np.random.default_rng(seed)) for seed in range(20)):
            plain = {"schema": 1, **dataclasses.asdict(architecture.canonical())}
            text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
            assert architecture.digest == hashlib.sha256(text.encode()).hexdigest()[:16]
