"""Losses of designs by a supernet: a file with a line for each design."""

import dataclasses
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from experiments.config import SweepConfig, evaluation_settings
from experiments.errors import InputError
from experiments.evaluator import EvaluationInputs, SupernetEvaluator
from experiments.locks import locked
from experiments.progress import Progress
from experiments.subnet_training import tuning_batches
from experiments.whole_files import write_whole
from objectives.fingerprint import fingerprint
from search_space import Architecture


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a file of JSON lines; none where it is missing."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.is_file() else []


def read_rows(path: Path) -> dict[str, dict[str, Any]]:
    """Designs that a supernet has judged, each with its `loss`, by digest; none where the file is missing."""
    return {Architecture.from_json(row["design"]).digest: row for row in read_lines(path)}


def asked_of(config: SweepConfig, *, fresh: int = 0, updates: int = 0) -> SweepConfig:
    """The settings of a run, changed to what `judge` asks for."""
    num = (1 + fresh) * config.quality.loss_samples  # the first are the search's
    quality = config.quality.model_copy(update={"loss_samples": num, "fine_tune_steps": updates or None})
    return config.model_copy(update={"quality": quality})


def not_judged(designs: Iterable[Architecture], path: Path, asked: SweepConfig) -> list[Architecture]:
    """Those that have no line in a file, each once.

    Raises:
        InputError: what is there was judged with other settings.
    """
    known, judged_by = read_rows(path), fingerprint(**evaluation_settings(asked))
    if any(row["judged_by"] != judged_by for row in known.values()):
        raise InputError(f"{path}: judged with other settings; set them back, or delete it, and the stage judges all anew")
    return [x for x in {x.digest: x for x in designs}.values() if x.digest not in known]


def judge(
    inputs: EvaluationInputs,
    designs: Sequence[Architecture],
    path: Path,
    *,
    progress: Progress,
    fresh: int = 0,
    updates: int = 0,
    only_whole: bool = False,
) -> None:
    """Adds the losses of designs to a file.

    Args:
        inputs: of the supernet's run; `asked_of` its settings are those of the lines that are there.
        designs: what is judged; none of them has a line there yet.
        path: the file.
        progress: where to report.
        fresh: how many times the search's number of samples, none of which it saw; the loss on each is kept, too. By
            default those of the search.
        updates: by which each is trained on from the supernet's weights before it is judged.
        only_whole: whether nothing is written before all is judged.

    Raises:
        InputError: there are not so many images of which the search saw none, or another process judges into this file.
    """
    config, seen = asked_of(inputs.config, fresh=fresh, updates=updates), inputs.config.quality.loss_samples if fresh else 0
    num, judged_by = config.quality.loss_samples, fingerprint(**evaluation_settings(config))
    if fresh and num > len(inputs.images):
        raise InputError(
            f"{path}: {num} images are asked for, so that {num - seen} are new, and there are {len(inputs.images)}; lower "
            "quality.loss_samples"
        )
    evaluate = SupernetEvaluator(dataclasses.replace(inputs, config=config, batches=tuning_batches(config)))
    with locked(path, what="list of losses"), progress.stage(f"Losses of {path.stem}", len(designs)) as stage:
        lines = path.read_text("utf-8") if path.is_file() else ""
        for design in designs:
            of_images = evaluate.image_losses(design)[seen:]
            row = {"design": design.to_json(), "loss": float(of_images.mean()), "judged_by": judged_by}
            if fresh:
                row["of_images"] = [float(f"{loss:.5g}") for loss in of_images]
            lines += f"{json.dumps(row)}\n"
            if not only_whole or design is designs[-1]:
                write_whole(path, lines)
            stage.advance()
