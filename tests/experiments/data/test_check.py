import re

import numpy as np
import pytest
from PIL import Image

from experiments import cli
from experiments.data import check_dataset, image_grid, write_latents
from experiments.errors import InputError


def test_the_digits(tmp_path):
    report = check_dataset("digits", grid_path=tmp_path / "new" / "grid.png").report
    assert "images: 1797 (train 1197, validation 300, test 300), used as 8x8x1" in report
    assert "values: -1 to 1" in report
    assert "(n=1797 of 1797 read)" in report
    assert "10 class labels (0 178, 1 182, 2 177, 3 183, 4 181, 5 182, 6 181, 7 179, 8 174, 9 180)" in report
    assert f"grid of 64: {tmp_path / 'new' / 'grid.png'}" in report
    with Image.open(tmp_path / "new" / "grid.png") as grid:
        assert grid.size == (8 * 9 * 7 - 7, 8 * 9 * 7 - 7)


def _truncate(path):
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def test_a_folder_of_several_sizes(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (30, 20, 3), dtype=np.uint8)
    for side in (10, 20, 30):
        Image.fromarray(noise[:side]).save(folder / f"{side}.png")
    (folder / "10.txt").write_text("a short one")
    found = check_dataset(folder, grid_path=tmp_path / "grid.png")
    assert found.refusal is None
    report = found.report
    assert "smallest 10x20, median 20x20, largest 30x20" in report
    assert "(n=3 of 3 read)" in report
    assert "prompts: 1 captions, the longest of 11 bytes" in report
    assert f"{folder / '10.png'}: caption 'a short one'" in report
    assert "2 of 3 images have no caption" in report
    assert "the images have several sizes: give a resolution; here 64 was taken" in report
    assert "grid of 3" in report


@pytest.mark.parametrize(("num_truncated", "others"), [(1, ""), (15, "; 14 more cannot be read")])
def test_images_that_do_not_decode_are_listed_and_refused(tmp_path, monkeypatch, capsys, num_truncated, others):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "images"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (20, 16, 16), dtype=np.uint8)
    for number, pixels in enumerate(noise):
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
        if number < num_truncated:
            _truncate(folder / f"{number:02}.png")
    with pytest.raises(SystemExit) as exit_:
        cli.main(["data", "check", "images"])
    assert exit_.value.code == 2
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert f"(n={20 - num_truncated} of 20 read)" in captured.out
    listed = [line.split(":")[1].strip() for line in lines if line.startswith("unreadable: ")]
    assert listed == [f"images/{number:02}.png" for number in range(num_truncated)]
    assert re.fullmatch(
        r"pocketunet: images/00\.png: the image does not decode \(.*\); mend it, or take it out "
        rf"\(and out of metadata\.jsonl\){others}; no grid was saved\n",
        captured.err,
    )
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


def test_a_folder_with_nothing_readable_is_refused(tmp_path):
    for name in ("a.png", "b.png"):
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 9), dtype=np.uint8)).save(tmp_path / name)
        _truncate(tmp_path / name)
    with pytest.raises(InputError, match=r"a\.png: the image does not decode .*; 1 more cannot be read$"):
        check_dataset(tmp_path, grid_path=tmp_path / "grid.png")
    assert not (tmp_path / "grid.png").exists()


def test_latents_far_from_unit_variance_are_mentioned(tmp_path):
    rng = np.random.default_rng(0)
    latents = (5 * rng.normal(size=(12, 4, 4, 4))).astype(np.float32)
    path = write_latents(tmp_path / "a.npz", latents, context=np.ones((12, 7, 3), np.float32))
    report = check_dataset(path, grid_path=tmp_path / "grid.png").report
    assert "encoded context of 7x3 (tokens x width)" in report
    assert "latents should have a standard deviation near 1" in report
    with Image.open(tmp_path / "grid.png") as grid:
        assert grid.mode == "RGB"


def test_a_grid_that_cannot_be_saved(tmp_path):
    for name in ("grid.what", "grid.psd"):
        with pytest.raises(InputError, match=rf"{name}: no kind of picture that can be written ends so; use .*grid\.png"):
            check_dataset("digits", grid_path=tmp_path / name)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file/grid\.png: the grid cannot be saved there"):
        check_dataset("digits", grid_path=tmp_path / "file" / "grid.png")


@pytest.mark.parametrize("channels", [1, 3])
def test_a_grid_places_pictures_row_by_row(channels):
    images = np.full((3, 2, 2, channels), -1, np.float32)
    images[1] = 0.0
    images[2] = 7.0
    grid = np.asarray(image_grid(images, columns=2, scale=2))
    assert grid.shape == ((10, 10) if channels == 1 else (10, 10, 3))
    grid = grid if channels == 1 else grid[..., 0]
    assert (grid[:4, :4] == 0).all()
    assert (grid[:4, 6:] == 128).all()
    assert (grid[6:, :4] == 255).all()
    assert (grid[4:6] == 255).all()


def test_a_grid_of_values_that_are_not_finite():
    images = np.array([np.nan, np.inf, -np.inf], np.float32).reshape(3, 1, 1, 1)
    assert np.asarray(image_grid(images, columns=3)).tolist() == [[0, 255, 255, 255, 0]]


@pytest.mark.parametrize(
    ("shape", "arguments", "message"),
    [
        ((0, 2, 2, 1), {"columns": 2}, r"n at least 1, got \[0, 2, 2, 1\]"),
        ((2, 2, 2), {"columns": 2}, "a grid takes images"),
        ((2, 2, 2, 4), {"columns": 2}, "1 or 3"),
        ((2, 2, 2, 1), {"columns": 0}, "`columns` must be at least 1, got 0"),
        ((2, 2, 2, 1), {"columns": 1, "scale": 0}, "`scale` must be at least 1, got 0"),
    ],
)
def test_grids_that_cannot_be_drawn(shape, arguments, message):
    with pytest.raises(InputError, match=message):
        image_grid(np.zeros(shape, np.float32), **arguments)
