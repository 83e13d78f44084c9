"""Several architectures side by side, what differs marked, published figures beside our counts."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from experiments.amounts import amount, text_table
from experiments.describe import DTYPES, QUANTITIES, Subject, amount_of, subject_json
from search_space import Stage
from search_space.picture import layer_text


@dataclasses.dataclass(frozen=True)
class _Row:
    """One line of the table: a title and a cell for each subject; `key` is what programs call it, where not the title."""

    title: str
    cells: tuple[str, ...]
    key: str = ""
    is_published: bool = False

    @property
    def differs(self) -> bool:
        return not self.is_published and len(set(self.cells)) > 1


def comparison_text(subjects: Sequence[Subject]) -> str:
    """A table, one column a subject; an asterisk marks the rows in which they differ."""
    rows = [("", "", *(subject.name for subject in subjects))]
    rows += [("*" if row.differs else "", row.title, *row.cells) for row in _rows(subjects)]
    named: dict[str, list[str]] = {}
    for subject in subjects:
        if subject.design and subject.design.note:
            named.setdefault(subject.design.note, []).append(subject.name)
    notes = [f"{', '.join(names)}: {note}" for note, names in named.items()]
    return "\n\n".join([text_table(rows, num_left=2 + len(subjects)), *notes])


def comparison_json(subjects: Sequence[Subject]) -> dict[str, Any]:
    """The subjects as `describe --json` has them, and the keys of the rows in which they differ."""
    differences = [row.key or row.title for row in _rows(subjects) if row.differs]
    return {"subjects": [subject_json(subject) for subject in subjects], "differences": differences}


def _rows(subjects: Sequence[Subject]) -> Iterator[_Row]:
    yield _Row("digest", tuple(x.architecture.digest for x in subjects))
    yield _Row("scale", tuple(x.plan.scale.name if x.plan else "-" for x in subjects))
    yield _Row("widths", tuple(" ".join(str(level.width) for level in x.architecture.levels) for x in subjects))
    for name, stages in _stages(subjects):
        yield _Row(f"{name} blocks", tuple(f"{x.num_blocks} {x.convolution}" if x else "-" for x in stages))
        if any(x and x.transformer_depth for x in stages):
            layers = (f"{x.transformer_depth} {layer_text(x)}" if x and x.transformer_depth else "-" for x in stages)
            yield _Row(f"{name} layers", tuple(layers))
    for quantity, title in QUANTITIES.items():
        cells = (amount_of(quantity, getattr(x.plan, quantity)) if x.plan else "-" for x in subjects)
        yield _Row(title, tuple(cells), quantity)
        yield from _published_rows([_published(x, quantity) for x in subjects])
    for dtype, title in DTYPES.items():
        cells = (amount(x.plan.weight_bytes[dtype], "bytes") if x.plan else "-" for x in subjects)
        yield _Row(f"weights, {title}", tuple(cells), f"weight_bytes.{dtype}")


def _stages(subjects: Sequence[Subject]) -> list[tuple[str, tuple[Stage | None, ...]]]:
    """Stages in execution order, each subject's own or None."""
    architectures = [subject.architecture for subject in subjects]
    most = max(len(x.levels) for x in architectures)

    def side(name: str, i: int) -> tuple[str, tuple[Stage | None, ...]]:
        return f"{name}{i}", tuple(getattr(x.levels[i], name) if i < len(x.levels) else None for x in architectures)

    mids = tuple(x.mid for x in architectures)
    downs, ups = ([side(name, i) for i in range(most)] for name in ("down", "up"))
    return [*downs, *([("mid", mids)] if any(mids) else []), *reversed(ups)]


def _published(subject: Subject, quantity: str) -> list[str]:
    return [f"{amount_of(quantity, figure.value)} {figure.mark}" for figure in subject.published if figure.quantity == quantity]


def _published_rows(found: Sequence[Sequence[str]]) -> Iterator[_Row]:
    """As many rows as the subject with most figures needs."""
    for i in range(max(map(len, found))):
        cells = tuple(figures[i] if i < len(figures) else "" for figures in found)
        yield _Row("  published", cells, is_published=True)
