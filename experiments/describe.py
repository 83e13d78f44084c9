"""Search spaces and architectures as text, for people: nothing is trained or measured."""

import json
from pathlib import Path
from typing import Any

import yaml

from experiments.errors import InputError
from experiments.front_view import amount
from search_space import Architecture, Scale, get_scale, get_space, layer_plan, picture


def describe_space(name: str) -> str:
    """A space's size, its genes with their choices, and both its ends."""
    space = get_space(name)
    width = max(len(gene.name) for gene in space.genes)
    genes = [f"  {gene.name.ljust(width)}  {', '.join(map(_choice, gene.choices))}" for gene in space.genes]
    lines = [f"space {space.name}: {space.size:,} architectures ({space.size:.1e}), {len(space.genes)} genes", *genes]
    for end, architecture in (("smallest", space.smallest()), ("largest", space.largest())):
        lines += ["", f"{end}, {architecture.digest}", picture(architecture)]
    return "\n".join(lines)


def describe_architecture(path: Path, *, scale: str | None = None) -> str:
    """A drawing of an architecture, and its counts at a scale where one is known.

    Args:
        path: an `architecture.json`, or a bundle, whose own scale is then the default.
        scale: name of a scale to count at.

    Raises:
        FileNotFoundError: there is no such file.
        InputError: the file holds no architecture, or the bundle no scale.
    """
    file = path / "architecture.json" if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(f"{file}: there is no such file; give an architecture.json or a bundle")
    architecture = _architecture(file)
    counted_at = get_scale(scale) if scale else _scale_beside(file)
    lines = [f"architecture {architecture.digest}", picture(architecture, counted_at)]
    if counted_at:
        plan = layer_plan(architecture, counted_at)
        counts = (("parameters", plan.parameters), ("MACs", plan.macs), ("bytes", plan.peak_activation_bytes))
        parameters, macs, peak = (amount(value, unit) for unit, value in counts)
        lines.append(f"at scale {counted_at.name}: {parameters} parameters, {macs} MACs, {peak} of activations at the peak")
    return "\n".join(lines)


def _architecture(file: Path) -> Architecture:
    try:
        record: Any = json.loads(file.read_text("utf-8"))
        return Architecture.from_json(record.get("architecture", record)).canonical()
    except (ValueError, AttributeError) as error:
        raise InputError(f"{file}: this is no architecture: {error}") from None


def _scale_beside(file: Path) -> Scale | None:
    """The scale of the bundle that the file belongs to; None for a file on its own."""
    settings = file.with_name("training.yaml")
    if not settings.is_file():
        return None
    try:
        return Scale(**yaml.safe_load(settings.read_text("utf-8"))["scale"])
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{settings}: key 'scale' must hold the fields of a scale ({error}); or give --scale") from None


def _choice(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
