"""How a number was measured, as a short name: numbers with different fingerprints are never compared."""

import hashlib
import json
import math
from typing import Any

Settings = dict[str, Any]


def canonical_json(settings: Settings) -> str:
    """One text per meaning: sorted keys, no spaces, whole floats as integers, tuples as lists.

    >>> canonical_json({"n": 64.0, "band": (0.45, 0.6)})
    '{"band":[0.45,0.6],"n":64}'

    Raises:
      ValueError: A setting is not plain data (text, finite number, bool, None, list or mapping of those).
    """
    return json.dumps(_plain(settings, "settings"), sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def fingerprint(**settings: Any) -> str:
    """16 hexadecimal digits that name the settings.

    >>> fingerprint(sampler="ddim", n=64) == fingerprint(n=64, sampler="ddim")
    True

    Raises:
      ValueError: A setting is not plain data.
    """
    return hashlib.sha256(canonical_json(settings).encode()).hexdigest()[:16]


def _plain(value: Any, where: str) -> Any:
    if value is None or isinstance(value, bool | str | int):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return int(value) if value.is_integer() else value
    if isinstance(value, list | tuple):
        return [_plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _plain(item, f"{where}.{key}") for key, item in value.items()}
    raise ValueError(
        f"`{where}` must be text, a finite number, a truth value, None, or a list or mapping of those, got {value!r}; "
        "give its name or its digest instead"
    )
