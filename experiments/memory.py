"""Gives memory back between stages: compilers leave gigabytes behind that the allocator would keep for the process."""

import ctypes
import gc
import sys


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
