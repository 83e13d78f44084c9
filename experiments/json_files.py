"""JSON files that may be missing, and that people may have damaged; as plain data or as a model."""

import json
import math
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from experiments.errors import InputError

Record = TypeVar("Record", bound=BaseModel)


def is_number(value: Any) -> bool:
    """Whether a value of a JSON file is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def read_json(path: Path) -> Any:
    """A JSON file that may be missing.

    Returns:
        What it holds; None where there is no such file.

    Raises:
        InputError: the file is no JSON.
    """
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: this is no JSON file ({error}); delete it, what wrote it writes it again") from None


def read_record(path: Path, model: type[Record], *, remedy: str) -> Record | None:
    """A JSON file that may be missing, as a model.

    Args:
        path: the file.
        model: what it holds.
        remedy: for messages.

    Returns:
        What it holds; None where there is no such file.

    Raises:
        InputError: the file is no JSON, or no such record; the message names the first key that is wrong.
    """
    if (found := read_json(path)) is None:
        return None
    try:
        return model.model_validate(found)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        raise InputError(f"{path}: key {key!r}: {first['msg'].lower()}; {remedy}") from None
