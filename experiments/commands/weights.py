"""The commands that bring trained weights in, hold them to what was recorded elsewhere, and take them out."""

from pathlib import Path

import click

BUNDLE = click.argument("bundle", type=click.Path(path_type=Path))


@click.group()
def weights() -> None:
    """Bring a trained UNet in, check it, take it out."""


@weights.command("import")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the new bundle; must not exist.")
@click.option(
    "--context-length", type=click.IntRange(min=1), default=77, show_default=True,
    help="Tokens of a prompt; config.json does not say.",
)  # fmt: skip
def weights_import(folder: Path, *, out: Path, context_length: int) -> None:
    """Make a bundle of a diffusers unet/ folder: config.json and safetensors."""
    from experiments.weights import import_weights

    click.echo(import_weights(folder, out, context_length=context_length))


@weights.command("compare")
@BUNDLE
@click.argument("recording", metavar="IO.npz", type=click.Path(path_type=Path))
@click.option(
    "--tolerance", type=click.FloatRange(min=0), default=1e-5, show_default=True,
    help="Relative error that still counts as equal.",
)  # fmt: skip
def weights_compare(bundle: Path, recording: Path, *, tolerance: float) -> int:
    """Hold a bundle to outputs recorded elsewhere (exit code 1: not equal).

    IO.npz holds x (n, channels, height, width), t (n,), context (n, tokens, features) and y, shaped as x.
    """
    from experiments.weights_comparison import compare_weights

    comparison = compare_weights(bundle, recording, tolerance=tolerance)
    click.echo(str(comparison))
    return 0 if comparison.is_equal else 1


@weights.command("export")
@BUNDLE
@click.option("--format", "layout", required=True, type=click.Choice(["diffusers"]), help="The layout of the files.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The new folder; must not exist.")
def weights_export(bundle: Path, *, layout: str, out: Path) -> None:
    """Write the network of a bundle in the layout of another library."""
    del layout  # there is one
    from experiments.weights import export_weights

    click.echo(export_weights(bundle, out))
