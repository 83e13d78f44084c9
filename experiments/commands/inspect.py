"""The commands that look: at data sets, spaces, architectures, ledgers; only `ledger check --quarantine` writes."""

import json
from pathlib import Path

import click


@click.group()
def data() -> None:
    """Look at data sets."""


@data.command("check")
@click.argument("dataset", metavar="NAME-or-DIR")
@click.option("--out", type=click.Path(path_type=Path), help="The grid of images.  [default: NAME-grid.png]")
@click.option("--resolution", type=click.IntRange(min=1), help="Side of the square images, as training will use it.")
@click.option("--channels", type=click.Choice(["1", "3"]), help="Grey or colour, as training will use it.")
def data_check(dataset: str, *, out: Path | None, resolution: int | None, channels: str | None) -> None:
    """Print what is understood of a data set, and save a grid of it (exit code 2, and no grid: something cannot be read)."""
    from experiments.data.check import check_dataset
    from experiments.errors import InputError

    grid = out or Path(f"{Path(dataset).resolve().name}-grid.png")
    wanted = int(channels) if channels else None
    found = check_dataset(dataset, grid_path=grid, resolution=resolution, channels=wanted)
    click.echo(found.report)
    if found.refusal:
        raise InputError(found.refusal)


@click.group()
def space() -> None:
    """Look at search spaces."""


@space.command("describe")
@click.argument("name")
@click.option("--scale", help="Name of the scale to count at.  [default: where the space's networks are to run]")
@click.option("--limit", "limits", multiple=True, metavar="LIMIT", help="Upper bound on a cost, as 'params <= 60% of sd15'.")
def space_describe(name: str, *, scale: str | None, limits: tuple[str, ...]) -> None:
    """Print a search space: size, genes, choices, both its ends, and what is feasible."""
    from experiments.describe_space import describe_space

    click.echo(describe_space(name, scale=scale, limits=limits))


_SCALE = click.option("--scale", help="Name of the scale to count at.  [default: the design's or the bundle's own]")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@click.command()
@click.argument("what", metavar="NAME-or-FILE-or-BUNDLE")
@_SCALE
@_JSON
def describe(what: str, *, scale: str | None, as_json: bool) -> None:
    """Draw an architecture and count it.

    WHAT is the name of a published design (sd15, mobilediffusion), an architecture.json, or a bundle.
    """
    from experiments.describe import find_subject, subject_json, subject_text

    subject = find_subject(what, scale=scale)
    click.echo(json.dumps(subject_json(subject), indent=2) if as_json else subject_text(subject))


@click.command()
@click.argument("what", metavar="NAME-or-FILE-or-BUNDLE...", nargs=-1)
@_SCALE
@_JSON
def compare(what: tuple[str, ...], *, scale: str | None, as_json: bool) -> None:
    """Put architectures side by side, what differs marked with an asterisk."""
    if len(what) < 2:
        raise click.UsageError("give two or more architectures, as `pocketunet compare sd15 mobilediffusion`")
    from experiments.compare import comparison_json, comparison_text
    from experiments.describe import find_subject

    subjects = [find_subject(one, scale=scale) for one in what]
    click.echo(json.dumps(comparison_json(subjects), indent=2) if as_json else comparison_text(subjects))


@click.group()
def ledger() -> None:
    """Look at the ledger of a run."""


@ledger.command("check")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--quarantine", is_flag=True, help="Move damaged lines into PATH.quarantine.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def ledger_check(path: Path, *, quarantine: bool, as_json: bool) -> int:
    """Look at every line of a ledger (or of a run folder's); exit code 1 where one is damaged."""
    from experiments.ledger_check import check_ledger
    from experiments.ledger_check import quarantine as move_aside

    path = path / "ledger.jsonl" if path.is_dir() else path
    found = move_aside(path) if quarantine else check_ledger(path)
    damaged = [{"line": line, "what": what} for line, what in found.damaged]
    if as_json:
        record = {"lines": found.num_lines, "asked": found.num_asked, "evaluations": found.num_evaluations}
        click.echo(json.dumps({**record, "torn": found.torn, "damaged": damaged}))
    else:
        click.echo(f"{path}: {found.num_lines} lines, {found.num_asked} asked for, {found.num_evaluations} evaluated")
        if found.torn:
            click.echo("the last line is torn, as a kill leaves it: readers ignore it, and the next sweep cuts it")
        for entry in damaged:
            click.echo(f"line {entry['line']} is damaged: {entry['what']}")
        if damaged and quarantine:
            click.echo(f"moved to {path}.quarantine; intact lines are kept")
        elif damaged:
            click.echo(f"`pocketunet ledger check {path} --quarantine` moves them aside")
    return 1 if damaged and not quarantine else 0


@ledger.command("export")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--format", "form", type=click.Choice(["csv", "parquet", "optuna"]), default="csv", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="The file.  [default: RUN/ledger.csv, .parquet or .db]")
def ledger_export(run: Path, *, form: str, out: Path | None) -> None:
    """Write every outcome with its genes as a table, or those of the search as an Optuna study in SQLite."""
    from experiments.ledger_contents import read_ledger
    from experiments.ledger_export import export_ledger

    path = out or run / f"ledger.{'db' if form == 'optuna' else form}"
    export_ledger(read_ledger(run / "ledger.jsonl"), path, form=form)
    click.echo(path)
