"""Nested mappings as one, by dotted keys."""

from collections.abc import Mapping
from typing import Any


def flattened(mapping: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of nested mappings by dotted keys.

    >>> flattened({"data": "digits", "search": {"batch": None, "population": 24}})
    {'data': 'digits', 'search.batch': None, 'search.population': 24}
    """
    flat: dict[str, Any] = {}
    for key, value in mapping.items():
        flat |= flattened(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat
