"""The commands about quality: measure architectures of a run by their samples, in whose features, and trust in a ranking."""

import json
from pathlib import Path

import click

from experiments.feature_texts import EXTRACTORS, PYTHON, WEIGHTS, extractors_text

PREPROCESSING = ("pytorch-fid", "tensorflow")


def _verbatim(*texts: str) -> str:
    """Paragraphs that click leaves as they are."""
    return "\n\n".join(f"\b\n{paragraph}" for text in texts for paragraph in text.split("\n\n"))


@click.group()
def quality() -> None:
    """Measure quality better than a sweep does."""


@quality.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--ids", required=True, metavar="knee|front|DIGEST,...", help="Which architectures, separated by commas.")
@click.option("--n", "num_samples", type=click.IntRange(min=40), default=1000, show_default=True, help="Samples of each.")
@click.option(
    "--features",
    "extractor",
    type=click.Choice(["classifier", "inception"]),
    default="classifier",
    show_default=True,
    help="In whose features; `pocketunet quality features` says more.",
)
@click.option("--weights", type=click.Path(path_type=Path), help="InceptionV3's weights: safetensors or npz.")
@click.option(
    "--preprocessing",
    type=click.Choice(PREPROCESSING),
    help="How InceptionV3 is given images.  [default: as the layout of the weights]",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def measure(
    run: Path, *, ids: str, num_samples: int, extractor: str, weights: Path | None, preprocessing: str | None, as_json: bool
) -> None:
    """Measure architectures of a run by their samples, and how they differ from the first.

    Fréchet distance (at this n, and extrapolated to infinitely many samples) and kernel distances in the features of a
    classifier of the data or of InceptionV3, with 95 % intervals; and, where prompts say several things, how often
    samples agree. Numbers and sample grids are kept in RUN/quality.
    """
    is_inception = extractor == "inception"
    if is_inception and weights is None:
        raise click.UsageError("--features inception needs --weights FILE; `pocketunet quality features` says how to bring one")
    if not is_inception and (weights or preprocessing):
        raise click.UsageError("--weights and --preprocessing are InceptionV3's; add --features inception, or leave them out")
    picks = [pick.strip() for pick in ids.split(",") if pick.strip()]
    if not picks:
        raise click.UsageError("--ids names no architecture; give knee, front, or digests separated by commas")
    from experiments.progress import terminal_progress
    from experiments.quality_measuring import measure_quality
    from experiments.quality_texts import measured_table

    chosen = None
    if weights is not None:
        from experiments.inception_weights import read_inception

        chosen = read_inception(weights).extractor(preprocessing)
    with terminal_progress() as progress:
        found = measure_quality(run, picks, num_samples=num_samples, progress=progress, extractor=chosen)
    if as_json:
        click.echo(json.dumps([measured.to_json() for measured in found], indent=2, allow_nan=False))
        return
    click.echo(measured_table(found))


@quality.command(
    help=f"Say in whose features quality can be measured, and check a weights file.\n\n{_verbatim(EXTRACTORS, WEIGHTS, PYTHON)}"
)
@click.option("--weights", type=click.Path(path_type=Path), help="Read this file, and say what it holds.")
def features(*, weights: Path | None) -> None:
    if weights is None:
        click.echo(extractors_text())
        return
    from experiments.feature_texts import weights_text
    from experiments.inception_weights import read_inception

    click.echo(weights_text(weights, read_inception(weights)))


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
