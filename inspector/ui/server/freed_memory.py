"""Give memory back to the system: what was freed stays with the process else, as the C library's reserve.

glibc keeps freed blocks of up to 32 MB, by thread, for the next to ask, so that a server that has let go of every trace
was as large as before. `malloc_trim` returns whole pages of all of them. Elsewhere (macOS, musl) nothing is done.
"""

from __future__ import annotations

import ctypes
import functools
import gc
from collections.abc import Callable


def give_back() -> None:
    """Return freed memory to the system, some milliseconds for each gigabyte; first that of what nobody refers to.

    What was made refers to itself in circles here and there, which Python alone would find much later. The models are
    left out of this search (garbage.py).
    """
    gc.collect()
    trim = _trim()
    if trim is not None:
        trim(0)


@functools.cache
def _trim() -> Callable[[int], int] | None:
    """Find the C library's function; None where it has none."""
    try:
        found: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):
        return None
    return found
