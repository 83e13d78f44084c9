import contextlib
import json
import pathlib

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from experiments.data import load_dataset
from experiments.data.folder import MixedSizesError
from experiments.data.pixels import read_pixels
from experiments.errors import InputError


def save(path: pathlib.Path, value=128, *, size=(8, 8), mode="RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size[::-1], value if mode == "L" else (value,) * len(mode)).save(path)


def metadata(folder: pathlib.Path, **captions: str) -> pathlib.Path:
    lines = [json.dumps({"file_name": f"{name}.png", "text": text}, ensure_ascii=False) for name, text in captions.items()]
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n\n", encoding="utf-8")
    return folder / "metadata.jsonl"


@pytest.fixture
def folder(tmp_path):
    """Two pictures, a and b."""
    save(tmp_path / "a.png", 0)
    save(tmp_path / "b.png", 255)
    return tmp_path


def test_captions_from_metadata(folder):
    metadata(folder, b="a red cup", a="line\u2028separator")
    dataset = load_dataset(folder, split="train")
    assert [example["caption"] for example in dataset] == ["line\u2028separator", "a red cup"]
    assert dataset.info.has_captions
    assert dataset.info.num_classes is None
    assert [example["image"].mean() for example in dataset] == [-1, 1]


def test_captions_from_side_cars_and_images_without_one_are_reported(folder):
    (folder / "a.txt").write_text("\ufeffa blue bowl\n", encoding="utf-8")
    (folder / "README.txt").write_text("of no image")
    dataset = load_dataset(folder, split="train")
    assert [example["caption"] for example in dataset] == ["a blue bowl", ""]
    assert "1 of 2 images have no caption and get the empty prompt: b.png" in dataset.info.notes
    assert "captions come from side-car .txt files" in dataset.info.notes


def test_metadata_wins_over_side_cars_and_says_so(folder):
    (folder / "a.txt").write_text("side")
    metadata(folder, a="meta", b="meta too")
    dataset = load_dataset(folder, split="train")
    assert dataset[0]["caption"] == "meta"
    assert any("1 side-car .txt files are ignored" in note for note in dataset.info.notes)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r":1: not valid JSON .*a line looks like"),
        ("[1]", ":1: a JSON object is expected, got list"),
        ('{"file_name": "a.png", "caption": "x"}', ":1: key `text` must be there .* keys are 'file_name', 'caption'"),
        ('{"text": "x"}', ":1: key `file_name` must be there"),
        ('{"file_name": "a.png", "text": 3}', ":1: key `text` must be there and be text"),
        (r'{"file_name": "a.png", "text": "a cat \ud83d"}', r":1: key `text` has '\\ud83d', half a character, which cannot be"),
        ("[" * 100_000, ":1: not valid JSON"),
        ('{"file_name": "aa.png", "text": "x"}', r":1: there is no image 'aa\.png' .*did you mean 'a\.png'\?"),
        ('{"file_name": "../secret.png", "text": "x"}', ":1: there is no image '../secret.png'"),
        ('{"file_name": "zebra.jpeg", "text": "x"}', ":1: there is no image .*add the image, or remove the line"),
        ('\n{"file_name": "a.png", "text": "x"}\n{"file_name": "a.png", "text": "y"}', ":3: .*has a caption already"),
    ],
)
def test_a_wrong_metadata_line_is_named_by_file_and_line(folder, line, message):
    (folder / "metadata.jsonl").write_text(line)
    with pytest.raises(InputError, match=rf"metadata\.jsonl{message}"):
        load_dataset(folder, split="train")


def test_captions_that_are_no_utf8(folder):
    (folder / "a.txt").write_bytes(b"caf\xe9")
    with pytest.raises(InputError, match=r"a\.txt: not UTF-8 text .* at byte 3\); save it as UTF-8"):
        load_dataset(folder, split="train")


def test_class_folders_are_labels_in_every_split(tmp_path):
    for split, classes in {"train": "cat dog", "val": "dog", "test": "cat ape"}.items():
        for name in classes.split():
            save(tmp_path / split / name / "1.png")
    assert load_dataset(tmp_path, split="train").info.label_names == ("ape", "cat", "dog")
    validation = load_dataset(tmp_path, split="validation")
    assert [example["label"] for example in validation] == [2]
    assert validation.info.split_sizes == {"train": 2, "validation": 1, "test": 2}
    assert len(load_dataset(tmp_path, split="all")) == 5


def test_split_folders_have_metadata_of_their_own(tmp_path):
    for split in ("train", "test"):
        save(tmp_path / split / "a.png")
        metadata(tmp_path / split, a=f"of {split}")
    assert load_dataset(tmp_path, split="test")[0]["caption"] == "of test"
    with pytest.raises(InputError, match=r"split 'validation' is empty .*put images into subfolders train, validation"):
        load_dataset(tmp_path, split="validation")


def test_a_class_called_train_is_a_class(tmp_path):
    for name in ("bus", "train"):
        save(tmp_path / name / "1.png")
    assert load_dataset(tmp_path, split="train").info.label_names == ("bus", "train")


def test_images_beside_folders_have_no_classes(tmp_path):
    for name in ("a/1.png", "b/1.png", "2.png"):
        save(tmp_path / name)
    info = load_dataset(tmp_path, split="train").info
    assert info.num_classes is None
    assert any("every image gets the empty prompt" in note for note in info.notes)


def test_a_folder_is_divided_by_the_paths_alone(tmp_path):
    for number in range(40):
        save(tmp_path / f"{number}.png", number)
    parts = {split: load_dataset(tmp_path, split=split) for split in ("train", "validation", "test")}
    assert {split: len(part) for split, part in parts.items()} == {"train": 32, "validation": 4, "test": 4}
    names = [part.origin(index) for part in parts.values() for index in range(len(part))]
    assert len(set(names)) == 40
    (tmp_path / "z").mkdir()
    for number in range(40):
        (tmp_path / f"{number}.png").rename(tmp_path / f"z/{number}.png")
    moved = load_dataset(tmp_path / "z", split="test")
    assert [pathlib.Path(moved.origin(i)).name for i in range(4)] == [
        pathlib.Path(parts["test"].origin(i)).name for i in range(4)
    ]


def test_real_photographs_in_three_formats(tmp_path):
    photos = load_sample_images().images
    for name in ("china.png", "sub/flower.JPG", "flower.webp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(photos[0 if "china" in name else 1]).save(tmp_path / name)
    dataset = load_dataset(tmp_path, split="train")
    assert dataset.info.image_shape == (427, 640, 3)
    exact = photos[0].astype(np.float32) / np.float32(127.5) - np.float32(1)
    assert np.array_equal(dataset[0]["image"], exact)
    small = load_dataset(tmp_path, split="train", resolution=32)[0]["image"]
    centre = exact[:, 106:534]
    blocks = centre[:416, :416].reshape(32, 13, 32, 13, 3).mean(axis=(1, 3))
    assert small.shape == (32, 32, 3)
    assert np.corrcoef(small.ravel(), blocks.ravel())[0, 1] > 0.9


def test_several_sizes_need_a_resolution(folder):
    save(folder / "c.png", size=(20, 30))
    with pytest.raises(MixedSizesError, match=r"from 8x8 to 20x30\), .*; give `resolution`, for example"):
        load_dataset(folder, split="train")
    dataset = load_dataset(folder, split="train", resolution=16)
    assert all(example["image"].shape == (16, 16, 3) for example in dataset)
    assert dataset.info.sizes.largest == (20, 30)


def test_grey_images_have_one_channel_unless_asked(tmp_path):
    save(tmp_path / "a.png", 51, mode="L")
    grey, colour = (load_dataset(tmp_path, split="train", channels=channels) for channels in (None, 3))
    assert grey[0]["image"].shape == (8, 8, 1)
    assert colour[0]["image"].shape == (8, 8, 3)
    assert np.allclose(colour[0]["image"], 51 / 127.5 - 1)
    with pytest.raises(InputError, match=r"`channels` must be 1 \(grey\) or 3 \(RGB\) for images, got 4"):
        load_dataset(tmp_path, split="train", channels=4)


def test_transparency_lies_on_white_and_exif_turns_upright(tmp_path):
    Image.new("RGBA", (4, 2), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (read_pixels(tmp_path / "clear.png", shape=(2, 4, 3), origin="clear") == 1).all()
    turned = Image.fromarray(np.array([[0, 255]], np.uint8))
    exif = turned.getexif()
    exif[0x0112] = 6  # a quarter turn clockwise
    turned.save(tmp_path / "turned.png", exif=exif)
    assert read_pixels(tmp_path / "turned.png", shape=(2, 1, 1), origin="turned").ravel().tolist() == [-1, 1]


def test_sixteen_bit_grey_keeps_its_white_and_thirty_two_is_refused(tmp_path):
    Image.fromarray(np.array([[0, 65535]], np.uint16)).save(tmp_path / "deep.png")
    assert load_dataset(tmp_path, split="train")[0]["image"].ravel().tolist() == [-1, 1]
    Image.fromarray(np.zeros((1, 2), np.float32)).save(tmp_path / "float.tiff")
    with pytest.raises(InputError, match=r"float\.tiff: .* Pillow mode 'F' \(32 bits\); save it again as an 8-bit"):
        load_dataset(tmp_path, split="train")[1]


def test_files_that_are_no_images_are_named_all_at_once(folder):
    for name in ("c.png", "d.jpg"):
        (folder / name).write_bytes(b"hello")
    message = r"c\.png: the image does not decode \(no image format.*mend it, or take it out.*1 more do not: d\.jpg"
    with pytest.raises(InputError, match=message):
        load_dataset(folder, split="train")


def test_an_image_that_is_cut_short_is_named_when_it_is_read(folder):
    Image.fromarray(load_sample_images().images[0][:8, :8]).save(folder / "c.png")
    whole = (folder / "c.png").read_bytes()
    (folder / "c.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"c\.png: the image does not decode \(.+\); mend it"):
        load_dataset(folder, split="train")[2]


def test_links_to_folders_are_followed_and_circles_are_not(tmp_path):
    for name in ("set/a", "set/b", "elsewhere"):
        (tmp_path / name).mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(tmp_path / name / "1.png")
    (tmp_path / "set" / "c").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set" / "a" / "round").symlink_to(tmp_path / "set")
    info = load_dataset(tmp_path / "set", split="all").info
    assert (info.num_examples, info.label_names) == (3, ("a", "b", "c"))
    (tmp_path / "set" / "d").symlink_to(tmp_path / "set" / "b")
    (tmp_path / "elsewhere" / "round").symlink_to(tmp_path / "set")
    assert load_dataset(tmp_path / "set", split="all").info.label_names == ("a", "b", "c", "d")


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("suffix", ["jpg", "webp"])
def test_whatever_is_wrong_with_its_exif_an_image_is_read_or_refused_by_name(tmp_path, suffix):
    path, exif = tmp_path / f"a.{suffix}", Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "what it shows"
    Image.new("RGB", (4, 4)).save(path, exif=exif)
    content = path.read_bytes()
    start = content.index(b"II*\0" if b"II*\0" in content else b"MM\0*")
    for i in range(start, start + 60):
        for value in (0, 3, 255):
            path.write_bytes(content[:i] + bytes([value]) + content[i + 1 :])
            with contextlib.suppress(InputError):
                read_pixels(path, shape=(4, 4, 3), origin="a")


def test_hidden_files_are_passed_over(folder):
    for name in (".trash/c.png", "__MACOSX/d.png", ".e.png"):
        save(folder / name)
    assert len(load_dataset(folder, split="train")) == 2


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("", {}, "there is no image in this folder; it needs files .png"),
        ("missing/", {}, "there is no such file or folder; check the path"),
        ("missing.npz", {}, "there is no such file or folder"),
        ("", {"split": "valid"}, "`split` must be one of .*, got 'valid'; did you mean 'validation'"),
        ("", {"split": "7"}, "`split` must be one of .*, got '7'; use one of them"),
        ("", {"resolution": 0}, "`resolution` must be at least 1, got 0"),
        ("", {"channels": 0}, "`channels` must be at least 1, got 0"),
        ("", {"image_key": "image"}, "`image_key` is for TFDS data sets"),
    ],
)
def test_refusals(tmp_path, name, arguments, message):
    with pytest.raises(InputError, match=message):
        load_dataset(f"{tmp_path}/{name}", **{"split": "train", **arguments})


def test_a_file_that_is_no_data_set(folder):
    with pytest.raises(InputError, match=r"a\.png: a data set is a folder, or a file that ends in \.npz"):
        load_dataset(folder / "a.png", split="train")


def test_an_empty_name():
    with pytest.raises(InputError, match="'': there is no such file or folder"):
        load_dataset("", split="train")


def test_metadata_in_a_table_is_mentioned(folder):
    (folder / "metadata.csv").write_text("file_name,text")
    notes = load_dataset(folder, split="train").info.notes
    assert "metadata.csv is not read; write it as metadata.jsonl" in notes
