"""A picture of an architecture in plain text: one line a stage, indented by its depth in the UNet."""

from search_space.architecture import Architecture, Stage
from search_space.plan import LayerPlan, layer_plan
from search_space.scale import Scale


def picture(architecture: Architecture, scale: Scale | None = None) -> str:
    """Draws the UNet; with a scale, resolutions, parameters and MACs stand beside each stage.

    >>> from search_space.architecture import Level
    >>> print(picture(Architecture((Level(2, Stage(1), Stage(2, transformer_depth=1)),), Stage(1))))
    down0  w2  full x1
      mid  full x1
    up0    w2  (full + [self cross ff4 softmax] x1) x2
    """
    architecture = architecture.canonical()
    plan = layer_plan(architecture, scale) if scale else None
    levels = list(enumerate(architecture.levels))
    rows = [_row(f"down{i}", i, f"w{level.width}", level.down) for i, level in levels]
    if architecture.mid:
        rows.append(_row("mid", len(levels), "", architecture.mid))
    rows += [_row(f"up{i}", i, f"w{level.width}", level.up) for i, level in reversed(levels)]
    name_width = max(len(indented) for _, indented, _ in rows)
    text_width = max(len(text) for *_, text in rows)
    lines = []
    for name, indented, text in rows:
        line = f"{indented.ljust(name_width)}  {text}"
        if plan:
            line = f"{indented.ljust(name_width)}  {text.ljust(text_width)}  {_counts(plan, name)}"
        lines.append(line.rstrip())
    return "\n".join(lines)


def layer_text(stage: Stage) -> str:
    """What a transformer layer of a stage is made of; the gate is named where it is not GELU.

    >>> layer_text(Stage(1, transformer_depth=1, expansion=3, shared_kv=True, gating="silu"))
    'self cross ff3 softmax K=V silu'
    """
    shared = " K=V" if stage.shared_kv else ""
    gating = "" if stage.gating == "gelu" else f" {stage.gating}"
    return f"{stage.attention.replace('_', ' ')} ff{stage.expansion} {stage.attention_function}{shared}{gating}"


def _row(name: str, depth: int, width: str, stage: Stage) -> tuple[str, str, str]:
    return name, f"{'  ' * depth}{name}", f"{width}  {_describe(stage, is_mid=name == 'mid')}".strip()


def _describe(stage: Stage, *, is_mid: bool) -> str:
    if not stage.transformer_depth:
        return f"{stage.convolution} x{stage.num_blocks}"
    layer = f"[{layer_text(stage)}] x{stage.transformer_depth}"
    if is_mid:
        return f"{stage.convolution} x{stage.num_blocks} with {layer} between"
    return f"({stage.convolution} + {layer}) x{stage.num_blocks}"


def _counts(plan: LayerPlan, stage: str) -> str:
    blocks = plan.stages[stage]
    resolution = blocks[0].resolution
    parameters = sum(block.parameters for block in blocks)
    macs = sum(block.macs for block in blocks)
    return f"{resolution}x{resolution}  {parameters / 1e3:,.1f} k parameters  {macs / 1e6:,.1f} M MACs"
