"""Finds and loads the library that was built with the package."""

import ctypes
import logging
from functools import cache
from pathlib import Path

from plm.native.layer import LayerKernel
from plm.native.masked_linear import MaskedLinearKernel

logger = logging.getLogger(__name__)

_FOLDER = Path(__file__).parent


@cache
def kernel() -> MaskedLinearKernel | None:
    """The kernel of linears, or None where it was not built or this processor cannot run it."""
    library = _library(_FOLDER)
    return None if library is None else MaskedLinearKernel(library)


@cache
def layer_kernel() -> LayerKernel | None:
    """What a layer does between its linears, or None likewise."""
    library = _library(_FOLDER)
    return None if library is None else LayerKernel(library)


@cache
def _library(folder: Path) -> ctypes.CDLL | None:
    for path in sorted(folder.glob("_kernels*.so")):
        try:
            library = ctypes.CDLL(str(path))
        except OSError as error:
            # Another machine's, or a torch that brings no OpenMP along.
            logger.info("the native kernels %s cannot be loaded: %s", path.name, error)
            continue
        if library.relata_supported():
            return library
        logger.info("this processor cannot run the native kernels")
    return None
