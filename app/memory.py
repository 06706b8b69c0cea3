"""Gives freed memory back to the system, where the C library keeps it otherwise.

Both functions do nothing with a C library other than glibc.
"""

import ctypes
import logging

logger = logging.getLogger(__name__)

# <malloc.h> of glibc.
_M_MMAP_THRESHOLD = -3
_LARGE = 2**20


def map_large_blocks() -> None:
    """Let every block of 1 MiB and more be mapped on its own, and so be returned when freed.

    glibc raises that threshold to 32 MiB as it sees large blocks freed; masked weights that come
    and go then lie between others in a heap that only grows.
    """
    try:
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE)
    except (AttributeError, OSError, TypeError):
        logger.debug("this C library has no mallopt")


def return_freed() -> None:
    """Return what was freed, e.g. what loading a model needed for a moment."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):
        logger.debug("this C library has no malloc_trim")
