"""Gives memory back between stages: compilers leave gigabytes behind that the allocator would keep for the process."""

import ctypes
import gc
import os
import resource
import sys
from pathlib import Path


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


def use_compilation_cache(run_dir: Path) -> None:
    """Compiled programs are kept in the run folder: workers, and a resumed run, do not compile them again."""
    folder = str((run_dir / "compiled").absolute())
    os.environ["JAX_COMPILATION_CACHE_DIR"] = folder  # for workers, which inherit it
    import jax

    jax.config.update("jax_compilation_cache_dir", folder)
