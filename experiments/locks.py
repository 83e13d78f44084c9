"""One writer at a time: a file beside what is written, locked as long as its process lives, however that ends."""

import fcntl
import os
import socket
import time
from pathlib import Path
from typing import BinaryIO

from experiments.errors import InputError

_TRIES, _WAIT_SECONDS = 10, 0.02


def lock_path(path: Path) -> Path:
    """The file that the writer keeps locked; it says who that is or was, and stays when it is free."""
    return path.with_name(f"{path.name}.lock")


def writer_of(path: Path) -> str | None:
    """The process that writes a file now, as it calls itself; None where none does."""
    lock = lock_path(path)
    if not lock.is_file():
        return None
    with lock.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return file.read().decode(errors="replace").strip() or "unknown"
    return None


def locked(path: Path, *, what: str) -> BinaryIO:
    """Takes the lock of a file, which is given back when the result is closed; `what` it is, for the message.

    Raises:
        InputError: another process holds it.
    """
    lock = lock_path(path).open("ab+", buffering=0)
    if not _take(lock):
        lock.seek(0)
        holder = lock.read().decode(errors="replace").strip()
        lock.close()
        raise InputError(
            f"{path}: another process writes this {what} ({holder or 'unknown'}); wait for it, end it, or use another folder"
        )
    lock.truncate(0)
    lock.write(f"process {os.getpid()} on {socket.gethostname()}".encode())
    return lock


def _take(lock: BinaryIO) -> bool:
    """Takes a lock, if need be after a moment, for which `writer_of` holds it; False where another process keeps it."""
    for _ in range(_TRIES):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            time.sleep(_WAIT_SECONDS)
        else:
            return True
    return False
