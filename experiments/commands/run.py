"""The commands about a run: launch a sweep, look at its front, write its report."""

import json
from pathlib import Path

import click

RUN = click.argument("run", type=click.Path(path_type=Path))


@click.command()
@click.argument("config")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--dry-run", is_flag=True, help="Print the resolved sweep and what is feasible, and stop.")
@click.option("--run", "--run-dir", "run_dir", type=click.Path(path_type=Path), help="The run folder.  [default: runs/NAME]")
@click.option("--address", help="A running Ray cluster (auto, or HOST:PORT) instead of one that the sweep starts.")
def sweep(config: str, overrides: tuple[str, ...], *, dry_run: bool, run_dir: Path | None, address: str | None) -> None:
    """Search: from data to a front and a distilled winner.

    CONFIG is the name of a shipped sweep (digits) or a YAML file; KEY=VALUE changes a setting of it, as in
    `trials=50`. The same command again goes on where the last one stopped.
    `sweep extend RUN trials=2000` searches a run further.
    """
    from experiments.config import load_config

    if config == "extend":
        config, overrides, run_dir = _extended(overrides, run_dir)
    if run_dir is not None:
        overrides = (*overrides, f"run_dir={json.dumps(str(run_dir), ensure_ascii=False)}")
    settings = load_config(config, overrides)
    if dry_run:
        from experiments.pipeline import dry_run as describe_sweep

        click.echo(describe_sweep(settings))
        return
    from experiments.pipeline import run_sweep
    from experiments.progress import terminal_progress

    with terminal_progress() as progress:
        run_sweep(settings, progress, address=address)


def _extended(arguments: tuple[str, ...], run_dir: Path | None) -> tuple[str, tuple[str, ...], Path]:
    """The configuration of a run folder, with the end that is asked for in the place of its own."""
    key, _, value = arguments[1].partition("=") if len(arguments) == 2 else ("", "", "")
    if run_dir is not None or key not in ("trials", "budget"):
        raise click.UsageError(
            "write `pocketunet sweep extend RUN trials=N`, N evaluations in all, or `budget=2h`, the time of all evaluations"
        )
    from experiments.ledger_contents import read_ledger

    run = Path(arguments[0])
    if not (run / "sweep.yaml").is_file():
        raise click.UsageError(f"{run}: this is no run folder, it holds no sweep.yaml")
    ended = read_ledger(run / "ledger.jsonl").at(None).num_ended
    if key == "trials" and value.isdecimal() and int(value) <= ended:
        raise click.UsageError(f"trials={value}: {ended} evaluations are there already; give more than that")
    other = "budget" if key == "trials" else "trials"
    return str(run / "sweep.yaml"), (f"{other}=null", f"{key}={value}"), run


@click.command()
@RUN
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def status(run: Path, *, as_json: bool) -> None:
    """Say where a run stands, and who works in it."""
    from experiments.run_folder import read_run
    from experiments.status import status_json, status_text

    contents = read_run(run)
    click.echo(json.dumps(status_json(contents), indent=2, allow_nan=False) if as_json else status_text(contents))


@click.command()
@RUN
@click.option("--where", multiple=True, metavar="BOUND", help="Only what keeps it, as 'latency_ms <= 5'; several in turn.")
@click.option("--sort", metavar="NAME", help="By this objective, best first; quality for the first.  [default: fastest first]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
def front(run: Path, *, where: tuple[str, ...], sort: str | None, as_json: bool) -> None:
    """Show the front of a run, its knee marked; with --where, the front of what keeps the bounds."""
    from experiments.choosing import narrowed, objective_named
    from experiments.front_view import front_json, print_front
    from experiments.run_folder import read_run

    contents = read_run(run)
    contents = narrowed(contents, where) if where else contents
    order = objective_named(contents, sort) if sort else None
    if as_json:
        click.echo(json.dumps(front_json(contents, order=order), indent=2, allow_nan=False))
    else:
        print_front(contents, order=order)


@click.command()
@RUN
@click.option("--out", type=click.Path(path_type=Path), help="The file.  [default: RUN/report.html]")
def report(run: Path, *, out: Path | None) -> None:
    """Write a report of a run as one HTML file, which needs no server."""
    from experiments.report import write_report

    click.echo(write_report(run, out=out))


@click.command()
@RUN
@click.option("--id", "pick", required=True, metavar="PICK", help="knee, a digest, or what `handoff --pick` takes.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def explain(run: Path, *, pick: str, as_json: bool) -> None:
    """Say which choice buys what around a design, and which genes matter over the run."""
    from experiments.explain_texts import explanation_json, explanation_text
    from experiments.explaining import explain as explain_design
    from experiments.progress import terminal_progress
    from experiments.run_folder import read_run

    with terminal_progress() as progress:
        found = explain_design(read_run(run), pick, progress=progress)
    click.echo(json.dumps(explanation_json(found), indent=2) if as_json else explanation_text(found))


@click.command()
@RUN
@click.option("--port", type=click.IntRange(1024, 65535), default=8080, show_default=True, help="Of 127.0.0.1.")
def dashboard(run: Path, *, port: int) -> None:
    """Serve optuna-dashboard over the search of a run, on this machine only."""
    from experiments.dashboard import serve_dashboard
    from experiments.run_folder import read_run

    serve_dashboard(read_run(run), port=port, say=click.echo)
