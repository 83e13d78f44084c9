"""Takes the steps of phases, one after the other, so that a training that was interrupted goes on to the same end.

A state is saved every twentieth of a phase, but not within twenty steps. Where the loss is not finite, training steps back to
the last state that was, and goes on at half the learning rate. Samples of the same noise are drawn at each quarter of a phase.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from experiments.bundle import Bundle, with_settings
from experiments.bundle_folders import WORK
from experiments.checkpoints import Checkpoints
from experiments.denoising_task import load_examples, training_examples
from experiments.errors import InputError
from experiments.fitting import Fitting, Phase
from experiments.memory import keep_freed_memory
from experiments.progress import Progress
from experiments.sampling import grid_drawer
from experiments.training_curve import DivergedError, SeriesLog, TrainingCurve

_CHECKPOINTS, _SAMPLES = "checkpoints", "samples"
_SAVES_PER_PHASE, _GRIDS_PER_PHASE = 20, 4
_FEWEST_BETWEEN_SAVES = 20  # steps
_MOST_RETREATS = 3


def fit_phases(
    bundle: Bundle,
    phases: Sequence[Phase],
    *,
    seed: int,
    folder: Path | None,
    progress: Progress,
    log: SeriesLog | None = None,
) -> Bundle:
    """The bundle with the weights and the settings that the last phase leaves.

    Args:
        bundle: where training starts, and its data set and batch size.
        phases: what is trained, in order.
        seed: of batches, noise and times.
        folder: keeps checkpoints, curve and grids, and what is in it is gone on with; None keeps nothing.
        progress: is told of every step.
        log: is told of the losses.

    Raises:
        InputError: training diverges again and again, or a checkpoint can be neither written nor read.
    """
    total, before = sum(phase.num_steps for phase in phases), 0
    for number, phase in enumerate(phases, start=1):
        bundle = dataclasses.replace(bundle, architecture=phase.architecture or bundle.architecture)
        bundle = with_settings(bundle, **phase.changes)
        run = _Run(bundle, phase, number, before=before, total=total, seed=seed, folder=folder, progress=progress, log=log)
        bundle = dataclasses.replace(bundle, parameters=run.trained())
        before += phase.num_steps
    return bundle


@dataclasses.dataclass(frozen=True, eq=False)
class _Run:
    """One phase in its place among the others: `before` steps were done before it, of `total`."""

    bundle: Bundle
    phase: Phase
    number: int
    before: int
    total: int
    seed: int
    folder: Path | None
    progress: Progress
    log: SeriesLog | None

    def trained(self) -> dict[str, Any]:
        """The parameters that the phase hands on."""
        fitting, phase = self.phase.fitting(self.bundle), self.phase
        if self.folder is None:
            states = self._states(fitting, fitting.state, done=0, retreats=0)
            return fitting.trained([state for _, state in states][-1])
        with Checkpoints(self.folder / WORK / _CHECKPOINTS / str(self.number)) as checkpoints:
            kept = {"state": fitting.state, "retreats": jnp.int32(0)}
            if (restored := checkpoints.restore(kept, self.progress)) is None:
                checkpoints.save(0, kept)  # to step back to
            done, kept = restored or (0, kept)
            retreats = int(kept["retreats"])
            while done < phase.num_steps:
                try:
                    for step, state in self._states(fitting, kept["state"], done=done, retreats=retreats):
                        done, kept = step, {"state": state, "retreats": jnp.int32(retreats)}
                        checkpoints.save(done, kept)
                except DivergedError as error:
                    retreats += 1
                    restored = checkpoints.restore(kept, self.progress)
                    assert restored is not None  # the first one at least
                    done, kept = restored
                    self._retreat(error, done, retreats)
            checkpoints.keep_last()
        return fitting.trained(kept["state"])

    def _retreat(self, error: DivergedError, done: int, retreats: int) -> None:
        if retreats > _MOST_RETREATS:
            raise InputError(f"{error}, after {_MOST_RETREATS} times half the learning rate; lower the learning rate") from None
        self.progress.say(f"{error}; back to step {self.before + done}, and on at half the learning rate")

    def _states(self, fitting: Fitting, state: Any, *, done: int, retreats: int) -> Iterator[tuple[int, Any]]:
        """Yields (steps done in this phase, state) where the state is to be saved, and at the end.

        Raises:
            DivergedError: a loss, or a state that was to be saved, is not finite.
        """
        keep_freed_memory()
        num_steps, first, settings = self.phase.num_steps, self.before + done, self.bundle.settings
        state, place = _placed(state, settings.batch_size)
        rate, draw = jnp.float32(0.5**retreats), self._drawer()
        examples, saved = self._examples(first), done
        save_every, draw_every = max(_FEWEST_BETWEEN_SAVES, num_steps // _SAVES_PER_PHASE), num_steps // _GRIDS_PER_PHASE
        with (
            TrainingCurve(self.folder, num_steps=self.total, done=first, log=self.log) as curve,
            self.progress.stage(self.phase.title, num_steps, done=done) as stage,
        ):
            for number in range(done + 1, num_steps + 1):
                step, is_last = self.before + number, number == num_steps
                images, prompts = place(next(examples))
                state, losses = fitting.step(state, jnp.uint32(self.seed), jnp.uint32(step), images, prompts, rate)
                note = curve.add(step, losses, ends_span=is_last)
                stage.advance(note=note or "")
                if is_last or (draw_every and number % draw_every == 0):
                    draw(fitting.trained(state), step)
                if is_last or (note and number >= saved + save_every):  # where a span ends, so that the curve goes on as it was
                    if not _is_finite(state):
                        raise DivergedError(f"training diverged: at step {step} weights are not finite")
                    curve.save()
                    saved = number
                    yield number, state

    def _examples(self, first: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        bundle, settings, scale = self.bundle, self.bundle.settings, self.bundle.task.scale
        dataset = load_examples(bundle.data, scale, split="train")
        return training_examples(dataset, scale, batch_size=settings.batch_size, seed=self.seed, start_step=first)

    def _drawer(self) -> Callable[[dict[str, Any], int], Any]:
        """Saves samples as `samples/STEP.png`."""
        folder = self.folder
        if folder is None:
            return lambda parameters, step: None
        drawer, digits = self.phase.drawer, len(str(self.total))
        draw = drawer(self.bundle, self.seed) if drawer else grid_drawer(self.bundle, seed=self.seed)
        return lambda parameters, step: draw(parameters, folder / _SAMPLES / f"{step:0{digits}}.png")


def _is_finite(state: Any) -> bool:
    floats = [x for x in jax.tree.leaves(state) if jnp.issubdtype(x.dtype, jnp.floating)]
    # A program for each shape: one of a thousand arrays takes minutes to compile.
    return all(map(bool, [jnp.isfinite(x).all() for x in floats]))


def _placed(state: Any, batch_size: int) -> tuple[Any, Callable[[tuple[np.ndarray, np.ndarray]], Any]]:
    """The state on every device, and what spreads a batch over them; one device alone where they cannot share it evenly."""
    devices = jax.devices()
    num = len(devices) if batch_size % len(devices) == 0 else 1
    mesh = Mesh(np.array(devices[:num]), ("examples",))
    shared, spread = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("examples"))
    return jax.device_put(state, shared), lambda batch: jax.device_put(batch, spread)
