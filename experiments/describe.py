"""Architectures as text and as JSON, for people and programs: nothing is trained or measured, and JAX is not needed."""

import dataclasses
import difflib
import json
from pathlib import Path
from typing import Any

from experiments.amounts import amount, text_table
from experiments.errors import InputError
from search_space import (
    Architecture,
    LayerPlan,
    PublishedDesign,
    Scale,
    design_names,
    get_design,
    get_scale,
    layer_plan,
    picture,
)
from search_space.published import PublishedFigure, is_design

QUANTITIES = {
    "parameters": "parameters",
    "macs_conv_linear": "MACs, convolution and linear",
    "macs_attention": "MACs, attention matmuls",
    "macs": "MACs together",
    "peak_activation_bytes": "peak activation memory",
}
DTYPES = {"float32": "float32", "float16": "float16 or bfloat16", "int8": "int8"}


@dataclasses.dataclass(frozen=True)
class Subject:
    """What is looked at: an architecture from somewhere.

    Attributes:
        name: what the person called it.
        architecture: in canonical form.
        plan: at the scale where it is counted; None where no scale is known.
        design: the published design that it is, or None.
    """

    name: str
    architecture: Architecture
    plan: LayerPlan | None
    design: PublishedDesign | None = None

    @property
    def published(self) -> tuple[PublishedFigure, ...]:
        """The design's published figures where it is counted at the scale that they are about."""
        if self.design is None or self.plan is None or self.plan.scale.name != self.design.scale:
            return ()
        return self.design.figures


def find_subject(what: str, *, scale: str | None = None) -> Subject:
    """The architecture that a person named.

    Args:
        what: a published design, an `architecture.json`, or a bundle; a file that is called like a design is `./NAME`.
        scale: name of a scale to count at; by default the design's or the bundle's own.

    Raises:
        InputError: it is none of these, the file holds no architecture, the bundle no scale, or the architecture does not
            fit the scale.
        ValueError: there is no such scale.
    """
    if is_design(what):
        design = get_design(what)
        return _subject(what, design.architecture, get_scale(scale or design.scale), design)
    path = Path(what)
    file = path / "architecture.json" if path.is_dir() else path
    if not file.is_file():
        raise InputError(_not_found(what, path))
    return _subject(what, _read_architecture(file), get_scale(scale) if scale else _scale_beside(file))


def subject_text(subject: Subject) -> str:
    """A drawing, and at a scale the counts, altogether and by stage, with what was published beside them."""
    plan, design = subject.plan, subject.design
    paragraphs = [f"architecture {subject.architecture.digest}\n{picture(subject.architecture)}"]
    if design:
        paragraphs[0] = f"{design.title}, from {design.source}\n{paragraphs[0]}"
    if plan:
        paragraphs += [f"at scale {plan.scale.name}\n{_counts_text(plan)}", _stages_text(plan)]
    if subject.published:
        rows = [("published", "value", "mark", "counter, source")]
        rows += [(f.quantity, amount_of(f.quantity, f.value), f.mark, f.source) for f in subject.published]
        paragraphs.append(text_table(rows, num_left=4))
    if design and design.note:
        paragraphs.append(f"Note: {design.note}")
    return "\n\n".join(paragraphs)


def subject_json(subject: Subject) -> dict[str, Any]:
    """The same as one object; what needs a scale is null where none is known."""
    plan, design = subject.plan, subject.design
    return {
        "name": subject.name,
        "title": design.title if design else None,
        "digest": subject.architecture.digest,
        "scale": plan.scale.name if plan else None,
        **{quantity: getattr(plan, quantity) if plan else None for quantity in QUANTITIES},
        "weight_bytes": plan.weight_bytes if plan else None,
        "stages": [_stage_json(plan, stage) for stage in plan.stages] if plan else None,
        "published": [dataclasses.asdict(figure) for figure in subject.published],
        "source": design.source if design else None,
        "note": design.note if design else None,
        "architecture": subject.architecture.to_json(),
    }


def amount_of(quantity: str, value: int) -> str:
    """A count for people: parameters exactly, the rest to four digits."""
    if quantity == "parameters":
        return f"{value:,}"
    return amount(value, "bytes") if quantity.endswith("bytes") else f"{value / 1e9:,.4g} G"


def _subject(name: str, architecture: Architecture, scale: Scale | None, design: PublishedDesign | None = None) -> Subject:
    try:
        plan = layer_plan(architecture, scale) if scale else None
    except ValueError as error:
        assert scale is not None
        raise InputError(f"{name} does not fit scale {scale.name!r}: {error}; or give another --scale") from None
    return Subject(name, architecture.canonical(), plan, design)


def _not_found(what: str, path: Path) -> str:
    known = f"a published design: {', '.join(design_names())}"
    if path.is_dir():
        return f"{path}: this folder holds no architecture.json; give a bundle, or {known}"
    if path.suffix or path.name != what:
        return f"{path}: there is no such file; give an architecture.json, a bundle, or {known}"
    nearest = difflib.get_close_matches(what, design_names(), n=1, cutoff=0)[0]
    return f"{what}: there is no such file or bundle, and it is not {known}; did you mean {nearest!r}?"


def _read_architecture(file: Path) -> Architecture:
    try:
        record: Any = json.loads(file.read_text("utf-8"))
        return Architecture.from_json(record.get("architecture", record))
    except (ValueError, AttributeError) as error:
        raise InputError(f"{file}: this is no architecture: {error}") from None


def _scale_beside(file: Path) -> Scale | None:
    """The scale of the bundle that the file belongs to; None for a file on its own."""
    settings = file.with_name("training.yaml")
    if not settings.is_file():
        return None
    import yaml

    try:
        return Scale(**yaml.safe_load(settings.read_text("utf-8"))["scale"])
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{settings}: key 'scale' must hold the fields of a scale ({error}); or give --scale") from None


def _counts_text(plan: LayerPlan) -> str:
    peak_stage = max(plan.stage_peak_bytes, key=lambda stage: plan.stage_peak_bytes[stage])
    notes = {"peak_activation_bytes": f" float32, in {peak_stage}"}
    rows = [
        (f"  {title}", amount_of(quantity, getattr(plan, quantity)) + notes.get(quantity, ""))
        for quantity, title in QUANTITIES.items()
    ]
    weights = ", ".join(f"{amount(plan.weight_bytes[dtype], 'bytes')} {title}" for dtype, title in DTYPES.items())
    return text_table([*rows, ("  weights", weights)], num_left=2)


def _stages_text(plan: LayerPlan) -> str:
    rows: list[tuple[str, ...]] = [
        ("stage", "image", "channels", "blocks", "parameters", "MACs conv+linear", "MACs attention", "peak memory")
    ]
    for stage in (_stage_json(plan, stage) for stage in plan.stages):
        size = stage["resolution"]
        rows.append(
            (
                stage["name"], f"{size}x{size}" if size else "", str(stage["channels"]), str(stage["num_blocks"]),
                f"{stage['parameters']:,}", amount(stage["macs_conv_linear"], "MACs"), amount(stage["macs_attention"], "MACs"),
                amount(stage["peak_activation_bytes"], "bytes"),
            )
        )  # fmt: skip
    return text_table(rows)


def _stage_json(plan: LayerPlan, stage: str) -> dict[str, Any]:
    """A stage's counts; `resolution` is that of what comes in, `channels` of what goes out, `num_blocks` of any kind."""
    blocks = plan.stages[stage]
    macs, attention = (sum(getattr(block, field) for block in blocks) for field in ("macs", "macs_attention"))
    return {
        "name": stage,
        "resolution": None if stage == "time" else blocks[0].resolution,
        "channels": blocks[-1].out_shape[-1],
        "num_blocks": len(blocks),
        "parameters": sum(block.parameters for block in blocks),
        "macs_conv_linear": macs - attention,
        "macs_attention": attention,
        "peak_activation_bytes": plan.stage_peak_bytes[stage],
    }
