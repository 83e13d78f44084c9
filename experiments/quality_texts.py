"""What is told of measured quality, for people."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from experiments.amounts import text_table
from objectives import Estimate

if TYPE_CHECKING:
    from experiments.quality_measuring import MeasuredQuality


def measured_table(found: Sequence["MeasuredQuality"]) -> str:
    """Numbers with their intervals, a row for each architecture; how the others differ from the first; where pictures are.

    What held-out images are measured by too stands in a table of its own, below theirs.
    """
    apart = list(found[0].held_out)
    lines = [_compared(found, [name for name in found[0].estimates if name not in apart])]
    if apart:
        lines += ["", "Share of samples that the classifier reads as their prompts say: all of it, and each part", ""]
        lines += [_compared(found, apart, [("held-out images", *(_shown(found[0].held_out[name]) for name in apart))])]
    whose = " ".join(filter(None, (found[0].extractor[key] for key in ("name", "digest", "preprocessing"))))
    last = (
        f"95 % intervals, against {found[0].num_reference:,} training images, in the features of {whose}; pictures and numbers "
        f"are in {found[0].picture.parent}"
    )
    return "\n".join([*lines, "", last])


def _compared(found: Sequence["MeasuredQuality"], names: Sequence[str], above: Sequence[tuple[str, ...]] = ()) -> str:
    def rows(chosen: Sequence["MeasuredQuality"], key: str) -> list[tuple[str, ...]]:
        return [(x.digest, *(_shown(getattr(x, key)[name]) for name in names)) for x in chosen]

    lines = [text_table([("", *names), *above, *rows(found, "estimates")])]
    if len(found) > 1:
        lines += ["", f"Difference to {found[0].digest} with the same noise and prompts; where 0 is outside, they differ"]
        lines += [text_table([("", *names), *rows(found[1:], "differences")])]
    return "\n".join(lines)


def _shown(estimate: Estimate) -> str:
    return str(estimate) if estimate.is_finite else "not finite"
