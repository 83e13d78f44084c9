import numpy as np
import pytest
from sklearn.datasets import load_sample_image

from experiments.data import as_arrays, load_dataset
from experiments.errors import InputError

SPLITS = ("train", "validation", "test")


@pytest.mark.parametrize(
    ("resolution", "sizes"),
    [(16, (1664, 208, 208)), (32, (416, 52, 52)), (64, (96, 12, 12))],
)
def test_patches_are_the_pictures_each_pixel_at_most_once(resolution, sizes):
    datasets = [load_dataset("photos", split=split, resolution=resolution) for split in SPLITS]
    assert tuple(map(len, datasets)) == sizes
    assert datasets[0].info.split_sizes == dict(zip(SPLITS, sizes, strict=True))
    found = [(example["label"], example["image"]) for dataset in datasets for example in dataset]
    for label, name in enumerate(("china", "flower")):
        patches = [np.rint((image + 1) * 127.5).astype(np.uint8) for found_label, image in found if found_label == label]
        picture = np.asarray(load_sample_image(f"{name}.jpg"))
        rows, columns = (side // resolution for side in picture.shape[:2])
        cut = [
            picture[row * resolution : (row + 1) * resolution, column * resolution : (column + 1) * resolution]
            for row in range(rows)
            for column in range(columns)
        ]
        assert sorted(patch.tobytes() for patch in patches) == sorted(np.ascontiguousarray(patch).tobytes() for patch in cut)


def test_every_split_has_both_pictures_and_labels_are_prompts():
    for split in SPLITS:
        dataset = load_dataset("photos", split=split, resolution=64)
        assert dataset.info.label_names == ("china", "flower")
        arrays = as_arrays(dataset)
        assert np.bincount(arrays.labels).tolist() == [len(dataset) // 2] * 2
        assert (arrays.tokens[:, 0] == arrays.labels + 1).all()
    assert len(load_dataset("photos", split="all")) == 520


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resolution": 65}, "'photos' is cut at a `resolution` of 8 to 64, got 65; use 16 or 32"),
        ({"resolution": 7}, "of 8 to 64, got 7"),
        ({"channels": 1}, "is in colour: `channels` must be 3, got 1; use 3"),
        ({"prompt_key": "label"}, "`prompt_key` is for TFDS data sets"),
    ],
)
def test_what_cannot_be_cut(options, message):
    with pytest.raises(InputError, match=message):
        load_dataset("photos", split="train", **options)
