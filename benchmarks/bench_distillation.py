"""Does distillation help the winner? The winner of a finished sweep, distilled, against the same architecture trained from
scratch and against further training from its inherited weights, each for the same steps and with several seeds.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from record import write_result
from scipy import stats

from experiments.bundle import Bundle, read_bundle
from experiments.bundle_quality import bundle_loss, promise_split
from experiments.config import load_config
from experiments.denoising_task import all_examples, load_examples
from experiments.distilling.knowledge import PROJECTIONS, knowledge_loss, projections
from experiments.distilling.settings import KnowledgeSettings
from experiments.distilling.teachers import compared_blocks, read_block_map
from experiments.progress import terminal_progress
from experiments.sample_features import sweep_classifier, sweep_distances
from experiments.sampling import draw_images
from experiments.training import denoising_bundle_loss, fit_bundle, with_fresh_weights
from objectives.features import classifier_extractor


def main() -> None:
    """Trains three ways and writes `results/distillation.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, nargs="?", default=Path("runs/digits"))
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=1000)
    options = parser.parse_args()
    student, teacher = read_bundle(options.run / "winner"), read_bundle(options.run / "winner" / "teacher")
    task = student.task
    _, prompts = all_examples(load_examples(student.data, task.scale, split="validation"), task.scale)
    config = load_config(options.run / "sweep.yaml")
    with terminal_progress() as progress:
        classifier = sweep_classifier(config, options.run, progress)
    distances = sweep_distances(config, classifier_extractor(classifier))

    split = promise_split(student)

    def measure(bundle: Bundle) -> dict[str, float]:
        found = distances.measure(draw_images(bundle, prompts, num=options.samples, seed=7), ["frechet_classifier"])
        loss = bundle_loss(bundle, split=split).value
        return {"denoising_loss": loss, "frechet_classifier": found["frechet_classifier"].value}

    pairs = compared_blocks(student.plan, teacher.plan, read_block_map(options.run / "winner", student, teacher))
    loss = knowledge_loss(student, teacher, pairs, KnowledgeSettings(method="knowledge"))

    def taught(parameters: Any, inputs: Any, target: Any) -> Any:
        return loss(parameters, (inputs, target))[0]

    rows: dict[str, list[dict[str, float]]] = {"scratch": [], "inherited": [], "distilled": []}
    with terminal_progress() as progress:
        for seed in range(options.seeds):
            common = {"steps": options.steps, "seed": seed, "progress": progress}
            plain, fresh = denoising_bundle_loss(student), with_fresh_weights(student, seed)
            rows["scratch"].append(measure(fit_bundle(fresh, plain, title=f"Scratch {seed}", **common)))
            rows["inherited"].append(measure(fit_bundle(student, plain, title=f"Inherited {seed}", **common)))
            extra = {PROJECTIONS: projections(student.plan, teacher.plan, pairs, seed=seed)}
            found = fit_bundle(student, taught, title=f"Distilled {seed}", extra_parameters=extra, **common)
            rows["distilled"].append(measure(found))
    numbers = {}
    for name, found in [*rows.items(), ("teacher", [measure(teacher)]), ("inherited_untrained", [measure(student)])]:
        for key in found[0]:
            numbers[f"{name}_{key}"] = number([row[key] for row in found])
    path = write_result(
        "distillation",
        shows=f"The knee {student.architecture.digest} of the digits sweep after {options.steps} steps: trained from scratch, "
        "trained on from the supernet's weights, and distilled from the largest subnet; losses on the "
        f"{split} split; Frechet distances in the features of a small classifier, {options.samples} samples, "
        f"{student.settings.sample_steps} steps; intervals over seeds.",
        command=f"python benchmarks/bench_distillation.py --steps {options.steps} --seeds {options.seeds} "
        f"--samples {options.samples}",
        numbers=numbers,
    )
    print(path.read_text())


def number(values: list[float]) -> dict[str, object]:
    """Mean over seeds with its 95 % interval by Student's t; none for one seed."""
    mean, n = float(np.mean(values)), len(values)
    half = float(stats.t.ppf(0.975, n - 1) * np.std(values, ddof=1) / np.sqrt(n)) if n > 1 else None
    low, high = (None, None) if half is None else (mean - half, mean + half)
    return {"value": mean, "unit": "1", "n": n, "low": low, "high": high}


if __name__ == "__main__":
    main()
