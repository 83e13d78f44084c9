"""What a person can mend: what they gave us is wrong, and the message says how to put it right."""

import errno
import types

_OURS = frozenset({"search_space", "supernet", "diffusion", "objectives", "latency_models", "experiments"})
_OF_PATHS = (FileNotFoundError, NotADirectoryError, IsADirectoryError, FileExistsError, PermissionError)
_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)  # what the disk says, whatever was asked for


class InputError(ValueError):
    """A refusal of something a person gave (a file, a key, a value); the command line prints it alone and exits with 2."""


def is_refusal(error: ValueError | OSError) -> bool:
    """Whether the error is about what a person gave: a path that is not there, or a refusal by our own code."""
    if isinstance(error, (InputError, *_OF_PATHS)):
        return True
    if isinstance(error, OSError) and error.errno in _UNWRITABLE:
        return True
    frame = _last_frame(error.__traceback__)
    return isinstance(error, ValueError) and frame is not None and frame.f_globals["__name__"].split(".")[0] in _OURS


def refusal_message(error: ValueError | OSError) -> str:
    """The error's own words; for the operating system's errors, the path first."""
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    told = error.strerror.lower() if error.filename is None else f"{error.filename}: {error.strerror.lower()}"
    if error.errno in _UNWRITABLE:
        return f"{told}; what was finished is kept: once it can be written, the same command goes on from there"
    return told if error.filename is not None else str(error)


def _last_frame(trace: types.TracebackType | None) -> types.FrameType | None:
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace.tb_frame if trace is not None else None
