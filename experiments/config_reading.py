"""YAML files and `key=value` overrides, read so that every error names the file, the line, the key and the nearest good key."""

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from experiments.errors import InputError

KeyPath = tuple[str | int, ...]
Model = TypeVar("Model", bound=BaseModel)


@dataclasses.dataclass(frozen=True)
class Document:
    """A YAML mapping and where each of its keys was given.

    Attributes:
        data: what the file and the overrides say, overrides last.
        source: the file as the user knows it.
        places: by key path, `file:line` or the override.
        problems: what is wrong before any key is looked at, each with its place.
    """

    data: dict[str, Any]
    source: str
    places: dict[KeyPath, str]
    problems: tuple[str, ...] = ()

    def place(self, path: KeyPath) -> str:
        """Where a key was given; where it was not, the nearest mapping around it."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.places:
                return self.places[path[:length]]
        return self.source


def read_text(path: Path) -> str:
    """The text of a configuration file.

    Raises:
        InputError: it is no UTF-8 text.
    """
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: this is no UTF-8 text ({error.reason} at byte {error.start}); give a YAML file") from None


def read_document(text: str, *, source: str) -> Document:
    """Reads a YAML mapping with its line numbers; only plain data, never objects.

    Raises:
        InputError: the text is no YAML, or no mapping.
    """
    places: dict[KeyPath, str] = {}
    problems: list[str] = []
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
        if node is not None:
            _note_places(node, (), source, places, problems)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{source}:{mark.line + 1}" if mark else source
        raise InputError(f"{where}: this is no YAML: {getattr(error, 'problem', None) or error}") from None
    except (ValueError, RecursionError) as error:  # a date that is none, a mapping inside itself
        raise InputError(f"{source}: a value in this file cannot be read ({error}); quote it") from None
    if not isinstance(data, dict) or not isinstance(node, yaml.MappingNode):
        raise InputError(f"{source}: this file must be a mapping of keys to values, such as `data: digits`, got {data!r}")
    return Document(data, source, places, tuple(problems))


def with_overrides(document: Document, overrides: Sequence[str]) -> Document:
    """The document with `dotted.key=value` settings, whose values are YAML; later ones win."""
    data, places, problems = _copied(document.data), dict(document.places), list(document.problems)
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals or not all(key.split(".")):
            problems.append(f"override {override!r}: must be KEY=VALUE, such as trials=50")
            continue
        *sections, last = key.split(".")
        target: Any = data
        for section in sections:
            target = target.setdefault(section, {}) if isinstance(target, dict) else None
        if not isinstance(target, dict):
            problems.append(f"override {override!r}: {'.'.join(sections)!r} is a value and holds no keys")
            continue
        try:
            target[last] = yaml.safe_load(value)
        except (yaml.YAMLError, ValueError, RecursionError):
            problems.append(f"override {override!r}: the value is no YAML; quote it")
        path = (*sections, last)
        places = {place: where for place, where in places.items() if place[: len(path)] != path}
        places[path] = f"override {override!r}"
    return Document(data, document.source, places, tuple(problems))


def validated(document: Document, model: type[Model]) -> Model:
    """The document as a model.

    Raises:
        InputError: anything is wrong with it; one message lists everything, one problem a line.
    """
    problems = list(document.problems)
    try:
        result = model.model_validate(document.data)
    except ValidationError as error:
        known = known_keys(model)
        problems += [_explained(dict(item), document, known) for item in error.errors(include_url=False)]
    else:
        if not problems:
            return result
    raise InputError("\n".join(problems))


def known_keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Every dotted key of a model and of the models inside it."""
    keys = []
    for name, field in model.model_fields.items():
        keys.append(prefix + name)
        for inner in _models_in(field.annotation):
            keys += known_keys(inner, f"{prefix}{name}.")
    return keys


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """The models of a type: itself, or what it is a tuple or a union of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]


def _note_places(node: yaml.Node, path: KeyPath, source: str, places: dict[KeyPath, str], problems: list[str]) -> None:
    if isinstance(node, yaml.SequenceNode):
        for i, item in enumerate(node.value):
            places[(*path, i)] = f"{source}:{item.start_mark.line + 1}"
            _note_places(item, (*path, i), source, places, problems)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*path, key.value)
            place = f"{source}:{key.start_mark.line + 1}"
            if inner in places:
                problems.append(f"{place}: key {_dotted(inner)!r} is given twice; the other is at {places[inner]}")
            places[inner] = place
            _note_places(value, inner, source, places, problems)


def _explained(error: Mapping[str, Any], document: Document, known: Sequence[str]) -> str:
    path: KeyPath = tuple(part for part in error["loc"] if part != "[key]")
    where, key = document.place(path), _dotted(path)
    if error["type"] == "extra_forbidden":
        without_numbers = _dotted(tuple(part for part in path if isinstance(part, str)))
        return f"{where}: key {key!r} is not known{_suggestion(without_numbers, known)}"
    if error["type"] == "missing":
        return f"{where}: key {key!r} is missing; it has no default"
    rule = error["msg"].removeprefix("Value error, ").replace("Input should be", "must be", 1)
    rule = rule.replace("must be a valid integer", "must be a whole number").replace("must be a valid", "must be a")
    if error["type"] == "value_error":
        return f"{where}: key {key!r}: {rule}" if key else f"{where}: {rule}"  # a rule of several keys names them itself
    if error["type"] == "model_type":
        return f"{where}: key {key!r} must be a mapping of keys to values, got {error['input']!r}"
    return f"{where}: key {key!r} {rule[0].lower() + rule[1:]}, got {error['input']!r}"


def _suggestion(key: str, known: Sequence[str]) -> str:
    """The most similar key by its last word, where keys of the same section have a head start."""
    section, _, last = key.rpartition(".")

    def similarity(name: str) -> float:
        other, _, word = name.rpartition(".")
        return difflib.SequenceMatcher(None, last, word).ratio() + 0.15 * (other == section)

    nearest = max(known, key=similarity)
    if similarity(nearest) >= 0.55:
        return f"; did you mean {nearest!r}?"
    beside = [name for name in known if name.rpartition(".")[0] == section] or [name for name in known if "." not in name]
    return f"; known are {', '.join(beside)}"


def _dotted(path: KeyPath) -> str:
    return ".".join(map(str, path))


def _copied(value: Any) -> Any:
    return {key: _copied(item) for key, item in value.items()} if isinstance(value, dict) else value
