"""A space with fewer choices, by a name that says all of it: `mobile-sd[*.attention_function=softmax,level2.width=14|16]`.

Whatever keeps the name of a space (a sweep, a ledger, a report) can thereby build a narrowed one again.
"""

import dataclasses
import difflib
import fnmatch
import re
from collections.abc import Mapping, Sequence
from typing import Any

from search_space.space import Gene, LevelChoices, SearchSpace, StageChoices

_NAME = re.compile(r"([^\[\]]+)\[([^\[\]]+)\]")


def split_name(name: str) -> tuple[str, dict[str, tuple[str, ...]]]:
    """The name of a space without its narrowing, and the values that each pattern of genes keeps.

    >>> split_name("digits[level0.width=2|3,mid.*=0]")
    ('digits', {'level0.width': ('2', '3'), 'mid.*': ('0',)})

    Raises:
        ValueError: the narrowing cannot be read.
    """
    if "[" not in name and "]" not in name:
        return name, {}
    found = _NAME.fullmatch(name)
    parts = [part.partition("=") for part in found[2].split(",")] if found else []
    if found is None or not all(pattern and values for pattern, _, values in parts):
        raise ValueError(f"{name!r} is no name of a narrowed space; write as in 'digits[*.convolution=full,level0.width=2|3]'")
    kept = {pattern.strip(): tuple(value.strip() for value in values.split("|")) for pattern, _, values in parts}
    if len(kept) < len(parts):
        raise ValueError(f"{name!r} narrows the same genes twice; give all values that remain at once")
    return found[1], kept


def narrowed_name(base: str, kept: Mapping[str, Any]) -> str:
    """The name of a space that keeps these values, one or a list for each pattern of genes.

    >>> narrowed_name("digits", {"level0.width": [2, 3], "*.shared_kv": True})
    'digits[level0.width=2|3,*.shared_kv=true]'
    """
    if not kept:
        return base
    parts = []
    for pattern, values in kept.items():
        listed = values if isinstance(values, list | tuple) else [values]
        parts.append(f"{pattern}={'|'.join(map(spelled, listed))}")
    return f"{base}[{','.join(parts)}]"


def narrowed(space: SearchSpace, kept: Mapping[str, Sequence[str]], *, name: str) -> SearchSpace:
    """A space whose genes have only those choices that are kept.

    Args:
        space: what is narrowed.
        kept: by pattern (`*` stands for any letters) the values that remain, as text; the genes that no pattern matches keep
            all of theirs.
        name: of the new space.

    Raises:
        ValueError: a pattern matches no gene, a value is no choice, a gene is left without choices, or the skip rule could not
            be kept: a stage up may have at most one block more than the stage down beside it.
    """
    choices = {gene.name: gene.choices for gene in space.genes}
    if len(space.num_levels) == 1:
        choices["num_levels"] = space.num_levels
    for pattern, values in kept.items():
        matched = [gene for gene in space.genes if fnmatch.fnmatchcase(gene.name, pattern)]
        if not matched:
            near = difflib.get_close_matches(pattern, [gene.name for gene in space.genes], n=1, cutoff=0)[0]
            raise ValueError(f"space {space.name!r} has no gene {pattern!r}; did you mean {near!r}?")
        for gene in matched:
            before = choices[gene.name]
            choices[gene.name] = tuple(choice for choice in before if spelled(choice) in values)
            if not choices[gene.name]:
                left = " (an earlier pattern leaves them)" if len(before) < len(gene.choices) else ""
                raise ValueError(f"gene {gene.name!r} has no choice {_listed(values)}; its choices are {_listed(before)}{left}")
        for value in values:
            if not any(value in map(spelled, gene.choices) for gene in matched):
                raise ValueError(f"gene {pattern!r} has no choice {value}; its choices are {_listed(_all_choices(matched))}")
    num_levels = choices["num_levels"]
    levels = tuple(
        LevelChoices(choices[f"level{i}.width"], _stage_choices(f"down{i}", choices), _stage_choices(f"up{i}", choices))
        for i in range(num_levels[-1])
    )
    return SearchSpace(name, levels, _stage_choices("mid", choices), num_levels)


def _stage_choices(position: str, choices: Mapping[str, tuple[Any, ...]]) -> StageChoices:
    return StageChoices(**{field.name: choices[f"{position}.{field.name}"] for field in dataclasses.fields(StageChoices)})


def _all_choices(genes: Sequence[Gene]) -> list[Any]:
    return list(dict.fromkeys(choice for gene in genes for choice in gene.choices))


def _listed(values: Sequence[Any]) -> str:
    return ", ".join(map(spelled, values))


def spelled(value: Any) -> str:
    """A gene's choice as people write it, and YAML does: `true`, `4`, `softmax`."""
    return str(value).lower() if isinstance(value, bool) else str(value)
