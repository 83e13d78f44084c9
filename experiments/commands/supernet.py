"""The command about supernets: start one from a teacher."""

from pathlib import Path

import click


@click.group()
def supernet() -> None:
    """Start a supernet from a trained network."""


@supernet.command("init")
@click.option("--from", "bundle", required=True, type=click.Path(path_type=Path), help="The teacher: a bundle.")
@click.option("--space", required=True, help="Name of the search space.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The new folder; must not exist.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Of what the teacher lacks.")
def supernet_init(bundle: Path, *, space: str, out: Path, seed: int) -> int:
    """Fill the largest subnet from a bundle (exit code 1: it computes something else).

    A sweep takes the folder as `supernet.start=OUT`, with the bundle's scale as its proxy scale.
    """
    from experiments.control_file import left_out
    from experiments.supernet_start import start_supernet

    if note := left_out(bundle):
        click.echo(note, err=True)
    start = start_supernet(bundle, space, out, seed=seed)
    click.echo(str(start))
    return 0 if start.is_equal else 1
