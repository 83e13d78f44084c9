"""The table of published latencies: what others measured on devices that are not at hand."""

from collections.abc import Sequence

from experiments.amounts import text_table
from experiments.errors import InputError
from latency_models.published_profiles import NOT_STATED, PublishedLatency, published_figures

_HEADING = ("device", "network", "image", "batch", "runtime", "precision", "unit", "ms", "from", "mark", "source")
_LEGEND = (
    "ms: one call of the network for `batch` inputs; guidance doubles the batch; `?`: not stated; `<`: more is in it.\n"
    "Compare figures of one runtime, precision and unit only. Remembered figures are no thresholds."
)


def published_table(device: str | None) -> str:
    """The figures of a device, or of all, with what they were measured under, their sources, and what else is to be known.

    Raises:
        InputError: nothing was published of this device.
    """
    try:
        figures = published_figures(device)
    except ValueError as error:
        raise InputError(str(error)) from None
    sources = list(dict.fromkeys(map(_cited, figures)))
    rows = [_row(figure, sources.index(_cited(figure)) + 1) for figure in figures]
    listed = "\n".join(f"[{i}] {source}" for i, source in enumerate(sources, 1))
    paragraphs = [text_table([_HEADING, *rows], num_left=len(_HEADING)), _LEGEND, listed, _notes(figures, sources)]
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph)


def _row(figure: PublishedLatency, source: int) -> tuple[str, ...]:
    ms = f"{figure.ms:,.1f}" if figure.ms < 1000 else f"{figure.ms:,.0f}"
    is_named = figure.design is not None and figure.design != figure.network.lower()
    return (
        figure.device, f"{figure.network} ({figure.design})" if is_named else figure.network,
        *("?" if count is None else str(count) for count in (figure.resolution, figure.batch)), figure.runtime,
        figure.precision, figure.compute_unit, f"< {ms}" if figure.is_upper_bound else ms, figure.derivation, figure.mark,
        f"[{source}]",
    )  # fmt: skip


def _notes(figures: Sequence[PublishedLatency], sources: Sequence[str]) -> str:
    """Each note once, with the number of its source."""
    notes = [f"[{sources.index(_cited(figure)) + 1}] {figure.note}" for figure in figures if figure.note]
    return "\n".join(dict.fromkeys(notes))


def _cited(figure: PublishedLatency) -> str:
    return f"{figure.source} ({figure.date})" if figure.date != NOT_STATED else figure.source
