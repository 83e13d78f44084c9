"""Where prepared TFDS data sets lie on this disk; one that does not is refused at once, without the network."""

import difflib
import json
import os
import pathlib
import re

from experiments.errors import InputError

_BUILT_IN = ("digits", "photos", "shapes")  # names that need no TFDS set; here to be suggested
READABLE_FORMATS = ("array_record", "parquet")
NAME = re.compile(r"(?P<name>[a-z]\w*)(/(?P<config>[\w.\-+]+))?(:(?P<version>\d+\.\d+\.\d+))?", re.IGNORECASE)


def find_prepared(name: str) -> pathlib.Path:
    """The folder of a prepared TFDS set, from a name as TFDS writes them: `name`, `name/config`, `name:1.0.0`.

    Looks in `TFDS_DATA_DIR`, then in ~/tensorflow_datasets. Without a version the newest prepared one is taken.

    Raises:
        InputError: nothing of this name is prepared; the message says how to prepare it, or the nearest names.
    """
    match = NAME.fullmatch(name)
    if match is None:
        raise InputError(
            f"data set {name!r} is neither a file or folder that exists nor a TFDS name "
            "(`name`, `name/config` or `name:1.0.0`); check the path"
        )
    base, config, version = match["name"], match["config"], match["version"]
    prepared = [folder for root in data_dirs() for folder in _prepared_folders(root / base)]
    found = [folder for folder in prepared if config in (None, folder.parent.name) and version in (None, folder.name)]
    if not found:
        raise _other_prepared(name, base, prepared) if prepared else _not_prepared(name, base)
    configs = {folder.parent.name for folder in found} if len({folder.parent for folder in found}) > 1 else set()
    if len(configs) > 1:
        raise InputError(
            f"data set {name!r} is prepared in several configurations ({', '.join(sorted(configs))}); "
            f"name one, for example `{base}/{min(configs)}`"
        )
    return max(found, key=lambda folder: tuple(int(part) for part in folder.name.split(".")))


def data_dirs() -> list[pathlib.Path]:
    """Where prepared sets are looked for, first one first."""
    chosen = os.environ.get("TFDS_DATA_DIR")
    homes = [chosen] if chosen else []
    return [pathlib.Path(home).expanduser() for home in (*homes, "~/tensorflow_datasets")]


def refuse_format(folder: pathlib.Path, name: str) -> None:
    """Refuses a prepared set in a file format that only TensorFlow reads.

    Raises:
        InputError: names the format, and the command that prepares it in another.
    """
    try:
        described = json.loads((folder / "dataset_info.json").read_text(encoding="utf-8"))
        file_format = described.get("fileFormat", "tfrecord")
    except (ValueError, AttributeError, OSError) as error:
        raise InputError(f"{folder / 'dataset_info.json'} cannot be read ({error}); prepare {name!r} again") from None
    if file_format not in READABLE_FORMATS:
        raise InputError(
            f"data set {name!r} in {folder} is stored as {file_format}, which only TensorFlow reads; "
            f"prepare it again as array_record: {_prepare_command(name)}"
        )


def _prepared_folders(home: pathlib.Path) -> list[pathlib.Path]:
    candidates = [*home.glob("[0-9]*.[0-9]*.[0-9]*"), *home.glob("*/[0-9]*.[0-9]*.[0-9]*")]
    is_version = re.compile(r"\d+\.\d+\.\d+").fullmatch
    return [folder for folder in candidates if is_version(folder.name) and (folder / "dataset_info.json").exists()]


def _other_prepared(name: str, base: str, prepared: list[pathlib.Path]) -> InputError:
    pairs = sorted((folder.parent.name, folder.name) for folder in prepared)
    there = ", ".join(f"{base}{'' if parent == base else f'/{parent}'}:{version}" for parent, version in pairs)
    return InputError(
        f"data set {name!r} is not prepared, but {there} is; use one that is, or prepare it: {_prepare_command(name)}"
    )


def _prepare_command(name: str) -> str:
    # Not `tfds build`, which needs Apache Beam even for sets that are made without it.
    builder = f"tfds.builder('{name.partition(':')[0]}', file_format='array_record')"
    return f'`python -c "import tensorflow_datasets as tfds; {builder}.download_and_prepare()"`'


def _not_prepared(name: str, base: str) -> InputError:
    looked = ", ".join(str(root) for root in data_dirs())
    known = _known_names()
    if base in known:
        return InputError(
            f"data set {name!r} is not prepared (looked in {looked}). On a machine with a network: "
            f'`pip install "pocketunet[tfds-prepare]"`, then {_prepare_command(name)}; '
            "then copy its folder here and set TFDS_DATA_DIR to the folder above it"
        )
    nearest = difflib.get_close_matches(base, [*known, *_BUILT_IN], n=3, cutoff=0.6)
    remedy = f"did you mean {' or '.join(nearest)}?" if nearest else "no known name is near it"
    return InputError(
        f"data set {name!r} is not known: it is no file or folder, not prepared (looked in {looked}), "
        f"and no name of TFDS; {remedy}"
    )


def _known_names() -> list[str]:
    import tensorflow_datasets as tfds

    return tfds.list_builders(with_community_datasets=False)
