"""Files that appear whole or not at all, whenever the process is killed."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def naming(path: Path, *, partial: Path | None = None) -> Iterator[None]:
    """Errors of the operating system that name no file name this one, as do those of the file that is to become it.

    Those of a write do not say where it went.
    """
    try:
        yield
    except OSError as error:
        if error.filename in (None, str(partial)):
            error.filename = str(path)
        raise


def write_whole(path: Path, content: str | bytes) -> None:
    """Writes a file under its name only once all of it is on disk; text is UTF-8.

    A kill leaves what was there before, and at worst `NAME.partial` beside it, which the next write replaces.
    """
    partial = path.with_name(f"{path.name}.partial")
    with naming(path, partial=partial):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        with partial.open("wb") as file:
            file.write(content.encode("utf-8") if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
