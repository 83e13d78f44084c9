"""Checkpoints of a training, by Orbax: the last two, so that one that was cut short costs steps and not the training."""

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from jax.sharding import SingleDeviceSharding

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
            with self._writing():
                self._manager.wait_until_finished()
                self._manager.close()
        except InputError:
            if error is None:
                raise

    def save(self, step: int, state: Any) -> None:
        """Begins to write the state behind so many steps.

        Raises:
            InputError: it, or the one before, cannot be written.
        """
        with self._writing():
            self._manager.save(step, args=ocp.args.StandardSave(state), force=True)

    def restore(self, like: Any, progress: Progress) -> tuple[int, Any] | None:
        """The number of steps and the state of the last checkpoint that can be read; None where there is none at all.

        Args:
            like: a state of the same shapes.
            progress: is told of checkpoints that cannot be read.

        Raises:
            InputError: there are checkpoints, and none of them can be read; or the last one could not be written.
        """
        with self._writing():
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
        """The state of the checkpoint behind so many steps, on the first device here, whatever devices wrote it.

        Args:
            step: of a checkpoint that is there.
            like: a state of the same shapes.

        Raises:
            InputError: it cannot be read.
        """
        try:
            restored = self._manager.restore(step, args=ocp.args.StandardRestore(shapes_here(like)))
        except Exception as error:  # whatever of Orbax, TensorStore or JSON a damaged file makes fail
            reason = str(error).strip().partition("\n")[0]
            where = self.folder / str(step)
            raise InputError(f"{where}: this checkpoint cannot be read ({type(error).__name__}: {reason})") from error
        return jax.tree.map(jnp.asarray, restored)

    def keep_last(self) -> None:
        """Drops all but the last checkpoint, once that is written: of a training that is done, no other is needed.

        Raises:
            InputError: it cannot be written.
        """
        with self._writing():
            self._manager.wait_until_finished()
        for step in sorted(self._manager.all_steps())[:-1]:
            self._manager.delete(step)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Errors of what is written, or was begun to be, say what to do."""
        try:
            yield
        except (OSError, ValueError) as error:
            raise self._full(error) from error

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
            f"{self.folder}: a checkpoint cannot be written ({reason}); mend that (a full disk wants room), and give the same "
            "command again: it goes on from the last one that is whole"
        )


def shapes_here(like: Any) -> Any:
    """What Orbax is asked for: these shapes, on the first device of this machine.

    Without a device it asks for those that the file was written on, and a machine that lacks them could not read it.
    """
    here = SingleDeviceSharding(jax.local_devices()[0])
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), jax.eval_shape(lambda x: x, like))
