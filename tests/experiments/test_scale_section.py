"""A bundle's file holds every field of a scale."""

import dataclasses

import pytest

from experiments.bundle import ScaleSection
from search_space import Scale, get_scale, scale_names


@pytest.mark.parametrize("name", scale_names())
def test_a_scale_goes_into_a_bundle_and_comes_back(name: str):
    scale = get_scale(name)
    assert Scale(**ScaleSection.model_validate(dataclasses.asdict(scale)).model_dump()) == scale


@pytest.mark.parametrize("field", ["shared_projections", "prompt_layers"])
def test_a_bundle_from_before_a_scale_had_a_field_still_loads(field: str):
    scale = get_scale("digits-proxy")
    record = dataclasses.asdict(scale)
    del record[field]
    assert Scale(**ScaleSection.model_validate(record).model_dump()) == scale
