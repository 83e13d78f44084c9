"""What is told of measured quality, for people."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from experiments.amounts import text_table
from objectives import Estimate

if TYPE_CHECKING:
    from experiments.quality_measuring import MeasuredQuality


def measured_table(found: Sequence["MeasuredQuality"]) -> str:
    """Numbers with their intervals, a row for each architecture; how the others differ from the first; where pictures are."""
    first, names = found[0], list(found[0].estimates)
    lines = [text_table([("", *names), *((x.digest, *map(_shown, x.estimates.values())) for x in found)])]
    if len(found) > 1:
        rows = [(x.digest, *map(_shown, x.differences.values())) for x in found[1:]]
        lines += ["", f"Difference to {first.digest} with the same noise and prompts; where 0 is outside, they differ"]
        lines += [text_table([("", *names), *rows])]
    whose = " ".join(filter(None, (first.extractor["name"], first.extractor["digest"], first.extractor["preprocessing"])))
    lines += ["", f"95 % intervals, in the features of {whose}; pictures and numbers are in {first.picture.parent}"]
    return "\n".join(lines)


def _shown(estimate: Estimate) -> str:
    return str(estimate) if estimate.is_finite else "not finite"
