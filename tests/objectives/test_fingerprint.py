"""Fingerprints: one per meaning, stable over releases, plain data only."""

import pytest

from objectives.fingerprint import fingerprint


def test_is_the_same_forever():
    assert fingerprint(sampler="ddim", num_steps=12, n=1024, guidance_scale=1.5) == "c753199eb4291aa5"


def test_order_and_kind_of_sequence_do_not_matter_but_every_value_does():
    base = fingerprint(n=64, band=(0.45, 0.6), nested={"a": 1, "b": None})
    assert base == fingerprint(nested={"b": None, "a": 1.0}, band=[0.45, 0.6], n=64.0)
    changes = [{"n": 65}, {"band": (0.6, 0.45)}, {"nested": {"a": 1}}, {"extra": None}]
    settings = {"n": 64, "band": (0.45, 0.6), "nested": {"a": 1, "b": None}}
    assert len({base} | {fingerprint(**(settings | change)) for change in changes}) == 5
    assert fingerprint(flag=True) != fingerprint(flag=1)


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ({"n": float("nan")}, r"`settings\.n` must be text, a finite number"),
        ({"a": {"b": [1, object()]}}, r"`settings\.a\.b\[1\]` must be"),
        ({"a": {1: 2}}, r"`settings\.a` must be"),
    ],
)
def test_refuses_what_is_not_plain_data(settings, where):
    with pytest.raises(ValueError, match=where):
        fingerprint(**settings)
