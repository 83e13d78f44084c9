import hashlib

import numpy as np
import pytest

from experiments.data import as_arrays, batches, check_dataset, load_dataset
from experiments.data.shape_drawing import SHAPES, SIDE, Drawing, draw
from experiments.data.shapes import ATTRIBUTES, CAPTIONS, COLOURS, NUM_SCENES, POSITIONS, SIZES, WORDS, load_shapes
from experiments.errors import InputError
from objectives.agreement import attribute_values


def digest(split: str, resolution: int, count: int) -> str:
    """Of the first pictures in 8 bits, captions and labels."""
    dataset, found = load_dataset("shapes", split=split, resolution=resolution), hashlib.sha256()
    for index in range(count):
        example = dataset[index]
        found.update(np.rint((example["image"] + 1) * 127.5).astype(np.uint8).tobytes())
        found.update(f"{example['caption']}/{example['label']}".encode())
    return found.hexdigest()[:16]


@pytest.mark.parametrize(
    ("split", "resolution", "expected"),
    [
        ("train", 16, "bd9827f953d567df"),
        ("validation", 16, "5e31aed5d09ea746"),
        ("test", 32, "8ece4f7a74a33fdb"),
        ("train", 50, "0d5178dc726c9e67"),
    ],
)
def test_pictures_and_captions_are_the_same_on_every_machine(split, resolution, expected):
    assert digest(split, resolution, 40) == expected


def test_pixels_are_whole_numbers_of_eight_bits():
    images = np.stack([load_dataset("shapes", split="test", resolution=16)[i]["image"] for i in range(20)])
    assert images.dtype == np.float32
    levels = (images.astype(np.float64) + 1) * 127.5
    assert np.abs(levels - np.rint(levels)).max() < 1e-4
    assert (np.rint(levels).astype(np.uint8).astype(np.float32) / np.float32(127.5) - np.float32(1) == images).all()


@pytest.mark.parametrize(("split", "rounds"), [("train", 20), ("validation", 3), ("test", 3)])
def test_every_scene_comes_equally_often_in_every_split(split, rounds):
    dataset = load_dataset("shapes", split=split, resolution=16)
    labels = [dataset.read(index)["label"] for index in range(NUM_SCENES)]
    assert sorted(labels) == list(range(NUM_SCENES))
    assert len(dataset) == dataset.info.num_examples == rounds * NUM_SCENES
    assert dataset[NUM_SCENES]["label"] == labels[0]


def test_no_image_comes_twice_in_any_split():
    images = as_arrays(load_dataset("shapes", split="all", resolution=16), context_length=6).images
    assert len(np.unique(images.reshape(len(images), -1), axis=0)) == len(images) == 26 * NUM_SCENES


def test_all_splits_one_after_the_other_are_the_whole():
    whole = load_dataset("shapes", split="all", resolution=16)
    for start, split in ((0, "train"), (7200, "validation"), (8280, "test")):
        part = load_dataset("shapes", split=split, resolution=16)
        assert np.array_equal(whole[start + 5]["image"], part[5]["image"])
        assert whole[start + 5]["caption"] == part[5]["caption"]
    assert len(whole) == 9360


def test_another_seed_draws_the_same_scenes_in_another_way():
    one, other = (load_shapes(split="train", resolution=16, seed=seed)[7] for seed in (0, 1))
    assert one["caption"] == other["caption"]
    assert (one["image"] != other["image"]).any()


def test_a_caption_says_all_of_a_scene():
    values = attribute_values(np.arange(NUM_SCENES), SIZES)
    for label, caption in enumerate(CAPTIONS):
        count, colour, shape, position = (a.values[v] for a, v in zip(ATTRIBUTES, values[label], strict=True))
        words = caption.split()
        assert words[:2] == [count, colour]
        assert words[2].startswith(shape)
        assert caption.endswith(POSITIONS[position])
        assert len(words) == 6
    assert len(set(CAPTIONS)) == NUM_SCENES
    assert {"two red crosses on the left", "one white circle in the middle"} <= set(CAPTIONS)
    assert len(WORDS) == 26


def _blobs(inked: np.ndarray) -> int:
    """Connected parts, corners not counted."""
    left, count = {tuple(x) for x in np.argwhere(inked)}, 0
    while left:
        count, waiting = count + 1, [left.pop()]
        while waiting:
            row, column = waiting.pop()
            around = {(row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)} & left
            left -= around
            waiting += around
    return count


def test_pictures_show_what_their_captions_say():
    """By the truth of the pixels: colour, centre and number of parts; what shape it is the classifier's test says."""
    dataset = load_dataset("shapes", split="train", resolution=64)
    for index in range(0, 2 * NUM_SCENES, 7):
        example = dataset[index]
        count, colour, _, position = attribute_values(np.array([example["label"]]), SIZES)[0]
        pixels = np.rint((example["image"] + 1) * 127.5)
        ink = np.array(list(COLOURS.values())[colour])
        inked = np.abs(pixels - ink).max(2) <= 15  # tints reach 14
        assert _blobs(inked) == count + 1
        y, x = np.argwhere(inked).mean(0) / 64
        nearest = {"left": (0.25, 0.5), "right": (0.75, 0.5), "top": (0.5, 0.25), "bottom": (0.5, 0.75), "middle": (0.5, 0.5)}
        distances = {name: np.hypot(x - at[0], y - at[1]) for name, at in nearest.items()}
        assert min(distances, key=distances.__getitem__) == tuple(POSITIONS)[position]
        assert not inked[[0, -1]].any()
        assert not inked[:, [0, -1]].any()


@pytest.mark.parametrize(("shape", "area"), [("circle", np.pi), ("square", 1.75**2), ("triangle", 1.875), ("cross", 2.4375)])
def test_shapes_cover_their_area(shape, area):
    pixels = draw(Drawing(shape, ((SIDE // 2, SIDE // 2),), 300, (255,) * 3, (0,) * 3), 256)
    assert pixels.sum() / 3 / 255 / 256**2 == pytest.approx(area * (300 / SIDE) ** 2, rel=0.005)


def test_shapes_are_those_that_are_named():
    assert tuple(ATTRIBUTES[2].values) == SHAPES


def test_a_word_is_a_token_and_the_label_stands_beside_it():
    arrays = as_arrays(load_dataset("shapes", split="validation", resolution=16), context_length=6)
    assert arrays.tokens.min() >= 1
    assert arrays.tokens.max() == len(WORDS)
    said = [" ".join(WORDS[token - 1] for token in row) for row in arrays.tokens]
    assert said == [CAPTIONS[label] for label in arrays.labels]
    batch = next(batches(load_dataset("shapes", split="train", resolution=16), batch_size=8, seed=0))
    assert {key: value.shape for key, value in batch.items()} == {"image": (8, 16, 16, 3), "tokens": (8, 16), "label": (8,)}
    assert (batch["tokens"][:, 6:] == 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resolution": 15}, "'shapes' is drawn at a `resolution` of 16 to 256, got 15; use 16 or 32"),
        ({"resolution": 257}, "of 16 to 256, got 257"),
        ({"channels": 1}, "has colours in its captions: `channels` must be 3, got 1; use 3"),
        ({"split": "trian"}, "`split` must be one of train, validation, test, all, got 'trian'; did you mean 'train'?"),
        ({"image_key": "image"}, "`image_key` is for TFDS data sets, which 'shapes' is not"),
    ],
)
def test_what_cannot_be_drawn(options, message):
    with pytest.raises(InputError, match=message):
        load_dataset("shapes", **{"split": "train", **options})


def test_a_name_that_is_nearly_right():
    with pytest.raises(InputError, match="'shape' is not known.*did you mean.*shapes"):
        load_dataset("shape", split="train")


def test_a_check_shows_them(tmp_path):
    report = check_dataset("shapes", grid_path=tmp_path / "grid.png", resolution=16).report
    assert "shapes: a generated set in memory" in report
    assert "images: 9360 (train 7200, validation 1080, test 1080), used as 16x16x3" in report
    assert "9360 captions, the longest of 36 bytes" in report
    assert "360 class labels (one red circle on the left 26, " in report
    assert "labels say: count (3 values), colour (6), shape (4), position (5)" in report
    assert "shapes, split all, example 0: caption 'one red circle on the left'" in report
    assert (tmp_path / "grid.png").is_file()
