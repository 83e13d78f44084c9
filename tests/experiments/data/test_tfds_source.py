import io
import json
import shutil

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from experiments.data import load_dataset
from experiments.data.digits_builder import prepared_digits
from experiments.data.tfds_source import choose_features, split_expressions
from experiments.errors import InputError

PICTURE = tfds.features.Image(shape=(4, 6, 3))
LABEL = tfds.features.ClassLabel(names=["cat", "dog"])
TEXT = tfds.features.Text()


def png(value: int, size: tuple[int, int] = (4, 6)) -> io.BytesIO:
    file = io.BytesIO()
    Image.new("RGB", size[::-1], (value, value, value)).save(file, format="PNG")
    file.seek(0)
    return file


class Tiny(tfds.core.GeneratorBasedBuilder):
    """Ten pictures of their own number, with captions; a test split of two."""

    VERSION = tfds.core.Version("1.0.0")
    code_path = None

    def _info(self):
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict({"image": PICTURE, "text": TEXT}))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(10), "test": self._generate_examples(2)}

    def _generate_examples(self, count):
        for number in range(count):
            yield number, {"image": png(number), "text": f"picture {number} \u00e9"}


class TinyMixed(tfds.core.GeneratorBasedBuilder):
    """Pictures of two sizes with labels and file names, in two configurations."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = (tfds.core.BuilderConfig(name="one"), tfds.core.BuilderConfig(name="two"))
    code_path = None

    def _info(self):
        features = {"image": tfds.features.Image(shape=(None, None, 3)), "label": LABEL, "file_name": TEXT}
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for number in range(10):
            yield number, {"image": png(0, (4 + number, 9)), "label": number % 2, "file_name": f"{number}.png"}


def prepare(builder) -> None:
    builder.download_and_prepare()


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    root = tmp_path_factory.mktemp("tfds")
    prepare(Tiny(data_dir=root, file_format="array_record"))
    for config in ("one", "two"):
        prepare(TinyMixed(data_dir=root, config=config, file_format="array_record"))
    return root


@pytest.fixture(autouse=True)
def data_dir(home, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(home))
    monkeypatch.setenv("HOME", str(home / "nobody"))
    return home


def test_a_prepared_set_with_captions(home):
    dataset = load_dataset("tiny", split="test")
    assert {example["caption"] for example in dataset} == {"picture 0 \u00e9", "picture 1 \u00e9"}
    assert {round(float((example["image"][0, 0, 0] + 1) * 127.5)) for example in dataset} == {0, 1}
    assert dataset.info.image_shape == (4, 6, 3)
    assert dataset.info.location == str(home / "tiny" / "1.0.0")


def test_the_validation_split_is_cut_from_train():
    parts = {split: load_dataset("tiny:1.0.0", split=split) for split in ("train", "validation", "test", "all")}
    assert {split: len(part) for split, part in parts.items()} == {"train": 9, "validation": 1, "test": 2, "all": 12}
    captions = [example["caption"] for split in ("train", "validation") for example in parts[split]]
    assert sorted(captions) == [f"picture {number} \u00e9" for number in range(10)]
    assert "validation is train[90%:] of the prepared set" in parts["train"].info.notes


def test_a_prepared_folder_is_opened_by_its_path(home):
    assert len(load_dataset(home / "tiny" / "1.0.0", split="test")) == 2


def test_parquet_is_read_too(tmp_path):
    prepare(Tiny(data_dir=tmp_path, file_format="parquet"))
    assert load_dataset(tmp_path / "tiny" / "1.0.0", split="test")[0]["image"].shape == (4, 6, 3)


def test_a_label_comes_before_a_file_name_and_sizes_need_a_resolution():
    with pytest.raises(InputError, match="has images of several sizes; give `resolution`"):
        load_dataset("tiny_mixed/one", split="train")
    dataset = load_dataset("tiny_mixed/one", split="train", resolution=4)
    assert dataset.info.label_names == ("cat", "dog")
    assert {example["label"] for example in dataset} == {0, 1}
    named = load_dataset("tiny_mixed/one", split="train", resolution=4, prompt_key="file_name")
    assert named[0]["caption"].endswith(".png")


@pytest.mark.parametrize("damage", ["cut", "gone", "number", "shard gone", "shard cut"])
def test_a_half_copied_set_is_refused_by_name(home, tmp_path, damage):
    folder = shutil.copytree(home / "tiny" / "1.0.0", tmp_path / "tiny" / "1.0.0")
    features, (shard, *_) = folder / "features.json", sorted(folder.glob("*test.array_record*"))
    match damage:
        case "cut":
            features.write_text(features.read_text()[:40])
        case "gone":
            features.unlink()
        case "number":
            info = json.loads((folder / "dataset_info.json").read_text())
            (folder / "dataset_info.json").write_text(json.dumps(info | {"name": 3}))
        case "shard gone":
            shard.unlink()
        case "shard cut":
            shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])
    with pytest.raises(InputError, match="copy the prepared set again, or prepare it again"):
        list(load_dataset(folder, split="test"))


def test_no_module_is_imported_that_a_set_names(home, tmp_path, monkeypatch):
    (tmp_path / "named_by_data.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    folder = shutil.copytree(home / "tiny" / "1.0.0", tmp_path / "tiny" / "1.0.0")
    features = folder / "features.json"
    features.write_text(features.read_text().replace("tensorflow_datasets.core.features.image_feature", "named_by_data"))
    with pytest.raises(InputError, match="class 'named_by_data.Image' is none of TFDS's own features"):
        load_dataset(folder, split="test")


def test_several_configurations_need_a_name():
    with pytest.raises(InputError, match=r"several configurations \(one, two\); name one, .*`tiny_mixed/one`"):
        load_dataset("tiny_mixed", split="train")


@pytest.mark.parametrize(
    ("features", "keys", "message"),
    [
        ({"label": LABEL}, {}, "has no image feature; its features are label"),
        ({"a": PICTURE, "b": PICTURE}, {}, "several features that can be its image: a, b; say which with `image_key`"),
        ({"i": PICTURE, "x": LABEL, "y": LABEL}, {}, "can be its prompt: x, y; say which with `prompt_key`"),
        ({"i": PICTURE, "x": TEXT, "y": TEXT}, {}, "can be its prompt: x, y; say which with `prompt_key`"),
        (
            {"i": PICTURE, "x": LABEL},
            {"image_key": "x"},
            r"`image_key` 'x' is not .*use one of i \(all features: i, x\)",
        ),
        ({"i": PICTURE}, {"prompt_key": "z"}, "`prompt_key` 'z' is not .*use one of none"),
    ],
)
def test_ambiguous_features(features, keys, message):
    with pytest.raises(InputError, match=message):
        choose_features(features, name="n", **{"image_key": None, "prompt_key": None, **keys})


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ({"train": 9, "validation": 1, "test": 1}, {"train": "train", "validation": "validation", "test": "test"}),
        ({"train": 9, "valid": 1, "test": 1}, {"train": "train", "validation": "valid", "test": "test"}),
        ({"train": 9, "test": 0}, {"train": "train[:80%]", "validation": "train[90%:]", "test": "train[80%:90%]"}),
        ({"train": 9, "val": 2}, {"train": "train[:90%]", "validation": "val", "test": "train[90%:]"}),
        ({"test": 9}, {"test": "test"}),
        ({"other": 9}, {}),
    ],
)
def test_split_expressions(sizes, expected):
    found = split_expressions(sizes)
    assert {split: value for split, value in found.items() if split != "all"} == expected


def test_an_empty_split_is_refused(home, tmp_path):
    class OnlyTest(Tiny):
        def _split_generators(self, dl_manager):
            return {"test": self._generate_examples(2)}

    prepare(OnlyTest(data_dir=tmp_path, file_format="array_record"))
    with pytest.raises(InputError, match="has no split 'train'; it has all, test"):
        load_dataset(tmp_path / "only_test" / "1.0.0", split="train")


def test_a_known_set_that_is_not_prepared_says_how_to(home):
    message = (
        r"'cifar10' is not prepared \(looked in .*\)\. On a machine with a network: "
        r'`pip install "pocketunet\[tfds-prepare\]"`, then `python -c .*tfds\.builder\(\'cifar10\', '
        r"file_format='array_record'\)\.download_and_prepare\(\)\"`; .*set TFDS_DATA_DIR"
    )
    with pytest.raises(InputError, match=message) as refusal:
        load_dataset("cifar10", split="train")
    assert str(home) in str(refusal.value)


def test_an_unknown_name_gives_a_few_near_ones():
    with pytest.raises(InputError, match=r"'cifr10' is not known: .* did you mean cifar10 or") as refusal:
        load_dataset("cifr10", split="train")
    assert len(str(refusal.value)) < 400
    with pytest.raises(InputError, match="no known name is near it"):
        load_dataset("qqqqqqqq", split="train")
    with pytest.raises(InputError, match="is neither a file or folder that exists nor a TFDS name"):
        load_dataset("some folder/of images", split="train")


def test_a_version_or_configuration_that_is_not_there():
    message = r"'tiny:2\.0\.0' is not prepared, but tiny:1\.0\.0 is; use one that is, or prepare it: `python -c"
    with pytest.raises(InputError, match=message):
        load_dataset("tiny:2.0.0", split="train")
    with pytest.raises(InputError, match=r"but tiny_mixed/one:1\.0\.0, tiny_mixed/two:1\.0\.0 is; use one"):
        load_dataset("tiny_mixed/three", split="train")


def test_a_set_in_a_format_of_tensorflow_is_refused(home, tmp_path):
    folder = tmp_path / "tiny" / "1.0.0"
    folder.mkdir(parents=True)
    described = json.loads((home / "tiny" / "1.0.0" / "dataset_info.json").read_text())
    (folder / "dataset_info.json").write_text(json.dumps({**described, "fileFormat": "tfrecord"}))
    with pytest.raises(InputError, match="stored as tfrecord, which only TensorFlow reads; prepare it again"):
        load_dataset(folder, split="train")
    (folder / "dataset_info.json").write_text("{")
    with pytest.raises(InputError, match=r"dataset_info\.json cannot be read .*; prepare .* again"):
        load_dataset(folder, split="train")


def test_images_that_are_not_bytes_are_refused():
    from experiments.data.tfds_source import _image_shape

    deep = tfds.features.Image(shape=(4, 4, 1), dtype=np.uint16)
    with pytest.raises(InputError, match="images of type uint16; only uint8 images are read"):
        _image_shape(deep, name="n", resolution=None, channels=None)


def test_the_digits_are_a_tfds_set_for_others_too(tmp_path):
    folder = prepared_digits(tmp_path)
    source = tfds.builder_from_directory(folder).as_data_source(split="test")
    assert len(source) == 300
    assert source[0]["image"].dtype == np.uint8
