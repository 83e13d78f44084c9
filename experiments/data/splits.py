"""Which examples belong to train, validation and test where the data does not say."""

import difflib
import hashlib
from collections.abc import Sequence

from experiments.errors import InputError

SPLITS = ("train", "validation", "test")
ALL = "all"
FRACTION = 10  # one part in ten for validation, one for test
MIN_DIVIDED = 10


def validate_split(split: str) -> str:
    """The split itself, if it is one of train, validation, test, all.

    Raises:
        InputError: it is another word.
    """
    if split in (*SPLITS, ALL):
        return split
    nearest = difflib.get_close_matches(split, (*SPLITS, ALL), n=1, cutoff=0.4)
    remedy = f"did you mean {nearest[0]!r}?" if nearest else "use one of them"
    raise InputError(f"`split` must be one of train, validation, test, all, got {split!r}; {remedy}")


def divide(keys: Sequence[str]) -> dict[str, list[int]]:
    """Positions of each split: of the keys, ordered by their SHA-256, the first tenth is test, the next validation.

    The rule depends on the keys alone (not on their order or on a seed), so that every machine divides alike. Fewer
    than ten keys are all train. The positions of a split ascend.

    >>> {split: len(found) for split, found in divide([str(i) for i in range(100)]).items()}
    {'train': 80, 'validation': 10, 'test': 10}
    """
    if len(keys) < MIN_DIVIDED:
        return {"train": list(range(len(keys))), "validation": [], "test": []}
    ranked = sorted(range(len(keys)), key=lambda position: hashlib.sha256(keys[position].encode()).digest())
    part = len(keys) // FRACTION
    return {
        "train": sorted(ranked[2 * part :]),
        "validation": sorted(ranked[part : 2 * part]),
        "test": sorted(ranked[:part]),
    }


def choose(divided: dict[str, list[int]], split: str, *, name: str, remedy: str) -> list[int]:
    """Positions of one split, or of all.

    Raises:
        InputError: the split is empty; the message says how many examples each has, and the remedy.
    """
    if split == ALL:
        return sorted(position for positions in divided.values() for position in positions)
    if divided.get(split):
        return divided[split]
    counts = ", ".join(f"{key} {len(positions)}" for key, positions in divided.items())
    raise InputError(f"{name}: split {split!r} is empty ({counts}); {remedy}")
