"""Does distillation do what it is for? Each method on a small network, against what it is to beat, with seeds and intervals.

Stages, each of which goes on where it was stopped: `knowledge` (a student trained alone and beside its teacher, which has seen
more images), `steps` (32 to 8 steps, progressively and aware of guidance), `one` (a single step: progressive, ADD, UFOGen),
`relu` (ReLU attention in the place of softmax), `inherited` (a sweep's winner, from the supernet's weights on), and `table`,
which writes `results/distillation_DATA.json`. Every stage ends with measuring its bundles. What was measured, and the networks
that others start from, are kept in `measurements/distillation_DATA/`, from where it goes on on any machine.
"""

import argparse
import dataclasses
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from bundles import NUM_SAMPLES, Bundles, Judge, measured, measured_file
from kept import keep, put_back
from PIL import Image, ImageDraw
from record import estimated, show, single, write_result
from refusing import refusing

from experiments.bundle import ARCHITECTURE, EXPECTED, TRAINING, WEIGHTS, Bundle, read_bundle
from experiments.bundle_folders import new_folder
from experiments.config import SweepConfig, load_config
from experiments.data.image_grid import image_grid
from experiments.data.splits import SPLITS
from experiments.denoising_task import load_examples
from experiments.handoff import training_settings
from experiments.progress import terminal_progress
from objectives.denoising import mean_estimate
from search_space import Architecture, Stage, get_scale, get_space

SEEDS = range(5)
LONG_STEPS, LONG_RATE = 2500, 1.5e-3  # of the teacher, and of the network that learns to take few steps
STUDENT_STEPS, STUDENT_RATE = 1000, 4e-3
LOSS_WEIGHTS: dict[str, Any] = {"output_weight": 8.0, "feature_weight": 4.0}
FEW = 100  # images that a student is trained on; its teacher has seen all
INHERITED_STEPS = 400
STEP_UPDATES, STEP_RATE = 400, 5e-4
ONE_UPDATES = 1200
GUIDANCE = 2.0  # at which students that are to be guided are judged, too
# By name, the method and the learning rates that keep the two players even.
ADVERSARIES: dict[str, tuple[str, dict[str, Any]]] = {
    "adversarial": ("adversarial", {"learning_rate": 3e-5, "discriminator_rate": 60.0}),
    "adversarial-slow": ("adversarial", {"learning_rate": 1e-5, "discriminator_rate": 200.0}),
    "ufogen": ("ufogen", {"learning_rate": 3e-5, "discriminator_rate": 20.0, "num_times": 1}),
    "ufogen-even": ("ufogen", {"learning_rate": 3e-5, "discriminator_rate": 5.0, "num_times": 1}),
}
WINNER = Path("runs/digits/winner")
HERE = Path(__file__).parent
STARTS = ("teacher", "base", "progressive-8", "progressive-1")  # that others start from


@dataclasses.dataclass(frozen=True)
class Bench(Bundles):
    """Those of this benchmark, with the two networks that the others start from."""

    def teacher(self) -> Path:
        """The largest network of the space, trained alone."""
        return self._long("teacher", get_space(self.config.space).largest())

    def base(self) -> Path:
        """A network of the student's size, trained alone as long: who learns to take few steps, from itself."""
        return self._long("base", student_architecture(self.config))

    def _long(self, name: str, architecture: Architecture) -> Path:
        settings = {"learning_rate": LONG_RATE, "batch_size": 64, "sample_steps": 32}
        return self.trained(name, self.fresh(f"{name}-start", architecture, 0, **settings), steps=LONG_STEPS, seed=0)


def knowledge(bench: Bench) -> None:
    """A small student, of digits with few images: trained alone, and beside its teacher, for as many steps.

    Shapes have as many images as one likes, and there the student has them all. It learns from the teacher's outputs and
    streams, and from its outputs alone.
    """
    architecture, teacher = student_architecture(bench.config), bench.teacher()
    data = few_images(bench) if bench.config.data == "digits" else None
    for seed in SEEDS:
        start = bench.fresh(f"student-{seed}-start", architecture, seed, learning_rate=STUDENT_RATE, sample_steps=32)
        common: dict[str, Any] = {"seed": seed, "data": data}
        bench.trained(f"student-{seed}-plain", start, steps=STUDENT_STEPS, **common)
        for name, weights in (("taught", LOSS_WEIGHTS), ("outputs", {**LOSS_WEIGHTS, "feature_weight": 0.0})):
            keys = {**common, **weights, "teacher": teacher, "updates": STUDENT_STEPS}
            bench.distilled(f"student-{seed}-{name}", start, "knowledge", **keys)


def few_images(bench: Bench) -> str:
    """A folder of images by class: the first of the training images, and those of the other splits."""
    folder = bench.folder / "few"
    if not folder.is_dir():
        write_images(bench, folder, most=FEW)
    return str(folder)


def write_images(
    bench: Bench, folder: Path, *, most: int | None = None, change: Callable[[np.ndarray], np.ndarray] = lambda images: images
) -> None:
    """Writes the data of a bench as images by class, SPLIT/LABEL/NUMBER.png.

    Args:
        bench: whose data.
        folder: of the images.
        most: of the training images; by default all.
        change: of images [n, height, width, channels], before they are written.
    """
    with new_folder(folder) as partial:
        for split in SPLITS:
            dataset = load_examples(bench.config.data, get_scale(bench.config.proxy_scale), split=split)
            for index, example in enumerate(itertools.islice(dataset, most if split == "train" else None)):
                path = partial / split / str(example["label"]) / f"{index:04d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                image_grid(change(example["image"][None]), columns=1).save(path)


def steps(bench: Bench) -> None:
    """From 32 steps to 8; guidance as published, and in a range that suits small classes."""
    common: dict[str, Any] = {"steps": 8, "from_steps": 32, "updates": STEP_UPDATES, "learning_rate": STEP_RATE}
    bench.distilled("progressive-8", bench.base(), "progressive", **common)
    for name, least, most in (("cfg-aware-8", 2.0, 14.0), ("cfg-aware-narrow-8", 1.0, 4.0)):
        bench.distilled(name, bench.base(), "cfg-aware", **common, least_guidance=least, largest_guidance=most)


def one(bench: Bench) -> None:
    """To a single step; progressively with twice the updates, too, which takes as long as adversaries do."""
    common: dict[str, Any] = {"steps": 1, "learning_rate": STEP_RATE}
    start = bench.distilled(
        "progressive-1", bench.folder / "progressive-8", "progressive", from_steps=8, updates=STEP_UPDATES, **common
    )
    bench.distilled(
        "progressive-1-longer",
        bench.folder / "progressive-8",
        "progressive",
        from_steps=8,
        updates=2 * STEP_UPDATES,
        **common,
    )
    for name, (method, keys) in ADVERSARIES.items():
        bench.distilled(name, start, method, teacher=bench.base(), updates=ONE_UPDATES, **keys)


def relu(bench: Bench) -> None:
    """ReLU attention after a tenth of the network's steps, at twice its learning rate; and softmax, trained on for as many."""
    updates, start = LONG_STEPS // 10, bench.base()
    keys: dict[str, Any] = {"learning_rate": 2 * LONG_RATE, "output_weight": 1.0, "feature_weight": 0.5, "updates": updates}
    for seed in SEEDS:
        bench.distilled(f"relu-{seed}-relu", start, "relu-attention", seed=seed, **keys)
        bench.distilled(f"relu-{seed}-softmax", start, "knowledge", seed=seed, teacher=start, **keys)


def inherited(bench: Bench) -> None:
    """The winner of the digits sweep as it was handed off: trained on, and beside the supernet's largest subnet."""
    for seed in SEEDS:
        bench.trained(f"inherited-{seed}-plain", WINNER, steps=INHERITED_STEPS, seed=seed)
        bench.distilled(f"inherited-{seed}-taught", WINNER, "knowledge", seed=seed, updates=INHERITED_STEPS)


# The first part of the name of bundles, the last parts of the two that are compared with each seed, and what both are
# compared to.
COMPARED = (
    ("student", "plain", "taught", "teacher"),
    ("student", "plain", "outputs", "teacher"),
    ("relu", "softmax", "relu", "base"),
    ("inherited", "plain", "taught", "base"),
)
SHOWN = (
    "teacher",
    "base",
    "student-0-plain",
    "student-0-taught",
    "relu-0-relu",
    "progressive-8",
    "cfg-aware-8",
    "progressive-1",
    *ADVERSARIES,
)
LABEL = 14  # pixels for a name
# Of what is measured: the name of a bundle, its sampling steps, and guidance.
MEASURED = (
    ("teacher", 32, 1.0),
    *(("base", n, 1.0) for n in (32, 16, 8, 4, 2, 1)),
    *((name, 8, 1.0) for name in ("progressive-8", "cfg-aware-8", "cfg-aware-narrow-8")),
    *((name, 1, 1.0) for name in ("progressive-1", "progressive-1-longer", *ADVERSARIES)),
    *((name, n, GUIDANCE) for name, n in (("base", 32), ("base", 8), ("cfg-aware-8", 8), ("cfg-aware-narrow-8", 8))),
)
OF_SEEDS = tuple(
    dict.fromkeys((f"{start}-{seed}-{end}", 32, 1.0) for start, *ends, _ in COMPARED for seed in SEEDS for end in ends)
)
STAGES = {"inherited": inherited, "knowledge": knowledge, "steps": steps, "one": one, "relu": relu}


def student_architecture(config: SweepConfig) -> Architecture:
    """The winner of the digits sweep where there is one, and where there is none, the median of a hundred by parameters.

    For captions, of those that read them at every level: the median of all reads them at the finest alone, and learned colours.
    """
    if config.data == "digits" and WINNER.is_dir():
        return read_bundle(WINNER).architecture
    space, rng = get_space(config.space), np.random.default_rng(0)
    drawn = [space.sample(rng) for _ in range(101)]
    if config.data != "digits":
        drawn = [x for x in drawn if all(reads_prompts(level.down) or reads_prompts(level.up) for level in x.levels)]
    return sorted(drawn, key=lambda x: Bundle(x, training_settings(config, "-"), {}).plan.parameters)[len(drawn) // 2]


def reads_prompts(stage: Stage) -> bool:
    """Whether a stage has cross-attention."""
    return stage.transformer_depth > 0 and "cross" in stage.attention


def measure(bench: Bench) -> None:
    """Measures every bundle that there is and that was not measured before."""
    missing = [
        row
        for row in (*MEASURED, *OF_SEEDS)
        if (bench.folder / row[0] / WEIGHTS).is_file() and not measured_file(bench, *row).is_file()
    ]
    if not missing:
        return
    judge = Judge.of(bench, read_bundle(bench.folder / missing[0][0]).task)
    with bench.progress.stage("Measuring", len(missing)) as stage:
        for row in missing:
            measured(bench, judge, *row)
            stage.advance(note=row[0])


def found_of(bench: Bench, name: str, num_steps: int, guidance: float = 1.0) -> dict[str, Any]:
    """What was measured of a bundle; nothing where nothing was."""
    path = measured_file(bench, name, num_steps, guidance)
    return json.loads(path.read_text("utf-8")) if path.is_file() else {}


def table(bench: Bench, data: str) -> None:
    """Writes what came out."""
    numbers: dict[str, Any] = {}
    for name, num_steps, guidance in MEASURED:
        guided = "" if guidance == 1.0 else f"_guided_{guidance:g}"
        for key, value in found_of(bench, name, num_steps, guidance).items():
            numbers[f"{name}_at_{num_steps}{guided}_{key}"] = single(value)
    for name in dict.fromkeys(name for name, *_ in MEASURED):
        if (seconds := bench.folder / name / "seconds.json").is_file():
            numbers[f"{name}_seconds"] = single(json.loads(seconds.read_text("utf-8")), unit="s of CPU")
    for names in COMPARED:
        numbers |= compared(bench, *names)
    if not numbers:
        raise SystemExit(f"{bench.folder}: nothing was measured; run a stage first: {', '.join(STAGES)}")
    images = f"{FEW} of its images" if data == "digits" else "its images"
    path = write_result(
        f"distillation_{data}",
        shows=f"Methods of distillation on {data}, by the denoising loss of a held-out split and by {NUM_SAMPLES} samples: "
        "Frechet distances in the features of a classifier and in principal components of pixels, recall there, and how much "
        f"of the classes is covered. The teacher is the largest network of the space after {LONG_STEPS} steps; a student "
        f"was trained for {STUDENT_STEPS} steps on {images}, alone (plain), beside it (taught) and by its outputs alone "
        f"(outputs), {len(SEEDS)} seeds; a network of the student's size (base) was trained for {LONG_STEPS}, and for a tenth "
        "of that on, with ReLU and with softmax attention.",
        command=f"python benchmarks/bench_distillation.py table --data {data}",
        numbers=numbers,
    )
    picture(bench).save(path.with_suffix(".png"), optimize=True)
    show(path, numbers)


def compared(bench: Bench, start: str, one: str, other: str, reference: str) -> dict[str, Any]:
    """Two ways of training from equal starts, over seeds: each, less a reference, and the difference."""
    found = [[found_of(bench, f"{start}-{seed}-{end}", 32) for end in (one, other)] for seed in SEEDS]
    referred, numbers = found_of(bench, reference, 32), dict[str, Any]()
    if not referred or not all(x for pair in found for x in pair):
        return {}
    for key in filter(referred.__contains__, ("frechet_classifier", "frechet_pixels", "denoising_loss", "agreement")):
        values = np.array([[x[key]["value"] for x in pair] for pair in found])
        gaps, gained = values - referred[key]["value"], values[:, 0] - values[:, 1]
        for i, name in enumerate((one, other)):
            numbers[f"{start}_{name}_{key}"] = over_seeds(values[:, i])
            numbers[f"{start}_{name}_minus_{reference}_{key}"] = over_seeds(gaps[:, i])
        numbers[f"{start}_{one}_minus_{other}_{key}"] = over_seeds(gained)
        if start == "student":
            numbers[f"{start}_{other}_share_of_gap_closed_{key}"] = over_seeds(gained / gaps[:, 0].mean())
    return numbers


def picture(bench: Bench) -> Image.Image:
    """The first two rows of the last samples of each bundle, the same noise in all that start from one seed, under its name."""
    shown = []
    for name in SHOWN:
        if samples := sorted((bench.folder / name).glob("samples/*.png")):
            with Image.open(samples[-1]) as whole:
                shown.append((name, whole.crop((0, 0, whole.width, whole.height // 2)).convert("RGB")))
    width, height = (max(side) for side in zip(*(rows.size for _, rows in shown), strict=True))
    columns, line = 2, height + 2 * LABEL
    sheet = Image.new("RGB", (columns * (width + LABEL), -(-len(shown) // columns) * line), "white")
    for i, (name, rows) in enumerate(shown):
        x, y = i % columns * (width + LABEL), i // columns * line
        ImageDraw.Draw(sheet).text((x, y), name, fill="black")
        sheet.paste(rows, (x, y + LABEL))
    return sheet


def kept_files(folder: Path) -> Iterator[Path]:
    """What is measured of every bundle and its last picture; the networks that others start from."""
    yield from folder.glob("*/measured-*.json")
    for bundle in {path.parent for path in folder.glob("*/measured-*.json")}:
        yield from bundle.glob("seconds.json")
        yield from sorted(bundle.glob("samples/*.png"))[-1:]
    for name in STARTS:
        yield from (path for file in (ARCHITECTURE, TRAINING, WEIGHTS, EXPECTED) if (path := folder / name / file).is_file())


def over_seeds(values: np.ndarray) -> dict[str, Any]:
    """Mean over seeds with its 95 % interval by Student's t."""
    return estimated(mean_estimate(values), "1")


def main() -> None:
    """Runs a stage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", nargs="?", default="table", choices=(*STAGES, "table"))
    parser.add_argument("--data", default="digits")
    given = parser.parse_args()
    folder = Path("runs") / "distillation" / given.data
    with refusing("distillation"), terminal_progress() as progress:
        bench, kept = Bench(load_config(given.data), folder, progress), HERE / "measurements" / f"distillation_{given.data}"
        folder.mkdir(parents=True, exist_ok=True)
        put_back(kept, folder=folder)
        if given.stage in STAGES:
            STAGES[given.stage](bench)
        measure(bench)
        keep(kept_files(folder), folder=folder, kept=kept)
        if given.stage == "table":
            table(bench, given.data)


if __name__ == "__main__":
    main()
