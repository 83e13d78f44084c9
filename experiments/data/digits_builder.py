"""A TFDS builder for the UCI handwritten digits that scikit-learn carries: 1,797 grey images of 8x8, ten classes.

Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI machine learning repository (1998),
its test part, as `sklearn.datasets.load_digits` ships it (no download).
"""

import contextlib
import io
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from experiments.errors import InputError

EVERY = 6  # one digit in six for validation, one for test
MAX_INTENSITY = 16


class UciDigits(tfds.core.GeneratorBasedBuilder):
    """Handwritten digits in 1,197 / 300 / 300 examples for train / validation / test.

    The split is systematic: digits are ordered by class, then as stored; of every six in a row the first is validation,
    the third test. Every class is thus divided alike to one digit, without a random number.

    Intensities 0..16 are stored as round(intensity * 255 / 16) in 8 bits; round(stored * 16 / 255) gives them back.
    """

    VERSION = tfds.core.Version("1.0.0")
    # Said outright, because TFDS finds it with a package that it does not install (importlib_resources).
    code_path = epath.Path(__file__)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="UCI handwritten digits, 8x8 grey, as scikit-learn carries them.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(8, 8, 1), encoding_format="png"),
                    "label": tfds.features.ClassLabel(num_classes=10),
                }
            ),
            supervised_keys=("image", "label"),
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        del dl_manager  # nothing is downloaded
        from sklearn.datasets import load_digits

        flat, labels = load_digits(return_X_y=True)
        images, labels = np.asarray(flat).reshape(-1, 8, 8), np.asarray(labels)
        return {split: self._generate_examples(images, labels, rows) for split, rows in split_rows(labels).items()}

    def _generate_examples(
        self, images: np.ndarray, labels: np.ndarray, rows: np.ndarray
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        for row in rows.tolist():
            yield row, {"image": _png(images[row]), "label": int(labels[row])}


def split_rows(labels: np.ndarray) -> dict[str, np.ndarray]:
    """Rows of train, validation and test by the systematic rule of `UciDigits`.

    >>> {split: len(rows) for split, rows in split_rows(np.arange(1797) % 10).items()}
    {'train': 1197, 'validation': 300, 'test': 300}
    """
    by_class = np.argsort(labels, kind="stable")
    turn = np.arange(len(labels)) % EVERY
    return {
        "train": np.sort(by_class[(turn != 0) & (turn != 2)]),
        "validation": np.sort(by_class[turn == 0]),
        "test": np.sort(by_class[turn == 2]),
    }


def prepared_digits(root: pathlib.Path) -> pathlib.Path:
    """The folder of the prepared digits under `root`; prepares them there the first time (seconds, offline).

    Several processes may do so at once: each prepares in a folder of its own and renames it into place, and the first
    rename wins.

    Raises:
        InputError: the folder cannot be written.
    """
    home = root / UciDigits.name / str(UciDigits.VERSION)
    if (home / "dataset_info.json").exists():
        return home
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        workshop = pathlib.Path(tempfile.mkdtemp(prefix=".preparing-", dir=root))
    except OSError as error:
        raise InputError(
            f"the digits are prepared into {root}, which cannot be written ({error.strerror}); "
            "set POCKETUNET_DATA_DIR to a folder that can"
        ) from None
    try:
        try:
            _prepare(workshop)
        except (OSError, RuntimeError) as error:  # array_record says of a full disk what it says of its own errors
            raise InputError(
                f"the digits cannot be prepared in {root} ({error}); make room there, or set POCKETUNET_DATA_DIR to another "
                "folder"
            ) from None
        with contextlib.suppress(OSError):  # another process was first
            os.rename(workshop / UciDigits.name / str(UciDigits.VERSION), home)
    finally:
        shutil.rmtree(workshop, ignore_errors=True)
    if not (home / "dataset_info.json").exists():
        raise InputError(f"{home} is not a prepared data set and stands in the way; remove it and try again")
    return home


def _prepare(root: pathlib.Path) -> None:
    # TFDS writes its banner and its bars to both streams; a run's own progress is the only one that should be seen.
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        UciDigits(data_dir=root, file_format="array_record").download_and_prepare()


def _png(intensities: np.ndarray) -> io.BytesIO:
    # TFDS needs TensorFlow to encode an array, but takes a file that is encoded already.
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.rint(intensities * 255 / MAX_INTENSITY).astype(np.uint8)).save(file, format="PNG")
    file.seek(0)
    return file
