import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits

from experiments.data import as_arrays, digits_builder, load_dataset
from experiments.data.digits_builder import prepared_digits, split_rows
from experiments.errors import InputError

ROOT = pathlib.Path(__file__).parents[3]


def levels(images: np.ndarray) -> np.ndarray:
    """Intensities 0..16 again, by the builder's rule."""
    return np.rint((images[..., 0] + 1) * 127.5 * 16 / 255).astype(int)


@pytest.mark.parametrize(("split", "count"), [("train", 1197), ("validation", 300), ("test", 300), ("all", 1797)])
def test_sizes_and_shapes(split, count):
    dataset = load_dataset("digits", split=split)
    assert len(dataset) == dataset.info.num_examples == count
    assert dataset.info.image_shape == dataset[0]["image"].shape == (8, 8, 1)
    assert dataset.info.num_classes == 10
    assert dataset.info.label_names == tuple("0123456789")
    assert dataset.info.split_sizes == {"train": 1197, "validation": 300, "test": 300}


def test_the_splits_together_are_the_digits_of_scikit_learn_to_the_last_intensity():
    arrays = [as_arrays(load_dataset("digits", split=split)) for split in ("train", "validation", "test")]
    images, labels = (np.concatenate([getattr(part, key) for part in arrays]) for key in ("images", "labels"))
    found = np.column_stack([labels, levels(images).reshape(len(labels), -1)])
    truth = load_digits()
    wanted = np.column_stack([truth.target, truth.data.astype(int)])
    assert np.array_equal(found[np.lexsort(found.T)], wanted[np.lexsort(wanted.T)])
    assert images.min() == -1
    assert images.max() == 1


def test_no_digit_is_in_two_splits_and_every_class_is_divided_alike():
    target = load_digits().target
    rows = split_rows(target)
    assert sorted(np.concatenate(list(rows.values())).tolist()) == list(range(1797))
    for split in ("validation", "test"):
        counts = np.bincount(target[rows[split]], minlength=10)
        assert abs(counts - np.bincount(target) / 6).max() <= 1


def test_labels_are_one_token_prompts():
    arrays = as_arrays(load_dataset("digits", split="test"))
    assert arrays.tokens.shape == (300, 1)
    assert (arrays.tokens[:, 0] == arrays.labels + 1).all()


def test_another_resolution_and_channels():
    assert load_dataset("digits", split="test", resolution=16, channels=3)[0]["image"].shape == (16, 16, 3)


def test_another_process_prepares_at_the_same_time_and_is_first(tmp_path, monkeypatch):
    prepare, homes = digits_builder._prepare, []

    def slow_prepare(root):
        monkeypatch.setattr(digits_builder, "_prepare", prepare)
        homes.append(prepared_digits(tmp_path))
        prepare(root)

    monkeypatch.setattr(digits_builder, "_prepare", slow_prepare)
    assert [prepared_digits(tmp_path)] == homes
    assert [path.name for path in tmp_path.iterdir()] == ["uci_digits"]


def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("POCKETUNET_DATA_DIR", str(tmp_path / "file"))
    with pytest.raises(InputError, match=r"cannot be written .* set POCKETUNET_DATA_DIR to a folder that can"):
        load_dataset("digits", split="train")


def test_a_disk_that_is_full(tmp_path):
    """Files of at most 20,000 bytes, in a process of its own, where writing fails as on a full disk."""
    code = """if True:
        import resource, signal, sys
        from experiments.data.loading import load_dataset
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000,) * 2)
        load_dataset("digits", split="train")
    """
    environment = {**os.environ, "POCKETUNET_DATA_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "InputError: the digits cannot be prepared in" in done.stderr.splitlines()[-1]
    assert "make room there, or set POCKETUNET_DATA_DIR to another folder" in done.stderr
    assert list(tmp_path.iterdir()) == [tmp_path / "uci_digits"]


def test_something_else_stands_in_the_way(tmp_path):
    home = tmp_path / "uci_digits" / "1.0.0"
    home.mkdir(parents=True)
    (home / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="is not a prepared data set and stands in the way"):
        prepared_digits(tmp_path)
    assert [path.name for path in home.iterdir()] == ["notes.txt"]


def test_the_home_without_the_variable_is_the_cache_folder(monkeypatch):
    from experiments.data.loading import data_home

    monkeypatch.delenv("POCKETUNET_DATA_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", "elsewhere")
    assert data_home() == pathlib.Path("elsewhere/pocketunet/tfds")
