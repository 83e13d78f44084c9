import contextlib
import dataclasses

import numpy as np
import pytest

from experiments.data import as_arrays, load_dataset, write_latents
from experiments.data.latent_npz import map_npz
from experiments.data.latent_records import encode_record
from experiments.errors import InputError
from experiments.npz_file import read_npz


def test_whichever_byte_of_an_npz_file_is_changed_it_is_read_or_refused_by_name(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, latents=np.zeros((2, 2, 2, 1), np.float32))
    content = path.read_bytes()
    for i in range(len(content)):
        for value in (0, 255):
            path.write_bytes(content[:i] + bytes([value]) + content[i + 1 :])
            for read in (load_latents, lambda path: read_npz(path, wants=bool)):
                with contextlib.suppress(InputError):
                    read(path)


def load_latents(path):
    return [example["image"].shape for example in load_dataset(path, split="all")]


KINDS = ["npz", "array_record"]


def content(count: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "latents": rng.normal(size=(count, 4, 6, 3)).astype(np.float32),
        "context": rng.normal(size=(count, 5, 7)).astype(np.float16),
        "labels": rng.integers(0, 4, count),
    }


def write_records(path, records):
    from array_record.python.array_record_module import ArrayRecordWriter

    writer = ArrayRecordWriter(str(path), "group_size:1")
    for record in records:
        writer.write(record)
    writer.close()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_is_read(tmp_path, kind):
    given = content(30)
    path = write_latents(tmp_path / f"a.{kind}", **given, num_classes=9)
    dataset = load_dataset(path, split="all")
    arrays = as_arrays(dataset)
    assert np.array_equal(arrays.images, given["latents"])
    assert np.array_equal(arrays.context, given["context"].astype(np.float32))
    assert np.array_equal(arrays.labels, given["labels"])
    assert arrays.tokens is None
    info = dataset.info
    assert (info.kind, info.is_latent, info.image_shape, info.context_shape) == (kind, True, (4, 6, 3), (5, 7))
    assert info.num_classes == 9
    assert [path.name for path in tmp_path.iterdir()] == [f"a.{kind}"]


@pytest.mark.parametrize("kind", KINDS)
def test_latents_alone_have_the_empty_prompt(tmp_path, kind):
    path = write_latents(tmp_path / f"a.{kind}", content(3)["latents"])
    arrays = as_arrays(load_dataset(path, split="train"))
    assert arrays.tokens.tolist() == [[0], [0], [0]]
    assert arrays.labels is None
    assert arrays.context is None


@pytest.mark.parametrize("kind", KINDS)
def test_one_file_is_divided_by_the_rule(tmp_path, kind):
    given = content(30)["latents"]
    path = write_latents(tmp_path / f"a.{kind}", given)
    parts = [as_arrays(load_dataset(path, split=split)).images for split in ("train", "validation", "test")]
    assert [len(part) for part in parts] == [24, 3, 3]
    rows = [np.flatnonzero((given == image).all(axis=(1, 2, 3)))[0] for part in parts for image in part]
    assert sorted(rows) == list(range(30))


@pytest.mark.parametrize("kind", KINDS)
def test_files_in_a_folder_say_the_split_by_their_names(tmp_path, kind):
    write_latents(tmp_path / f"train-00000-of-00002.{kind}", **content(3, 0))
    write_latents(tmp_path / f"train-00001-of-00002.{kind}", **content(4, 1))
    write_latents(tmp_path / f"validation.{kind}", **content(2, 2))
    dataset = load_dataset(tmp_path, split="train")
    assert dataset.info.split_sizes == {"train": 7, "validation": 2}
    expected = np.concatenate([content(3, 0)["latents"], content(4, 1)["latents"]])
    assert np.array_equal(as_arrays(dataset).images, expected)
    assert np.array_equal(load_dataset(tmp_path, split="validation")[1]["image"], content(2, 2)["latents"][1])
    with pytest.raises(InputError, match=r"split 'test' is empty \(train 7, validation 2, test 0\); ask for another"):
        load_dataset(tmp_path, split="test")


def test_an_uncompressed_npz_is_mapped_and_a_compressed_one_read(tmp_path):
    latents = np.asfortranarray(content(3)["latents"])
    np.savez(tmp_path / "mapped.npz", latents=latents, more=np.empty((0, 2)))
    np.savez_compressed(tmp_path / "read.npz", latents=latents)
    mapped, read = map_npz(tmp_path / "mapped.npz"), map_npz(tmp_path / "read.npz")
    assert isinstance(mapped["latents"], np.memmap)
    assert not isinstance(read["latents"], np.memmap)
    assert np.array_equal(mapped["latents"], latents)
    assert np.array_equal(read["latents"], latents)
    assert mapped["more"].shape == (0, 2)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_python_objects_are_never_unpickled(tmp_path, save):
    save(tmp_path / "a.npz", latents=np.array([{"a": 1}], dtype=object))
    with pytest.raises(InputError, match=r"a\.npz: not a readable npz file \(.*[Oo]bject"):
        load_dataset(tmp_path / "a.npz", split="train")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": np.ones((2, 2))}, "key `latents` is missing; the keys are images"),
        ({"latents": np.ones((2, 3, 3), np.float32)}, r"`latents` must be float16 or float32 \[n, height"),
        ({"latents": np.ones((2, 3, 3, 1), np.uint8)}, r"got uint8 \[2, 3, 3, 1\]"),
        ({"latents": np.ones((0, 3, 3, 1), np.float32)}, "not empty"),
        ({"latents": np.ones((2, 3, 3, 1)), "context": np.ones((2, 4))}, r"`context` must be .* \[n, length, width\]"),
        ({"latents": np.ones((2, 3, 3, 1)), "context": np.ones((3, 4, 5))}, "`context` has 3 rows and `latents` 2"),
        ({"latents": np.ones((2, 3, 3, 1)), "labels": np.ones(2)}, r"`labels` must be int \[n\], got float64"),
        ({"latents": np.ones((1, 3, 3, 1)), "labels": np.ones(1, int), "num_classes": np.ones(3)}, "must be one int"),
    ],
)
def test_an_npz_of_another_form(tmp_path, arrays, message):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(InputError, match=rf"a\.npz: .*{message}"):
        load_dataset(tmp_path / "a.npz", split="train")


@pytest.mark.parametrize(("kind", "unit"), [("npz", "row"), ("array_record", "record")])
def test_values_that_are_not_finite_and_labels_outside_are_named(tmp_path, kind, unit):
    path = tmp_path / f"a.{kind}"
    latents = np.ones((3, 2, 2, 1), np.float32)
    latents[1, 0, 0, 0] = np.nan
    if kind == "npz":
        np.savez(path, latents=latents, labels=np.array([0, 1, 5]), num_classes=np.array(2))
    else:
        labels = (0, 1, 5)
        rows = zip(latents, labels, strict=True)
        write_records(path, [encode_record(x, context=None, label=k, num_classes=2) for x, k in rows])
    dataset = load_dataset(path, split="train")
    with pytest.raises(InputError, match=rf"{path.name}, {unit} 1: its latent has values that are not finite"):
        dataset[1]
    with pytest.raises(InputError, match=rf"{unit} 2: label must lie in \[0, 2\), got 5"):
        dataset[2]


@pytest.mark.parametrize("kind", KINDS)
def test_files_that_are_damaged(tmp_path, kind):
    path = write_latents(tmp_path / f"a.{kind}", **content(20))
    whole = path.read_bytes()
    for data in (b"", b"hello" * 20_000, whole[: len(whole) // 2]):
        path.write_bytes(data)
        with pytest.raises(InputError, match=rf"a\.{kind}: not a readable {kind} file"):
            load_dataset(path, split="train")


def test_a_damaged_record_is_named(tmp_path):
    rng = np.random.default_rng(0)
    latents = rng.normal(size=(4, 8, 8, 4)).astype(np.float32)
    path = write_latents(tmp_path / "a.array_record", latents)
    data = bytearray(path.read_bytes())
    middle = max(index for index, byte in enumerate(data) if byte) - 100
    data[middle] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"a\.array_record(, record \d: the record is damaged|: not a readable)"):
        as_arrays(load_dataset(path, split="all"))


def test_records_of_another_form(tmp_path):
    from safetensors.numpy import save

    latent = np.ones((2, 2, 1), np.float32)
    good = encode_record(latent, context=None, label=None, num_classes=None)
    format_ = {"format": "pocketunet-latents-1"}
    wrong = {
        "not a safetensors record": b"hello",
        "a record must have metadata format='pocketunet-latents-1' .* got format=None and latent": save({"latent": latent}),
        "`latent` must be float16 or float32": save({"latent": latent.astype(np.int32)}, metadata=format_),
        "a `label` is one int, with num_classes": save({"latent": latent, "label": np.ones(2)}, metadata=format_),
    }
    for number, (message, record) in enumerate(wrong.items()):
        path = tmp_path / f"{number}.array_record"
        write_records(path, [record, good])
        with pytest.raises(InputError, match=f"{path.name}, record 0: .*{message}"):
            load_dataset(path, split="train")


def test_a_record_of_another_shape_than_the_first(tmp_path):
    sides = (2, 3)
    records = [encode_record(np.ones((s, s, 1), np.float32), context=None, label=None, num_classes=None) for s in sides]
    write_records(tmp_path / "a.array_record", records)
    with pytest.raises(InputError, match=r"record 1: it has Layout\(image_shape=\(3, 3, 1\).*but record 0 has"):
        load_dataset(tmp_path / "a.array_record", split="train")[1]


def test_an_array_record_without_records(tmp_path):
    write_records(tmp_path / "a.array_record", [])
    with pytest.raises(InputError, match=r"a\.array_record: (the file has no records|not a readable)"):
        load_dataset(tmp_path / "a.array_record", split="train")


def test_files_that_do_not_agree(tmp_path):
    write_latents(tmp_path / "train.npz", np.ones((2, 4, 4, 1), np.float32))
    write_latents(tmp_path / "test.npz", np.ones((2, 5, 5, 1), np.float32))
    with pytest.raises(InputError, match=r"train\.npz: it has .*, but test\.npz has .*; they must agree"):
        load_dataset(tmp_path, split="train")
    write_latents(tmp_path / "test.array_record", np.ones((2, 5, 5, 1), np.float32))
    with pytest.raises(InputError, match=r"has both \.npz and \.array_record files; keep one kind"):
        load_dataset(tmp_path, split="train")


@dataclasses.dataclass(frozen=True)
class Refusal:
    name: str
    arguments: dict[str, object]
    message: str


REFUSALS = [
    Refusal("a.pt", {}, r"written as \.npz or \.array_record, got suffix '\.pt'"),
    Refusal("a.npz", {"latents": np.ones((2, 2))}, "`latents` must be float16 or float32"),
    Refusal("a.npz", {"context": np.ones((2, 1, 1))}, "`context` has 2 rows and `latents` 3"),
    Refusal("a.npz", {"latents": np.full((3, 2, 2, 1), np.inf)}, "row 0: its latent has values that are not finite"),
    Refusal("a.array_record", {"labels": np.array([0, 1, 5]), "num_classes": 3}, r"row 2: label must lie in \[0, 3\)"),
    Refusal("a.array_record", {"labels": np.array([[0, 1, 5]])}, r"`labels` must be int \[n\]"),
]


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.message[:30])
def test_what_cannot_be_written_leaves_nothing(tmp_path, refusal):
    arguments = {"latents": np.ones((3, 2, 2, 1), np.float32), **refusal.arguments}
    with pytest.raises(InputError, match=refusal.message):
        write_latents(tmp_path / refusal.name, **arguments)
    assert not list(tmp_path.iterdir())


def test_latents_are_never_resized(tmp_path):
    path = write_latents(tmp_path / "a.npz", np.ones((3, 4, 4, 2), np.float32))
    assert load_dataset(path, split="train", resolution=4, channels=2).info.image_shape == (4, 4, 2)
    with pytest.raises(InputError, match=r"`resolution`=8 does not fit the latents .* 4x4x2 and are never resized"):
        load_dataset(path, split="train", resolution=8)
    with pytest.raises(InputError, match="`channels`=3 does not fit the latents"):
        load_dataset(path, split="train", channels=3)
