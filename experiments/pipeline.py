"""A sweep from data to a distilled winner: the stages in their order, each of which the same command takes up where it stopped.

The run folder holds what each stage made: `features/`, `supernet/`, `latency/`, `ledger.jsonl`, `front.json`, `report.html`,
`winner/` (the hand-off bundle of the knee) with `winner/distilled/`, and `samples.png`; `provenance.json` says with what.
"""

import contextlib
import functools
import itertools
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from experiments.config import SweepConfig, changed_settings, ledger_header, load_config, resolved_yaml
from experiments.errors import InputError
from experiments.feasibility import feasibility, rendered
from experiments.front import write_front
from experiments.ledger import Ledger
from experiments.ledger_contents import check_header, read_ledger
from experiments.locks import lock_path
from experiments.memory import drop_programs, use_compilation_cache
from experiments.progress import Progress
from experiments.run_folder import Run, read_run
from experiments.starting_points import starting_points
from experiments.trackers.registry import check_installed
from experiments.trackers.tracker import Log
from experiments.whole_files import write_whole
from search_space import get_scale, get_space


def dry_run(config: SweepConfig) -> str:
    """The resolved sweep, and the costs that can be told without training, with what each limit excludes.

    Latency is among them where the run folder holds a predictor already, or `latency.predictor` names one.

    Raises:
        InputError: nothing in the space keeps the limits that can be checked.
    """
    from experiments.data_record import open_splits

    return f"{resolved_yaml(config)}\n{_check(config, open_splits(config))}"


def run_sweep(config: SweepConfig, progress: Progress, *, address: str | None = None) -> None:
    """Runs a sweep, or goes on with one; ends with the front on the terminal.

    Args:
        config: what to do.
        progress: where to report.
        address: of a running Ray cluster, `auto` for the one of this machine; without it the sweep starts one of its own.

    Raises:
        InputError: the run folder belongs to another sweep, another process is at work in it, no cluster answers, or
            something in the configuration cannot be done here.
    """
    from experiments.data_record import check_same_data, open_splits
    from experiments.latency import check_measuring
    from experiments.provenance import record_session
    from experiments.ray_cluster import temporary_root
    from experiments.sample_features import judged_objectives, sweep_classifier
    from experiments.searching import search
    from experiments.supernet_training import train_supernet
    from experiments.trackers.sweep_log import SUPERNET, log_front, track_sweep

    run_dir = Path(config.run_dir)
    config, splits = _with_device(config, run_dir), open_splits(config)
    _check(config, splits)
    start = starting_points(config, splits)
    if not any(stage.name == "latency" for stage in start.stages):
        check_measuring(config, run_dir)
    if address is not None:
        _check_cluster(config, address)
    elif config.search.executor == "ray":
        temporary_root()
    with _claim(config, run_dir) as ledger:
        check_same_data(run_dir, splits)
        write_whole(run_dir / "sweep.yaml", resolved_yaml(config))
        record_session(run_dir)
        start.take_stages(run_dir)
        use_compilation_cache(run_dir)
        with track_sweep(config, run_dir, ledger, progress) as log:
            if judged_objectives(config):
                sweep_classifier(config, run_dir, progress)
            train_supernet(config, run_dir, progress, functools.partial(log, SUPERNET))
            drop_programs()
            search(config, run_dir, ledger, start, progress, address=address)
            write_front(run_dir / "front.json", read_run(run_dir).summary)
            log_front(read_run(run_dir), log)
            if config.distill.at_end:
                _winner(config, run_dir, progress, log)
        _show(run_dir)


def _check_cluster(config: SweepConfig, address: str) -> None:
    from experiments.ray_cluster import ray_cluster

    if config.search.executor != "ray":
        raise InputError(f"--address {address}: search.executor is {config.search.executor!r}; set it to ray, or leave it out")
    with ray_cluster(num_cpus=1, address=address):
        pass


def _checkable(limits: Mapping[str, float], *, has_predictor: bool) -> tuple[dict[str, float], dict[str, float]]:
    """Limits that can be checked now, and those on predicted costs where they cannot yet."""
    from experiments.latency import PREDICTED

    later = {} if has_predictor else {name: bound for name, bound in limits.items() if name in PREDICTED}
    return {name: bound for name, bound in limits.items() if name not in later}, later


def _with_device(config: SweepConfig, run_dir: Path) -> SweepConfig:
    """The sweep with `auto` replaced by the device of its run folder, or by the default one here."""
    if config.latency.device != "auto":
        return config
    from latency_models.device import default_device

    path = run_dir / "sweep.yaml"
    name = load_config(path).latency.device if path.is_file() else default_device().name
    return config.model_copy(update={"latency": config.latency.model_copy(update={"device": name})})


def _check(config: SweepConfig, splits: Mapping[str, Any]) -> str:
    """Everything that can be found wrong before time is spent: limits on counted costs, the data set, trackers' packages.

    Returns:
        The table of what is feasible.

    Raises:
        InputError: nothing in the space keeps the limits that can be checked, the data set does not serve, or the package of a
            tracker is not installed.
    """
    from experiments.data.dataset import check_fits
    from experiments.latency import Costs, known_predictor
    from experiments.sample_features import judged_objectives

    check_installed(config.trackers)
    predictor = known_predictor(config, Path(config.run_dir))
    costs = Costs(get_scale(config.deploy_scale), predictor, config.latency.image)
    limits, later = _checkable(config.limits, has_predictor=costs.has_predictor)
    found = feasibility(get_space(config.space), costs.columns, limits=limits, seed=config.seed)
    if config.anchors is not None:
        from experiments.anchors import anchors_of

        anchors_of(config)
    if config.supernet.start is not None and not (Path(config.run_dir) / "supernet").is_dir():  # it is read once
        from experiments.supernet_start import check_start
        from experiments.supernet_training import sweep_supernet

        check_start(Path(config.supernet.start), sweep_supernet(config))
    check_fits(splits["validation"].info)
    judged = judged_objectives(config)
    if judged and splits["train"].info.num_classes is None:
        raise InputError(
            f"objectives and rungs: {', '.join(judged)} need labels, and data set {config.data!r} has none; leave them out"
        )
    for split, least in (("train", 20 if "kid_classifier" in judged else 1), ("validation", 2)):  # or there is no interval
        if (num := len(splits[split])) < least:
            raise InputError(
                f"data set {config.data!r}: split {split!r} has {num} of the {least} images that quality needs to have an "
                "interval; add images (a tenth of a folder without splits is validation)"
            )
    return "\n".join(
        [rendered(found), *(f"{name} <= {bound:g} is checked after the predictor is fitted" for name, bound in later.items())]
    )


def _claim(config: SweepConfig, run_dir: Path) -> Ledger:
    """Opens the ledger of a run folder, which holds the folder against every other sweep until it is closed.

    Makes the folder, or checks that the one that is there was made by the same sweep; writes only after that.
    """
    path, ledger = run_dir / "sweep.yaml", run_dir / "ledger.jsonl"
    if path.is_file() and (changed := changed_settings(load_config(path), config)):
        raise InputError(
            f"{path}: this run folder was made with other settings ({'; '.join(changed.values())}); what may change is trials, "
            "budget, rungs, start_from, distill, trackers, and what workers there are; set the rest back, or choose another "
            "--run-dir"
        )
    if ledger.is_file():
        check_header(ledger, read_ledger(ledger), ledger_header(config))
    elif not path.is_file() and run_dir.is_dir() and any(entry != lock_path(ledger) for entry in run_dir.iterdir()):
        raise InputError(f"{run_dir}: this folder is not empty and holds no sweep; choose another --run-dir")
    run_dir.mkdir(parents=True, exist_ok=True)
    return Ledger.open(ledger, header=ledger_header(config))


def _winner(config: SweepConfig, run_dir: Path, progress: Progress, log: Log) -> None:
    """Hands the knee over, distils it, and draws with it; begins anew where the front's knee or the training changed."""
    from experiments.bundle import EXPECTED
    from experiments.distilling.distill import distill_bundle
    from experiments.distilling.settings import KnowledgeSettings
    from experiments.handoff import hand_off
    from experiments.sampling import sample_bundle
    from experiments.trackers.bundle_log import log_bundle
    from experiments.trackers.sweep_log import winner_log

    run, winner, samples = read_run(run_dir), run_dir / "winner", run_dir / "samples.png"
    if run.knee is None:
        progress.say("the front is empty: there is no winner to hand off")
        return
    if not _is_handed_off(config, run, winner):
        progress.say(f"handing off {run.knee.digest}, the knee of the front")
        _clear(winner, progress)
        samples.unlink(missing_ok=True)
        hand_off(run_dir, run.knee.digest, winner)
    distilled, log = winner / "distilled", winner_log(log, run.knee.digest)
    if not (distilled / EXPECTED).is_file():
        samples.unlink(missing_ok=True)
        settings = KnowledgeSettings(method="knowledge")
        distill_bundle(winner, settings, seed=config.seed, progress=progress, tracking=lambda *_: contextlib.nullcontext(log))
    log_bundle(distilled, log)
    if not samples.is_file():
        sample_bundle(distilled, samples, 60, seed=config.seed)


def _clear(winner: Path, progress: Progress) -> None:
    """Removes an earlier winner; puts it aside where bundles, trainings or exports lie in it that no sweep has made."""
    from experiments.bundle import EXPECTED
    from experiments.bundle_folders import MADE_BY
    from experiments.exports.export import RECORD

    own = {winner, winner / "distilled", winner / "distilled.partial"}
    made_of_it = {file.parent for mark in (EXPECTED, MADE_BY, RECORD) for file in winner.rglob(mark)}
    if others := sorted(path.name for path in made_of_it - own):
        aside = next(path for n in itertools.count(1) if not (path := winner.with_name(f"winner-{n}")).exists())
        winner.rename(aside)
        progress.say(f"the earlier winner is kept as {aside}, since it holds {', '.join(others)}")
    else:
        shutil.rmtree(winner, ignore_errors=True)


def _is_handed_off(config: SweepConfig, run: Run, winner: Path) -> bool:
    """Whether the folder holds the knee of the front, to be trained as the sweep says now."""
    from experiments.bundle import EXPECTED, read_settings

    if not (winner / EXPECTED).is_file() or run.has_outdated_winner:
        return False
    found, asked = read_settings(winner), config.distill
    keys = ("num_steps", "batch_size", "learning_rate")
    return all(getattr(found, key) == getattr(asked, key) for key in keys)


def _show(run_dir: Path) -> None:
    from experiments.front_view import print_front
    from experiments.report import write_report

    report, run = write_report(run_dir), read_run(run_dir)
    print_front(run)
    console = Console(file=sys.stdout, soft_wrap=True)
    shown = [("report", report)]
    if not run.has_outdated_winner:
        shown += [("winner", run_dir / "winner" / "distilled"), ("samples", run_dir / "samples.png")]
    for text, path in shown:
        if path.exists():  # an empty front has no winner
            console.print(f"{text:8} {path}", highlight=False, markup=False)
