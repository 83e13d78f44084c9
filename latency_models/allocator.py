"""What the C library does with memory that was freed."""

import ctypes

# Numbers and values of glibc's mallopt.
_GLIBC_KEEPS = {"M_ARENA_MAX": (-8, 1), "M_MMAP_MAX": (-4, 0), "M_TRIM_THRESHOLD": (-1, 2**31 - 1)}


def keep_freed_memory() -> None:
    """Lets this process keep what it frees, where the C library is glibc; does nothing elsewhere.

    XLA asks for a program's scratch at every run. From 32 MB on glibc takes it from the system and gives it back each time, and
    zeroing fresh pages is then a large part of a run: of a network with 1 GB of it, 1,358 ms with and 556 without. Memory that
    is no longer used counts as the process's own until `malloc_trim` returns it.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        for parameter, value in _GLIBC_KEEPS.values():
            mallopt(parameter, value)
