"""Estimates and objectives: JSON there and back, directions, refusals."""

import json
import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from objectives import Estimate, as_minimized, get_objective
from objectives.objective import OBJECTIVES, Objective

numbers = st.floats(allow_nan=False, allow_infinity=False)


@given(numbers, st.tuples(numbers, numbers).map(sorted) | st.none(), st.integers(1, 10**6) | st.none())
def test_json_there_and_back_is_the_identity(value, ends, n):
    low, high = ends if ends else (None, None)
    estimate = Estimate(value, low, high, n)
    assert Estimate.from_json(json.loads(json.dumps(estimate.to_json(), allow_nan=False))) == estimate


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_failed_number_becomes_null_in_strict_json(value):
    estimate = Estimate.exact(value)
    assert json.loads(json.dumps(estimate.to_json(), allow_nan=False)) == {"value": None}
    assert not estimate.is_finite
    assert math.isnan(Estimate.from_json({"value": None}).value)


def test_array_scalars_are_stored_as_python_numbers():
    estimate = Estimate(np.float64(1.5), low=1, high=np.float64(2), n=3)
    assert estimate == Estimate(1.5, 1.0, 2.0, 3)
    assert json.dumps(estimate.to_json()) == '{"value": 1.5, "low": 1.0, "high": 2.0, "n": 3}'


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        (Estimate(2.0), "2"),
        (Estimate.exact(1234.6), "1235"),
        (Estimate(0.5, 0.25, 0.75), "0.5 [0.25, 0.75]"),
    ],
)
def test_reads_well(estimate, text):
    assert str(estimate) == text


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"low": 1.0}, r"an interval needs both ends, got low=1\.0, high=None"),
        ({"low": 2.0, "high": 1.0}, r"`low` must not exceed `high`, got low=2\.0, high=1\.0"),
        ({"low": -math.inf, "high": 1.0}, r"interval ends must be finite, got low=-inf"),
        ({"n": 0}, r"`n` must be at least 1, got 0"),
    ],
)
def test_refuses_fields_that_make_no_interval(fields, message):
    with pytest.raises(ValueError, match=message):
        Estimate(1.0, **fields)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ([1.0], r"an estimate must be an object with the keys"),
        ({"value": 1.0, "hi": 2.0}, r"unknown key 'hi' in an estimate; the keys are"),
        ({"low": 1.0, "high": 2.0}, r"an estimate needs the key 'value', got the keys \['high', 'low'\]"),
        ({"value": "1"}, r"`value` of an estimate must be a number or null, got '1'"),
        ({"value": 1.0, "n": 2.9}, r"`n` of an estimate must be a whole number or null, got 2\.9"),
        ({"value": 10**400}, r"a number of an estimate is too large"),
        ({"value": True}, r"`value` of an estimate must be a number or null, got True"),
    ],
)
def test_refuses_json_that_is_no_estimate(record, message):
    with pytest.raises(ValueError, match=message):
        Estimate.from_json(record)


def test_names_are_unique_and_quality_is_never_called_fid():
    names = [objective.name for objective in OBJECTIVES]
    assert len(set(names)) == len(names)
    for objective in OBJECTIVES:
        assert not re.search(r"(?<![a-z])fid(?![a-z])", f"{objective.name} {objective.description}", re.IGNORECASE)
        assert get_objective(objective.name) is objective


def test_as_minimized_turns_only_maximised_columns_and_is_its_own_inverse():
    accuracy = Objective("accuracy", "maximize", "", "Share that is right.", is_cost=False)
    values = np.array([[1.0, 10.0], [np.nan, 20.0]])
    found = as_minimized([accuracy, get_objective("macs")], values)
    np.testing.assert_array_equal(found, [[-1.0, 10.0], [np.nan, 20.0]])
    np.testing.assert_array_equal(as_minimized([accuracy, get_objective("macs")], found), values)


def test_refuses_an_unknown_objective_and_names_the_nearest():
    with pytest.raises(ValueError, match=r"no objective is called 'latency'; did you mean 'latency_ms'\?"):
        get_objective("latency")


def test_refuses_another_number_of_columns():
    with pytest.raises(ValueError, match=r"one entry per objective \(1\), got shape \(3, 2\)"):
        as_minimized([get_objective("macs")], np.zeros((3, 2)))
