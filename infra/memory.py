"""Keep what was freed for the next image instead of handing it back to the system.

A CCD needs some thirty arrays of 65 MB one after the other. The C library gives each back when it is freed, and the system clears every page
of the next one again: a seventh of a detector job's CPU. A process that does nothing but such jobs is better off with a heap that stays.
Between jobs, and before what needs one large block, the holes in it are given back: a block as large as several images fits into none of them.
"""

from __future__ import annotations

import ctypes
import gc
import sys

__all__ = ["give_back_memory", "keep_freed_memory"]

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""Names of glibc's ``mallopt`` for the free memory on top of the heap above which it shrinks, and for the blocks outside the heap."""

_LARGEST_INT = 2**31 - 1


def keep_freed_memory() -> bool:
    """Let this process keep its freed memory from now on.

    Returns
    -------
    bool
        False, and nothing changes, where the C library is not glibc.
    """
    library = _glibc()
    return (
        library is not None
        and bool(library.mallopt(_MMAP_MAX, 0))
        and bool(library.mallopt(_TRIM_THRESHOLD, _LARGEST_INT))
    )


def give_back_memory() -> bool:
    """Collect what nobody refers to, and hand every free page of this process back to the system, once.

    Returns
    -------
    bool
        Whether there was any; False where the C library is not glibc.
    """
    gc.collect()  # an open FITS file is a cycle that holds the file's bytes
    library = _glibc()
    return library is not None and bool(library.malloc_trim(0))


def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") else None
