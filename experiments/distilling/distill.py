"""Runs a method of distillation on a bundle, or a plan: a chain of them, each of which goes on from what the last one made."""

from pathlib import Path
from typing import Any

from experiments.bundle import TEACHER, Bundle, check_has_data, open_bundle, read_bundle_with, with_settings
from experiments.bundle_folders import refuse_existing
from experiments.config_fields import Name, Section, Seed
from experiments.config_reading import Document, KeyPath, read_document, read_text, validated, with_overrides
from experiments.control_file import left_out
from experiments.distilling.methods import METHODS, method_settings
from experiments.distilling.settings import AnySettings
from experiments.distilling.teachers import check_teacher, read_block_map, read_teacher
from experiments.errors import InputError
from experiments.fitting import Given
from experiments.progress import Progress, silent_progress
from experiments.trackers.tracker import Tracking, untracked
from experiments.training import fit_into, identity

_OVERRIDDEN = ("learning_rate", "batch_size", "lora_rank")


class Plan(Section):
    """A plan's file.

    Attributes:
        bundle: folder of the bundle that is distilled.
        out: folder of the bundles that are made, `1-METHOD`, `2-METHOD` and so on.
        data: name of a data set, or a folder; by default as `training.yaml` says.
        seed: of all draws.
        chain: the methods, each with its keys.
    """

    bundle: Path
    out: Path
    data: Name | None = None
    seed: Seed = 0
    chain: list[dict[str, Any]]


def distill_as_asked(
    path: Path,
    overrides: tuple[str, ...],
    *,
    data: str | None = None,
    seed: int | None = None,
    out: Path | None = None,
    progress: Progress | None = None,
    tracking: Tracking = untracked,
    **options: str | None,
) -> list[Path]:
    """What the command line asks for: a bundle and the keys of a method, or the file of a plan; returns what was made.

    Raises:
        InputError: as `distill_plan` and `distill_bundle`; or an option goes with a bundle only.
    """
    given = {key: value for key, value in options.items() if value is not None}
    if path.is_file():
        if extra := [*given, *(["data"] if data else []), *(["out"] if out else []), *(["seed"] if seed is not None else [])]:
            raise InputError(f"--{extra[0]} goes with a bundle; {path} is a plan, whose keys say it: give KEY=VALUE instead")
        return distill_plan(path, overrides, progress=progress, tracking=tracking)
    texts = {key: given.pop(key) for key in ("method", "teacher") if key in given}  # a folder may be called 2026
    document = Document({"method": "knowledge", **texts}, "distill", {})
    settings = method_settings(with_overrides(document, [*(f"{key}={value}" for key, value in given.items()), *overrides]))
    return [distill_bundle(path, settings, data=data, seed=seed or 0, progress=progress, out=out, tracking=tracking)]


def distill_plan(
    file: Path, overrides: tuple[str, ...] = (), *, progress: Progress | None = None, tracking: Tracking = untracked
) -> list[Path]:
    """Distils as a plan says; returns the folders of the bundles that it made, in order.

    What is finished is kept, and what was interrupted is gone on with.

    Raises:
        InputError: a key is wrong, or what is there was made by another plan.
    """
    document = with_overrides(read_document(read_text(file), source=str(file)), overrides)
    plan = validated(document, Plan)
    if not plan.chain:
        raise InputError(f"{document.place(('chain',))}: key 'chain' must name at least one method, such as progressive")
    chain = [method_settings(_part(document, ("chain", i))) for i in range(len(plan.chain))]
    folders = [plan.out / f"{number}-{settings.method}" for number, settings in enumerate(chain, start=1)]
    _check_chain(plan, chain, folders)
    made, source = [], plan.bundle
    for settings, out in zip(chain, folders, strict=True):
        source = distill_bundle(
            source,
            settings,
            home=plan.bundle,
            data=plan.data,
            seed=plan.seed,
            progress=progress,
            out=out,
            tracking=tracking,
            keeps_finished=True,
        )
        made.append(source)
    return made


def distill_bundle(
    path: Path,
    settings: AnySettings,
    *,
    data: str | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    out: Path | None = None,
    tracking: Tracking = untracked,
    home: Path | None = None,
    keeps_finished: bool = False,
) -> Path:
    """Distils a bundle's network by one method; writes a bundle and returns its folder.

    Args:
        path: the bundle.
        settings: the method and its keys.
        data: name of a data set, or a folder; by default as `training.yaml` says.
        seed: of all draws.
        progress: is told of every step.
        out: folder of the new bundle; by default `distilled` in the bundle's.
        tracking: opens the log of losses and promises.
        home: a bundle whose `teacher/` serves where the method needs one and none is named; by default `path`.
        keeps_finished: whether a bundle that the same request has made already is left as it is, and no error.

    Raises:
        InputError: there is no teacher, or one for other images or another parameterisation; or as `fit_into`.
    """
    out = out or path / "distilled"
    if not keeps_finished:
        refuse_existing(out)
    method, progress = METHODS[settings.method], progress or silent_progress()
    before = read_bundle_with(path, data)
    student = _as_student(before, settings)
    if note := left_out(path):
        progress.say(note)
    home = home or path
    folder = settings.teacher or (_own_teacher(home) if method.needs_teacher else None)
    teacher = read_teacher(folder, student) if folder else student
    teacher = with_settings(teacher, precision=student.settings.precision, remat=student.settings.remat)
    is_own = folder is not None and folder.resolve() == (home / TEACHER).resolve()
    feeding = read_block_map(home, student, teacher) if is_own else None
    asked = {
        "method": settings.model_dump(mode="json", exclude={"teacher"}),
        "teacher": identity(teacher, folder) if folder else None,
        "block_map": feeding,
        **identity(student, path),
        "seed": seed,
    }
    return fit_into(
        out, student, lambda work: method.phases(Given(student, teacher, seed, work, progress, feeding), settings), asked=asked,
        then=f"distilled ({settings.method}) from {teacher.architecture.digest if folder else 'itself'}", progress=progress,
        tracking=tracking, keeps_finished=keeps_finished, again=_again(settings, before),
    )  # fmt: skip


def _as_student(bundle: Bundle, settings: AnySettings) -> Bundle:
    """The bundle with those of its settings that the method has keys for."""
    changed = {key: getattr(settings, key) for key in _OVERRIDDEN if getattr(settings, key) is not None}
    return with_settings(bundle, **changed)


def _again(settings: AnySettings, before: Bundle) -> dict[str, Any]:
    """What the new bundle has as the old one: a learning rate that is the method's own, or that of a plug-in."""
    if "learning_rate" in settings.model_fields_set and settings.method != "control":
        return {}
    return {"learning_rate": before.settings.learning_rate}


def _check_chain(plan: Plan, chain: list[AnySettings], folders: list[Path]) -> None:
    """Opens the bundle of a plan, and every teacher that is there before it begins: refuses what can be before it trains."""
    begun, _ = open_bundle(plan.bundle)
    if plan.data is None:
        check_has_data(plan.bundle)
    begun = with_settings(begun, data=plan.data or begun.settings.data)
    for i, settings in enumerate(chain):
        method, student = METHODS[settings.method], _as_student(begun, settings)
        made_before = {folder.resolve() for folder in folders[:i]}
        teacher, path = student, settings.teacher or (_own_teacher(plan.bundle) if method.needs_teacher else None)
        if path is not None and path.resolve() not in made_before:
            teacher, _ = open_bundle(path)
            check_teacher(student, teacher, path)
        method.check(student, teacher, settings)


def _own_teacher(path: Path) -> Path:
    if not (path / TEACHER).is_dir():
        raise InputError(
            f"{path / TEACHER}: the bundle has no teacher to distil from; name one with --teacher, or train it with "
            f"`pocketunet train {path}`"
        )
    return path / TEACHER


def _part(document: Document, path: KeyPath) -> Document:
    """What stands under a key, as a document of its own."""
    data: Any = document.data
    for key in path:
        data = data[key]
    places = {place[len(path) :]: where for place, where in document.places.items() if place[: len(path)] == path}
    return Document(data, document.place(path), places)
