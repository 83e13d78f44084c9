"""The commands about latency: measure networks, fit a predictor, ask it, carry it to another device, hold it to a run."""

import json
import shlex
from pathlib import Path

import click

PREDICTOR = click.argument("predictor", metavar="P", type=click.Path(path_type=Path))
_DEVICE = click.option("--device", required=True, metavar="DEVICE", help="As `pocketunet latency devices` lists it.")
_SCALE = click.option(
    "--scale", help="Name of the scale.  [default: a network's own, or where the space's networks are to run]"
)
_ROUNDS = click.option(
    "--rounds", type=click.IntRange(min=2), default=6, show_default=True, help="Interleaved rounds of timing."
)


@click.group()
def latency() -> None:
    """Measure networks on a device, and predict what was not measured."""


@latency.command("devices")
def latency_devices() -> None:
    """List what can be measured from here, and what each device needs."""
    from experiments.device_table import device_table

    click.echo(device_table())


@latency.command("published")
@click.option("--phone", metavar="NAME", help="Only the figures of this phone.")
def latency_published(phone: str | None) -> None:
    """List published milliseconds a step of diffusion UNets on phones."""
    from experiments.published_table import published_table

    click.echo(published_table(phone))


@latency.command("anchor")
@click.argument("phone", metavar="PHONE")
@click.option("--with", "switch_on", multiple=True, metavar="OPTION", help="A kernel option beyond those of the figures.")
@click.option("--without", "switch_off", multiple=True, metavar="OPTION", help="A kernel option of the figures to leave out.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The predictor's folder.")
def latency_anchor(phone: str, *, switch_on: tuple[str, ...], switch_off: tuple[str, ...], out: Path) -> None:
    """Make a predictor of a phone that was not measured, anchored on a few published figures."""
    from experiments.phone_profile_texts import profile_text
    from latency_models.phone_profiles import phone_profile

    predictor = phone_profile(phone, switch_on=switch_on, switch_off=switch_off)
    predictor.save(out)
    click.echo(profile_text(predictor, phone))


@latency.command("options")
@click.argument("phone", metavar="PHONE")
@click.argument("what", metavar="NAME-or-FILE-or-BUNDLE")
@_SCALE
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def latency_options(phone: str, what: str, *, scale: str | None, as_json: bool) -> None:
    """Compare kernel options on such a phone: fused norms and GELU, fused attention, Winograd."""
    from experiments.latency_measuring import named_network
    from experiments.phone_profile_texts import options_json, options_text
    from latency_models.phone_profiles import phone_profile

    network = named_network(what, scale_name=scale, known=phone_profile(phone).scales)
    found = options_json(phone, network, name=what)
    click.echo(json.dumps(found) if as_json else options_text(found))


@latency.command("measure")
@_DEVICE
@click.option("--space", help="Name of the search space to choose from.")
@_SCALE
@click.option("--n", type=click.IntRange(min=0), default=0, show_default=True, help="Architectures of the space.")
@click.option("--blocks", type=click.IntRange(min=0), default=0, show_default=True, help="Single blocks of the space.")
@click.option("--network", "names", multiple=True, metavar="NAME-or-FILE", help="A design, architecture.json or bundle.")
@_ROUNDS
@click.option("--profile/--no-profile", default=True, show_default=True, help="Ask the runtime for each kernel's time.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the choice.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The folder; what is in it is kept.")
def latency_measure(
    *, device: str, space: str | None, scale: str | None, n: int, blocks: int, names: tuple[str, ...], rounds: int,
    profile: bool, seed: int, out: Path,
) -> None:  # fmt: skip
    """Run networks and record their latency, kernels and memory; the same command again goes on."""
    if not names and not (space and (n or blocks)):
        raise click.UsageError("say what to measure: --space with --n or --blocks, or --network")
    if (n or blocks) and not space:
        raise click.UsageError("--n and --blocks are of a search space: say which with --space")
    from experiments.latency_measuring import measure_into, named_network, networks_of_space, usable_device
    from experiments.latency_texts import measured_text
    from experiments.progress import terminal_progress

    where = usable_device(device)
    networks = [named_network(name, scale_name=scale) for name in names]
    if space:
        networks += networks_of_space(space, scale_name=scale, n=n, num_blocks=blocks, seed=seed)
    with terminal_progress() as progress:
        measured = measure_into(out, where, networks, rounds=rounds, profiled=profile, progress=progress)
    click.echo(measured_text(measured))


@latency.command("fit")
@click.argument("measurements", metavar="M...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The predictor's folder.")
def latency_fit(measurements: tuple[Path, ...], *, out: Path) -> None:
    """Learn a predictor from measurements of one device; prints its held-out error and where it extrapolates."""
    from experiments.latency_texts import fit_text
    from latency_models.fitting import fit
    from latency_models.measurements import load_all

    measured = load_all(measurements)
    predictor = fit(measured)
    predictor.save(out)
    click.echo(fit_text(predictor, measured))


@latency.command("predict")
@PREDICTOR
@click.argument("what", metavar="NAME-or-FILE-or-BUNDLE...", nargs=-1, required=True)
@_SCALE
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a network.")
def latency_predict(predictor: Path, what: tuple[str, ...], *, scale: str | None, as_json: bool) -> None:
    """Predict the latency of networks, with its interval, by stage and by kind of kernel."""
    from experiments.latency_measuring import named_network
    from experiments.latency_texts import prediction_json, prediction_text
    from latency_models.predictor import Predictor

    loaded = Predictor.load(predictor)
    for name in what:
        network = named_network(name, scale_name=scale, known=loaded.scales)
        found = prediction_json(loaded, network, name=name)
        click.echo(json.dumps(found) if as_json else prediction_text(found))


@latency.command("calibrate")
@click.argument("predictors", metavar="P...", nargs=-1, required=True, type=click.Path(path_type=Path))
@_DEVICE
@click.option("--k", type=click.IntRange(min=5), default=20, show_default=True, help="Networks to measure there.")
@click.option("--space", help="Name of the search space whose networks are chosen.  [default: that of the predictor's scale]")
@_SCALE
@_ROUNDS
@click.option("--seed", type=int, default=0, show_default=True, help="Of the pool that is chosen from.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The new predictor's folder, measurements inside.")
def latency_calibrate(
    predictors: tuple[Path, ...],
    *,
    device: str,
    k: int,
    space: str | None,
    scale: str | None,
    rounds: int,
    seed: int,
    out: Path,
) -> None:
    """Carry predictors to another device by measuring a few designed networks there."""
    from experiments.latency_calibrating import calibrate_to
    from experiments.latency_measuring import usable_device
    from experiments.latency_texts import fit_text
    from experiments.progress import terminal_progress

    where = usable_device(device)
    with terminal_progress() as progress:
        predictor, measured = calibrate_to(
            out, where, predictors, space_name=space, scale_name=scale, k=k, rounds=rounds, seed=seed, progress=progress
        )
    click.echo(fit_text(predictor, measured))


@latency.command("template")
@click.argument("predictors", metavar="P...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--k", type=click.IntRange(min=5), default=20, show_default=True, help="Networks to measure elsewhere.")
@click.option("--space", help="Name of the search space whose networks are chosen.  [default: that of the predictor's scale]")
@_SCALE
@click.option("--seed", type=int, default=0, show_default=True, help="Of the pool that is chosen from.")
@click.option("--models/--no-models", default=False, show_default=True, help="Write a .tflite file of each as well.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The table, a new CSV file.")
def latency_template(
    predictors: tuple[Path, ...], *, k: int, space: str | None, scale: str | None, seed: int, models: bool, out: Path
) -> None:
    """Write a table of networks for a device that is not reached from here; filled in, it calibrates as csv:TABLE."""
    from experiments.latency_calibrating import networks_to_calibrate, write_models_to_measure
    from experiments.progress import terminal_progress
    from latency_models.predictor import Predictor

    sources = [Predictor.load(path) for path in predictors]
    networks = networks_to_calibrate(sources, space_name=space, scale_name=scale, k=k, seed=seed)
    with terminal_progress() as progress:
        write_models_to_measure(out, networks, with_models=models, progress=progress)
    click.echo(
        f"{out}: fill in the lines above the heading and the column ms, then: pocketunet latency calibrate "
        f"{shlex.join(map(str, predictors))} --device {shlex.quote(f'csv:{out}')} --out Q"
    )


@latency.command("validate")
@PREDICTOR
@click.option("--run", "run_dir", required=True, type=click.Path(path_type=Path), help="The run folder of a sweep.")
@click.option("--top", type=click.IntRange(min=1), default=10, show_default=True, help="Designs of its front, spread over it.")
@click.option("--device", metavar="DEVICE", help="Where to measure.  [default: the predictor's own]")
@_ROUNDS
def latency_validate(predictor: Path, *, run_dir: Path, top: int, device: str | None, rounds: int) -> int:
    """Measure a front's designs again and hold the predictor to them (exit code 1: too many outside their intervals)."""
    from experiments.latency_validating import validate
    from experiments.progress import terminal_progress

    with terminal_progress() as progress:
        found = validate(predictor, run_dir, top=top, device_spec=device, rounds=rounds, progress=progress)
    click.echo(str(found))
    return 0 if found.holds else 1
