"""Safetensors by the tensor: what is written the library reads, what the library writes is read, damage is refused."""

import errno
import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from experiments.errors import InputError
from experiments.safetensors_stream import mismatch, read_header, shapes_of, type_of, write_safetensors


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    return {
        "b/half": rng.standard_normal((3, 5)).astype(np.float16),
        "a/brain": rng.standard_normal(7).astype(jnp.bfloat16),
        "c/single": rng.standard_normal((2, 2, 3)).astype(np.float32),
        "d/double": rng.standard_normal((4, 2)),
        "e/scalar": np.array(3, np.float32),
        "f/empty": np.zeros((0, 4), np.float32),
    }


def _write(path, arrays, metadata=None):
    types = {name: type_of(array) for name, array in arrays.items()}
    write_safetensors(path, types, arrays.__getitem__, metadata=metadata)


def test_a_file_has_the_very_bytes_that_the_library_writes(tmp_path, arrays):
    _write(tmp_path / "ours", arrays, {"format": "pt"})
    save_file(arrays, tmp_path / "theirs", metadata={"format": "pt"})
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


def test_arrays_that_are_not_contiguous_are_written_as_they_read(tmp_path, arrays):
    turned = {name: array.T for name, array in arrays.items()}
    _write(tmp_path / "file", turned)
    for name, array in load_file(tmp_path / "file").items():
        np.testing.assert_array_equal(array, turned[name])


def test_a_full_disk_is_told_however_small_the_tensors_are():
    arrays = {f"x{i}": np.ones(4, np.float32) for i in range(3)}
    with pytest.raises(OSError, match="/dev/full") as caught:
        write_safetensors(Path("/dev/full"), {name: type_of(x) for name, x in arrays.items()}, arrays.__getitem__)
    assert caught.value.errno == errno.ENOSPC


def test_tensors_are_read_one_by_one_as_they_are_stored(tmp_path, arrays):
    save_file(arrays, tmp_path / "file", metadata={"what": "x"})
    stored, metadata = read_header(tmp_path / "file")
    assert metadata == {"what": "x"}
    assert stored.keys() == arrays.keys()
    for name, array in arrays.items():
        found = stored[name].read()
        assert found.dtype == array.dtype
        assert found.tobytes() == array.tobytes()
        assert found.shape == array.shape


@pytest.mark.parametrize("keep", [0, 4, 60, -1])
def test_a_file_that_is_cut_short_is_refused(tmp_path, arrays, keep):
    save_file(arrays, tmp_path / "file")
    (tmp_path / "file").write_bytes((tmp_path / "file").read_bytes()[:keep])
    with pytest.raises(InputError, match=r"file: this is no whole safetensors file \(.*\); copy it again"):
        read_header(tmp_path / "file")


def test_tensors_that_are_no_floating_point_numbers_are_refused(tmp_path):
    save_file({"n": np.arange(3)}, tmp_path / "file")
    with pytest.raises(InputError, match="tensor 'n' must be of type F64, F32, F16, BF16, got I64; convert it"):
        read_header(tmp_path / "file")


def test_a_header_is_json_with_aligned_data(tmp_path, arrays):
    _write(tmp_path / "file", arrays)
    data = (tmp_path / "file").read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    assert length % 8 == 0
    assert all(header[name]["data_offsets"][0] % array.itemsize == 0 for name, array in arrays.items())


def test_a_mismatch_names_the_first_few_of_each_kind(tmp_path):
    save_file({name: np.zeros(2, np.float32) for name in "abcdefg"}, tmp_path / "file")
    found, _ = read_header(tmp_path / "file")
    assert mismatch(shapes_of(found), dict.fromkeys("abcdefg", (2,))) is None
    wanted = {"a": (3,), **dict.fromkeys("vwxy", (2,)), "b": (2,)}
    assert mismatch(shapes_of(found), wanted) == (
        "4 tensors are missing: v, w, x ...; 5 tensors are left over: c, d, e ...; "
        "1 tensor is of another shape: a is (2,) and must be (3,)"
    )
