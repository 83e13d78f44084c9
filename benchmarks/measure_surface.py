"""Measures `surfaces/digits.npz`: loss, by a finished run's supernet, and predicted latency of all of `surfaces.DIGITS`.

With the pinned packages the supernet of the shipped sweep comes out the same on like machines; measured latencies do not.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from surfaces import DIGITS, FOLDER, every_architecture

from experiments.config import load_config
from experiments.denoising_task import all_examples, load_examples
from experiments.latency import Costs
from experiments.quality import loss_program
from experiments.supernet_training import load_supernet, sweep_supernet, sweep_task
from latency_models.predictor import Predictor
from objectives.denoising import mid_band_times
from search_space import get_scale, get_space

_PART = 512
_NUM_SAMPLES = 128  # of the loss, with the same noise for every architecture


def main() -> None:
    """Measures part by part; parts that are there already are kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="run folder of a finished `digits` sweep")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--parts", type=Path, default=Path("runs/surface-parts"))
    options = parser.parse_args()
    options.parts.mkdir(parents=True, exist_ok=True)
    architectures = every_architecture(get_space(DIGITS))
    starts = range(0, len(architectures), _PART)
    context = get_context("spawn")
    with ProcessPoolExecutor(options.workers, context, initializer=_start, initargs=(options.run,)) as executor:
        for start in executor.map(_measure, starts, [options.parts] * len(starts)):
            print(f"{start + _PART:,} of {len(architectures):,}", flush=True)
    loss = np.concatenate([np.load(_part(options.parts, start)) for start in starts])
    config = load_config(options.run / "sweep.yaml")
    costs = Costs(get_scale(config.deploy_scale), Predictor.load(options.run / "latency"))
    latency = costs.columns(architectures)["latency_ms"]
    FOLDER.mkdir(exist_ok=True)
    np.savez_compressed(FOLDER / "digits.npz", loss=loss.astype(np.float32), latency_ms=latency.astype(np.float32))


def _start(run: Path) -> None:
    """What each worker holds: the program, the weights, and the architectures in their order."""
    global _loss, _architectures
    config = load_config(run / "sweep.yaml")
    task, supernet, parameters = sweep_task(config), sweep_supernet(config), load_supernet(config, run)
    images, prompts = all_examples(load_examples(config.data, task.scale, split="validation"), task.scale)
    losses = loss_program(task, supernet.apply, images, prompts, times=mid_band_times(_NUM_SAMPLES))
    _architectures = every_architecture(get_space(DIGITS))
    _loss = lambda architecture: losses(parameters, jnp.asarray(supernet.route(architecture))).mean()  # noqa: E731


def _measure(start: int, parts: Path) -> int:
    path = _part(parts, start)
    if not path.is_file():
        part = _architectures[start : start + _PART]
        np.save(path, np.array([_loss(architecture) for architecture in part]))
    return start


def _part(parts: Path, start: int) -> Path:
    return parts / f"{start:06}.npy"


if __name__ == "__main__":
    main()
