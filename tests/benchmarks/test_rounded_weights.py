"""Weights that are kept in few bits."""

import numpy as np
import pytest

from benchmarks import rounded_weights as weights
from experiments.errors import InputError


def tree():
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(100, 50)) * np.geomspace(1e-12, 1e6, 50)
    return {"one": numbers.astype(np.float32), "two": {"bias": np.array([0, -0.0, 1, -1, 31 / 32, 1 / 3], np.float32)}}


def test_every_number_is_the_nearest_of_six_significant_bits(tmp_path):
    path, given = tmp_path / "weights.npz", tree()
    weights.write_weights(path, given)
    found = weights.read_weights(path, given)
    mantissas, exponents = np.frexp(given["one"])
    np.testing.assert_array_equal(found["one"], np.ldexp(np.round(mantissas * 64) / 64, exponents).astype(np.float32))
    np.testing.assert_array_equal(found["two"]["bias"], np.array([0, 0, 1, -1, 31 / 32, 21.5 / 64], np.float32).round(9))
    weights.write_weights(path, found)
    np.testing.assert_array_equal(weights.read_weights(path, given)["one"], found["one"])


def test_a_weight_takes_little_more_than_a_byte(tmp_path):
    path = tmp_path / "weights.npz"
    weights.write_weights(path, np.random.default_rng(0).normal(size=100_000).astype(np.float32))
    assert path.stat().st_size < 120_000


def test_weights_of_another_network_or_a_torn_file_are_refused(tmp_path):
    path = tmp_path / "weights.npz"
    weights.write_weights(path, tree())
    with pytest.raises(InputError, match=r"these are not the 3 weights of this supernet; copy the file again"):
        weights.read_weights(path, {"one": np.zeros(3, np.float32)})
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="no whole npz file"):
        weights.read_weights(path, tree())
