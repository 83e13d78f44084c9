"""Memory of this process: kept while networks train, given back between stages, where compilers leave gigabytes behind."""

import contextlib
import ctypes
import gc
import os
import re
import resource
import secrets
import sys
from pathlib import Path

# Numbers and values of glibc's mallopt.
_GLIBC_KEEPS = {"M_ARENA_MAX": (-8, 1), "M_MMAP_MAX": (-4, 0), "M_TRIM_THRESHOLD": (-1, 2**31 - 1)}
_VARIABLE = "JAX_COMPILATION_CACHE_DIR"
_FOLDER, _NAME = "compiled", "[0-9a-f]{16}"


def share_one_arena() -> None:
    """Lets threads that begin later take memory where the first one does, where the C library is glibc.

    It has to come before XLA starts its threads: one that has an arena of its own keeps it, and glibc maps anew whatever that
    thread asks for beyond 64 MB, so that `keep_freed_memory` does nothing for it.
    """
    _set_malloc("M_ARENA_MAX")


def keep_freed_memory() -> None:
    """Lets this process keep what it frees, where the C library is glibc; does nothing elsewhere.

    XLA asks for a program's scratch at every run. From 32 MB on glibc takes it from the system and gives it back each time, and
    zeroing fresh pages is then a large part of a run: of a network with 1 GB of it, 1,358 ms with and 556 without. Memory that
    is no longer used counts as the process's own until `malloc_trim` returns it.
    """
    _set_malloc(*_GLIBC_KEEPS)


def _set_malloc(*names: str) -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        for name in names:
            mallopt(*_GLIBC_KEEPS[name])


def trim_memory() -> None:
    """Returns freed memory to the system where the C library can (glibc); does nothing elsewhere."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim:
            trim(0)


def drop_programs() -> None:
    """Forgets every compiled program of this process, then returns its memory."""
    import jax

    gc.collect()
    jax.clear_caches()
    gc.collect()
    trim_memory()


def resident_bytes() -> int:
    """Memory that this process holds now; at its peak, where the system tells no more."""
    if sys.platform == "linux":
        return int(Path("/proc/self/statm").read_text("utf-8").split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS


def _secret_name() -> str:
    """Sixteen digits that were drawn when this user first needed them; drawn anew where they cannot be kept."""
    path = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pocketunet" / "name"
    try:
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError), open(path, "x", encoding="utf-8", opener=_private) as file:
                file.write(secrets.token_hex(8))
        name = path.read_text("utf-8")
    except (OSError, RuntimeError, ValueError):
        return secrets.token_hex(8)
    return name if re.fullmatch(_NAME, name) else secrets.token_hex(8)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def use_compilation_cache(run_dir: Path) -> None:
    """Compiled programs are kept in the run folder: workers, and a resumed run, do not compile them again.

    They are machine code, which JAX loads and runs. So they lie under a name that only this user's programs know: what came
    with a run folder from elsewhere is not looked at. A folder of the user's own, in the environment, stays.
    """
    chosen = os.environ.get(_VARIABLE)
    if chosen and not re.fullmatch(f".*/{_FOLDER}/{_NAME}", chosen):
        return
    folder = str((run_dir / _FOLDER / _secret_name()).absolute())
    os.environ[_VARIABLE] = folder  # for workers, which inherit it
    import jax

    jax.config.update("jax_compilation_cache_dir", folder)
