"""Checkpoints of a training, by Orbax: the last two, so that one that was cut short costs steps and not the training."""

import logging
import warnings
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from experiments.errors import InputError
from experiments.progress import Progress

_KEPT = 2


class Checkpoints:
    """The checkpoints in one folder; they are written beside the training, which goes on meanwhile."""

    def __init__(self, folder: Path) -> None:
        """Makes the folder where it is missing."""
        self.folder = folder
        logging.getLogger("absl").setLevel(logging.CRITICAL)  # it says what is raised, too
        options = ocp.CheckpointManagerOptions(max_to_keep=_KEPT, create=True)
        self._manager = ocp.CheckpointManager(folder.absolute(), options=options)

    def __enter__(self) -> "Checkpoints":
        """Waits for what is being written when the block ends."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """An error inside the block is told rather than one of writing."""
        try:
            self._manager.wait_until_finished()
            self._manager.close()
        except (OSError, ValueError) as unwritten:
            if error is None:
                raise self._full(unwritten) from unwritten

    def save(self, step: int, state: Any) -> None:
        """Begins to write the state behind so many steps.

        Raises:
            InputError: it, or the one before, cannot be written.
        """
        try:
            self._manager.save(step, args=ocp.args.StandardSave(state), force=True)
        except (OSError, ValueError) as error:
            raise self._full(error) from error

    def restore(self, like: Any, progress: Progress) -> tuple[int, Any] | None:
        """The number of steps and the state of the last checkpoint that can be read; None where there is none at all.

        Args:
            like: a state of the same shapes.
            progress: is told of checkpoints that cannot be read.

        Raises:
            InputError: there are checkpoints, and none of them can be read.
        """
        self._manager.wait_until_finished()
        steps = sorted(self._manager.all_steps(), reverse=True)
        for step in steps:
            try:
                state = self.read(step, like)
            except InputError as error:
                progress.say(str(error))
                continue
            self._drop_beyond(step)
            return step, state
        if steps:
            raise InputError(f"{self.folder}: no checkpoint in it can be read; delete the folder to begin this training again")
        return None

    def last_step(self) -> int | None:
        """The number of steps of the last checkpoint."""
        return self._manager.latest_step()

    def read(self, step: int, like: Any) -> Any:
        """The state of the checkpoint behind so many steps.

        Args:
            step: of a checkpoint that is there.
            like: a state of the same shapes.

        Raises:
            InputError: it cannot be read.
        """
        abstract = jax.eval_shape(lambda x: x, like)
        try:
            restored = self._manager.restore(step, args=ocp.args.StandardRestore(abstract))
        except Exception as error:  # whatever of Orbax, TensorStore or JSON a damaged file makes fail
            reason = str(error).strip().partition("\n")[0]
            where = self.folder / str(step)
            raise InputError(f"{where}: this checkpoint cannot be read ({type(error).__name__}: {reason})") from error
        return jax.tree.map(jnp.asarray, restored)

    def _drop_beyond(self, step: int) -> None:
        for later in self._manager.all_steps():
            if later > step:
                self._manager.delete(later)

    def _full(self, error: Exception) -> InputError:
        """What a person is told; the writers of the single arrays, when they are dropped, would each say it again."""
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
        reason = str(error).strip().rpartition(": ")[2]
        return InputError(
            f"{self.folder}: a checkpoint cannot be written ({reason}); make room, and give the same command again: "
            "it goes on from the last one that is whole"
        )
