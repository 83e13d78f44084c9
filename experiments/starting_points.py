"""Where a sweep starts: designs that it evaluates before its searcher asks for any, and outcomes of an earlier run.

An outcome is taken over only where it was measured in the same way. To be that to the last bit, the supernet, the classifier
and the latency predictor of the earlier run are taken over with it.
"""

import dataclasses
import filecmp
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from experiments.config import SweepConfig, changed_settings, judged_at, ledger_header, load_config
from experiments.data import Dataset
from experiments.data_record import other_data
from experiments.errors import InputError
from experiments.evaluation import Evaluation
from experiments.run_folder import Run, read_run
from search_space import Architecture, get_design, get_space, is_design

_STAGES = ("features", "supernet", "latency", "anchors")  # folders of a run that decide numbers
_JUDGED_BY = {"quality", "anchors", "latency"}  # keys that no stage but the anchors, and the predictor, depends on


@dataclasses.dataclass(frozen=True)
class StartingPoints:
    """What a search starts from.

    Attributes:
        designs: to evaluate first, in this order.
        outcomes: known before, of an earlier run's ledger.
        stages: folders of the earlier run to take over with them.
    """

    designs: tuple[Architecture, ...] = ()
    outcomes: tuple[Evaluation, ...] = ()
    stages: tuple[Path, ...] = ()

    def take_stages(self, run_dir: Path) -> None:
        """Copies the earlier run's stages to where this run has none; each is whole, or not there.

        Raises:
            InputError: the run has one of its own, and outcomes are to be taken over that rest on the earlier run's.
        """
        for stage in self.stages:
            own = run_dir / stage.name
            if own.exists():
                if self.outcomes and not _holds(own, stage):
                    raise InputError(
                        f"start_from.ledger: {own} is not that of {stage.parent}, whose outcomes rest on its own; remove "
                        f"{own}, and it is taken over with them, or take designs alone with start_from.front"
                    )
            else:
                partial = run_dir / f"{stage.name}.partial"
                shutil.rmtree(partial, ignore_errors=True)
                shutil.copytree(stage, partial)
                partial.rename(own)


def _holds(folder: Path, stage: Path) -> bool:
    """Whether two folders have files in common, and these are the same: both gain more, anchors and validations."""
    files = [str(path.relative_to(stage)) for path in stage.rglob("*") if path.is_file() and path.suffix != ".lock"]
    both = [file for file in files if (folder / file).is_file()]
    return bool(both) and filecmp.cmpfiles(folder, stage, both, shallow=False)[0] == both


def starting_points(config: SweepConfig, splits: Mapping[str, Dataset]) -> StartingPoints:
    """Reads what `start_from` names.

    Args:
        config: the sweep.
        splits: of its data set, as they are now.

    Raises:
        InputError: a design or a run is not there, an architecture is outside the space, or outcomes were measured in another
            way, or with other examples; the message names the key.
    """
    start, space = config.start_from, get_space(config.space)
    named = {name: _design(name) for name in start.designs}
    if start.front is not None:
        members = _run("front", start.front).front
        if not members:
            raise InputError(f"start_from.front: {start.front} has no front yet; let it go on first, or leave it out")
        named |= {f"{start.front}, {member.digest}": member.architecture for member in members}
    for name, architecture in named.items():
        try:
            space.validate(architecture)
        except ValueError as error:
            raise InputError(f"start_from: {name}: {error}; choose a space that holds it, or leave it out") from None
    designs = tuple({architecture.digest: architecture for architecture in named.values()}.values())
    if start.ledger is not None and start.stages is not None:
        raise InputError("start_from: ledger and stages are both given; a ledger comes with its stages, leave them out")
    if start.stages is not None:
        return StartingPoints(designs, stages=_stages(_run("stages", start.stages), config, splits, "stages"))
    if start.ledger is None:
        return StartingPoints(designs)
    earlier = _run("ledger", start.ledger)
    stages = _stages(earlier, config, splits, "ledger")
    outcomes = tuple(outcome for outcome in earlier.with_status("done") if space.contains(outcome.architecture))
    return StartingPoints(designs, outcomes, stages if outcomes else ())


def _design(name: str) -> Architecture:
    """A published design by its name, or an architecture of a JSON file."""
    if is_design(name):
        return get_design(name).architecture.canonical()
    path = Path(name)
    if not path.is_file():
        try:
            get_design(name)
        except ValueError as error:
            raise InputError(f"start_from.designs: {error}; or name an architecture.json") from None
    try:
        return Architecture.from_json(json.loads(path.read_text("utf-8"))).canonical()
    except ValueError as error:
        raise InputError(f"start_from.designs: {path}: this is no architecture: {error}") from None


def _run(key: str, folder: str) -> Run:
    try:
        return read_run(folder)
    except (OSError, InputError) as error:
        raise InputError(
            f"start_from.{key}: {error}; to go on without the earlier run, leave it out: what was taken over is in the ledger"
        ) from None


def _stages(earlier: Run, config: SweepConfig, splits: Mapping[str, Dataset], key: str) -> tuple[Path, ...]:
    """The folders that decide numbers, of a run whose numbers are measured as this sweep's are.

    Where no numbers are taken over, a run will do that only judged otherwise, without its anchors, or was for another device,
    without its predictor, or has no classifier.
    """
    if told := other_data(earlier.path, splits):
        raise InputError(
            f"start_from.{key}: {told}; its numbers and weights must not mix with new ones: put the data back, or take its "
            "designs alone with start_from.front"
        )
    path, before, taken, changed = earlier.path / "sweep.yaml", config, _STAGES, set[str]()
    if earlier.ledger.header.get("fingerprint") != ledger_header(config)["fingerprint"]:
        changed = {"no sweep.yaml there says which"}
        if path.is_file():
            before = load_config(path)
            changed = {*changed_settings(before, config)}
    if is_for_another := _is_for_another(earlier, before, config):
        changed.add("latency")
    if changed:
        if key != "stages" or not _JUDGED_BY.issuperset(changed):
            raise InputError(
                f"start_from.{key}: {earlier.path} was measured in another way ({', '.join(sorted(changed))}), and its numbers "
                "must not mix with new ones; start_from.front takes its designs alone"
            )
        dropped = {"anchors", "latency"} if is_for_another else {"anchors"}
        taken = tuple(name for name in _STAGES if name not in dropped)
    stages = tuple(stage for name in taken if (stage := earlier.path / name).is_dir())
    needed = {"supernet", "latency"}.intersection(taken)
    if key == "ledger":
        from experiments.sample_features import judged_objectives

        needed |= {"anchors"} if config.anchors else set()
        needed |= {"features"} if judged_objectives(judged_at(config, None)) else set()
    if missing := sorted(needed - {stage.name for stage in stages}):
        raise InputError(
            f"start_from.{key}: {earlier.path} has no {' and no '.join(missing)} folder, which decided its numbers; put it "
            "back, or take designs alone with start_from.front"
        )
    return stages


def _is_for_another(earlier: Run, before: SweepConfig, config: SweepConfig) -> bool:
    """Whether the sweep predicts latencies by another predictor than an earlier run, with its settings."""
    if config.latency.predictor is not None:
        from experiments.latency import given_predictor

        return earlier.predictor_record.get("digest") != given_predictor(config).digest
    then, now = (x.latency.model_copy(update={"image": None}) for x in (before, config))
    return then != now
