"""What becomes of memory: freed blocks, and objects that stay.

What is said to the C library is heard by glibc alone, and ignored elsewhere.
"""

import ctypes
import gc
import logging

logger = logging.getLogger(__name__)

# <malloc.h> of glibc.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
# The largest that glibc takes: half of the largest heap of a thread.
_MAPPED_FROM = 32 * 2**20
_KEPT = 256 * 2**20


def keep_buffers() -> None:
    """Keep what a pass over the model frees for the next pass, which needs the same.

    By default glibc maps large blocks anew and returns freed memory at once, and every pass pays
    for its pages again: a third of its time.
    """
    try:
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, _MAPPED_FROM)
        library.mallopt(_M_TRIM_THRESHOLD, _KEPT)
    except (AttributeError, OSError, TypeError):
        logger.debug("this C library has no mallopt")


def return_freed() -> None:
    """Return what was freed, e.g. what loading a model needed for a moment."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):
        logger.debug("this C library has no malloc_trim")


def keep_objects() -> None:
    """Take all objects there are out of the rounds of Python's garbage collector.

    What is loaded stays until the end, and a round over its hundreds of thousands of objects
    stops every thread for a tenth of a second.
    """
    gc.collect()
    gc.freeze()
