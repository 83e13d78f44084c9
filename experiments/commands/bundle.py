"""The commands about a hand-off bundle: make one, train it, distil it, sample, hold it to its promises, export it."""

import functools
from pathlib import Path
from typing import Any, Literal

import click

from experiments.trackers.registry import tracker_names

OUT = click.option("--out", type=click.Path(path_type=Path), help="Folder of the new bundle; must not exist.")
BUNDLE = click.argument("bundle", type=click.Path(path_type=Path))
STEPS = click.option("--steps", type=click.IntRange(min=1), help="Training steps.  [default: as training.yaml says]")
DATA = click.option("--data", metavar="NAME-or-DIR", help="The data set.  [default: as training.yaml says]")
TRACKERS = click.option(
    "--tracker", "trackers", multiple=True, type=click.Choice(tracker_names()),
    help="Log losses and promises there too, in mlflow/ or wandb/ of the bundle, or beside the plan; several in turn.",
)  # fmt: skip
_SEEDS = click.IntRange(0, 2**32 - 1)
SEED = click.option("--seed", type=_SEEDS, default=0, show_default=True, help="Seed of every draw.")
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--pick", required=True, metavar="PICK", help="knee, a digest, 'best quality with latency_ms <= 5', or such.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The folder of the bundle; must not exist.")
@click.option("--scale", type=click.Choice(["proxy", "deploy"]), default="proxy", show_default=True)
@click.option("--teacher", type=click.Path(path_type=Path), help="With --scale deploy: the bundle that it starts from.")
def handoff(run: Path, *, pick: str, out: Path, scale: str, teacher: Path | None) -> None:
    """Hand one architecture over, as a bundle.

    A bundle says what it is, carries its weights, how to train it and what to expect of it. At the proxy scale the weights
    are the supernet's; at the deploy scale a teacher's, or fresh.
    """
    from experiments.handoff import hand_off

    say = functools.partial(click.echo, err=True)
    click.echo(hand_off(run, pick, out, scale=scale, teacher=teacher, say=say))


@click.command()
@BUNDLE
@DATA
@STEPS
@SEED
@OUT
@TRACKERS
def train(bundle: Path, *, data: str | None, steps: int | None, seed: int, out: Path | None, trackers: tuple[str, ...]) -> None:
    """Train the network of a bundle on its data."""
    from experiments.progress import terminal_progress
    from experiments.trackers.bundle_log import track_bundle
    from experiments.training import train_bundle

    with terminal_progress() as progress:
        tracking = track_bundle(trackers, bundle, command="train", say=progress.say)
        written = train_bundle(bundle, data=data, steps=steps, seed=seed, progress=progress, out=out, tracking=tracking)
    click.echo(written)


@click.command()
@click.argument("bundle", metavar="BUNDLE-or-PLAN", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option(
    "--method",
    metavar="METHOD",
    help="knowledge, relu-attention, progressive, cfg-aware, adversarial, ufogen or control.  [default: knowledge]",
)
@click.option("--teacher", metavar="BUNDLE", help="Whom it learns from.  [default: the bundle's own, or itself]")
@click.option(
    "--steps", metavar="N", help="Sampling steps that the distilled network takes, where the method makes them fewer."
)
@DATA
@click.option("--seed", type=_SEEDS, help="Seed of every draw.  [default: 0]")
@OUT
@TRACKERS
def distill(bundle: Path, overrides: tuple[str, ...], *, trackers: tuple[str, ...], **options: Any) -> None:
    """Distil the network of a bundle, by one method or as a plan's file says.

    KEY=VALUE gives a key of the method, as in `updates=600`. The same command goes on with what was interrupted. A plan is a
    YAML file with bundle, out, chain (a list of methods with their keys) and, if wanted, data and seed.
    """
    from experiments.distilling.distill import distill_as_asked
    from experiments.progress import terminal_progress
    from experiments.trackers.bundle_log import track_bundle

    with terminal_progress() as progress:
        folder = bundle.parent if bundle.is_file() else bundle
        tracking = track_bundle(trackers, folder, command="distill", say=progress.say)
        for written in distill_as_asked(bundle, overrides, progress=progress, tracking=tracking, **options):
            click.echo(written)


@click.command()
@BUNDLE
@click.option("--out", "--grid", type=click.Path(path_type=Path), help="The picture.  [default: BUNDLE/samples.png]")
@click.option("--num", type=click.IntRange(min=1), default=64, show_default=True, help="How many images.")
@click.option("--prompt", "prompts", multiple=True, metavar="TEXT", help="A caption or the name of a class; several in turn.")
@click.option("--steps", type=click.IntRange(min=1), help="Calls of the network.  [default: as training.yaml says]")
@click.option(
    "--guidance", type=click.FloatRange(min=0), help="1 follows the prompt as learned.  [default: as training.yaml says]"
)
@click.option("--lora", type=FILE, help="Add lora.safetensors of a bundle that was trained from this one.")
@click.option("--condition", type=FILE, help="A picture that the bundle's plug-in makes the network follow.")
@SEED
def sample(bundle: Path, *, out: Path | None, num: int, steps: int | None, guidance: float | None, **options: Any) -> None:
    """Draw images with the network of a bundle; without --prompt, of every class or of the first prompts of its data."""
    from experiments.sampling import sample_bundle

    written = sample_bundle(bundle, out or bundle / "samples.png", num, num_steps=steps, guidance_scale=guidance, **options)
    click.echo(written)


@click.command()
@BUNDLE
def verify(bundle: Path) -> int:
    """Hold a bundle to its expected.json (exit code 1: not kept)."""
    from experiments.bundle_quality import verify_bundle

    checks = verify_bundle(bundle)
    for check in checks:
        click.echo(str(check))
    return 0 if all(check.is_kept for check in checks) else 1


@click.command()
@BUNDLE
@click.option(
    "--format",
    "to",
    required=True,
    metavar="FORMAT",
    help="litert, onnx, stablehlo, coreml or safetensors (diffusers' layout).",
)
@click.option(
    "--dtype", type=click.Choice(["float32", "float16", "int8"]), default="float32", show_default=True, help="Of the weights."
)
@click.option(
    "--batch-size", type=click.IntRange(min=1), default=1, show_default=True, help="Images of one call; guidance takes 2."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="The new folder; must not exist.  [default: BUNDLE/FORMAT-DTYPE, -batchN for more than one image]",
)
def export(bundle: Path, *, to: str, dtype: Literal["float32", "float16", "int8"], batch_size: int, out: Path | None) -> int:
    """Export the network of a bundle for a device's runtime, held to Flax's output (exit code 1: not the same)."""
    from experiments.control_file import left_out
    from experiments.exports.comparison import WrongExportError
    from experiments.exports.export import export_bundle

    try:
        written, comparisons = export_bundle(bundle, to=to, dtype=dtype, batch_size=batch_size, out=out)
    except WrongExportError as error:
        click.echo(f"pocketunet: {error}", err=True)
        return 1
    for graph, comparison in comparisons.items():
        click.echo(f"{graph}: {comparison}")
    if note := left_out(bundle):
        click.echo(note, err=True)
    click.echo(written)
    return 0
