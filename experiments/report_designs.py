"""Designs as the report's page takes them: genes in columns, costs by stage, and what the space knows as published."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from experiments.run_folder import Run
from objectives import Estimate
from search_space import (
    Architecture,
    PublishedDesign,
    Scale,
    Stage,
    design_names,
    get_design,
    get_scale,
    get_space,
    layer_plan,
    scale_names,
)

_FIELDS = tuple(field.name for field in dataclasses.fields(Stage))
_TRANSFORMER_FIELDS = ("attention", "attention_function", "expansion", "shared_kv", "gating")
_COUNTED = ("macs", "parameters", "peak_activation_bytes")


def gene_values(architecture: Architecture) -> dict[str, Any]:
    """Every gene that has an effect, by its name in a search space.

    >>> from search_space import Level
    >>> gene_values(Architecture((Level(2, Stage(1), Stage(2)),)))["up0.num_blocks"]
    2
    """
    stages = {}
    found: dict[str, Any] = {"num_levels": len(architecture.levels)}
    for i, level in enumerate(architecture.levels):
        found[f"level{i}.width"] = level.width
        stages |= {f"down{i}": level.down, f"up{i}": level.up}
    for name, stage in (stages | {"mid": architecture.mid or Stage(0)}).items():
        found |= {f"{name}.{field}": value for field, value in _effective(stage).items()}
    return found


def gene_columns(architectures: Sequence[Architecture]) -> list[dict[str, Any]]:
    """The genes of many architectures, of one space or of several.

    Returns:
        For each gene its `name`, the distinct values it has in `choices`, and in `of` the index of each architecture's value,
        -1 where the gene has no effect; `of` is left out where all have the one value.
    """
    rows = [gene_values(architecture) for architecture in architectures]
    columns = []
    for name in dict.fromkeys(name for row in rows for name in row):
        choices = sorted({row[name] for row in rows if name in row})
        index = {choice: i for i, choice in enumerate(choices)}
        column = {"name": name, "choices": choices, "of": [index[row[name]] if name in row else -1 for row in rows]}
        if not any(column["of"]):
            del column["of"]
        columns.append(column)
    return columns


def deployed_at(run: Run) -> Scale | None:
    """The scale at which a run counts costs; None where this version does not know it."""
    name = run.settings.get("deploy_scale")
    return get_scale(name) if name in scale_names() else None


def stage_columns(architectures: Sequence[Architecture], scale: Scale) -> dict[str, list[Any]]:
    """Costs of many architectures by stage.

    Returns:
        In `layouts` the distinct lists of stages, in execution order, each with its `stage` and `resolution`; in `of` the index
        of each architecture's; and for each its `parameters`, `macs` and the bytes of activations alive at most
        (`peak_activation_bytes`), stage by stage.
    """
    layouts: dict[tuple[tuple[str, int], ...], int] = {}
    columns: dict[str, list[Any]] = {"of": [], **{name: [] for name in _COUNTED}}
    for architecture in architectures:
        plan = layer_plan(architecture, scale)
        layout = tuple((name, blocks[0].resolution) for name, blocks in plan.stages.items())
        columns["of"].append(layouts.setdefault(layout, len(layouts)))
        columns["parameters"].append([sum(block.parameters for block in blocks) for blocks in plan.stages.values()])
        columns["macs"].append([sum(block.macs for block in blocks) for blocks in plan.stages.values()])
        columns["peak_activation_bytes"].append([plan.stage_peak_bytes[name] for name in plan.stages])
    listed = [[{"stage": name, "resolution": resolution} for name, resolution in layout] for layout in layouts]
    return {"layouts": listed, **columns}


def published_designs(run: Run) -> list[PublishedDesign]:
    """The published designs that the run's space can express, at the scale where they were published."""
    try:
        space = get_space(str(run.ledger.header.get("space")))
    except ValueError:
        return []
    designs = [get_design(name) for name in design_names()]
    return [x for x in designs if x.scale == run.settings.get("deploy_scale") and space.contains(x.architecture)]


def counted_costs(architecture: Architecture, scale: Scale) -> dict[str, int]:
    """The objectives that can be told of any design without a device: MACs, parameters, activation memory."""
    plan = layer_plan(architecture, scale)
    return {name: getattr(plan, name) for name in _COUNTED}


def costs_unjudged(architectures: Sequence[Architecture], run: Run, scale: Scale) -> list[dict[str, Estimate]]:
    """Costs of designs that have no evaluation: counted, and predicted where the run's predictor can be read."""
    from experiments.latency import Costs, run_costs  # only where something failed: it brings all that measures networks

    try:
        costs = run_costs(run.path, scale)
    except (ValueError, OSError):
        costs = Costs(scale, None)
    return [costs(architecture) for architecture in architectures]


def _effective(stage: Stage) -> dict[str, Any]:
    if not stage.num_blocks:
        return {"num_blocks": 0}
    return {name: getattr(stage, name) for name in _FIELDS if stage.transformer_depth or name not in _TRANSFORMER_FIELDS}
