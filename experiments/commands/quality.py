"""The commands about quality: measure architectures of a run by their samples."""

import json
from pathlib import Path

import click


@click.group()
def quality() -> None:
    """Measure quality better than a sweep does."""


@quality.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--ids", required=True, metavar="knee|front|DIGEST,...", help="Which architectures, separated by commas.")
@click.option("--n", "num_samples", type=click.IntRange(min=40), default=1000, show_default=True, help="Samples of each.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def measure(run: Path, *, ids: str, num_samples: int, as_json: bool) -> None:
    """Measure architectures of a run by their samples, and how they differ from the first.

    Fréchet distance (at this n, and extrapolated to infinitely many samples) and kernel distance in the features of a
    classifier of the data, with 95 % intervals; and, where prompts say several things, how often samples agree. Numbers
    and sample grids are kept in RUN/quality.
    """
    picks = [pick.strip() for pick in ids.split(",") if pick.strip()]
    if not picks:
        raise click.UsageError("--ids names no architecture; give knee, front, or digests separated by commas")
    from experiments.progress import terminal_progress
    from experiments.quality_measuring import measure_quality
    from experiments.quality_texts import measured_table

    with terminal_progress() as progress:
        found = measure_quality(run, picks, num_samples=num_samples, progress=progress)
    if as_json:
        click.echo(json.dumps([measured.to_json() for measured in found], indent=2, allow_nan=False))
        return
    click.echo(measured_table(found))


@quality.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--n", "num", type=click.IntRange(min=8), default=24, show_default=True, help="Architectures trained alone.")
@click.option("--seeds", "num_seeds", type=click.IntRange(min=1), default=2, show_default=True, help="Trainings of each.")
@click.option("--steps", "num_steps", type=click.IntRange(min=1), help="Of each.  [default: the sweep's distill.num_steps]")
@click.option("--samples", "num_samples", type=click.IntRange(min=40), default=1000, show_default=True, help="That judge each.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def trust(run: Path, *, num: int, num_seeds: int, num_steps: int | None, num_samples: int, as_json: bool) -> None:
    """Say how far to trust the search's ranking: train architectures alone, and correlate.

    Architectures are drawn at random from strata of cost. Stopped, the same command goes on. The report then says what was
    found.
    """
    from experiments.progress import terminal_progress
    from experiments.trust import measure_trust
    from experiments.trust_record import trust_text

    with terminal_progress() as progress:
        found = measure_trust(
            run, num=num, num_seeds=num_seeds, num_steps=num_steps, num_samples=num_samples, progress=progress
        )
    click.echo(found.model_dump_json(indent=2) if as_json else trust_text(found))
