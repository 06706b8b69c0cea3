"""Finds the Triton kernels, and tries each on something small before it is used."""

import logging
from collections.abc import Callable
from functools import cache
from typing import TypeVar

import torch

from plm.cuda.linear import CudaMaskedLinear, linear_works
from plm.cuda.varlen import VarlenAttention, attention_works

logger = logging.getLogger(__name__)

Kernel = TypeVar("Kernel")


@cache
def cuda_kernel() -> CudaMaskedLinear | None:
    """The kernel of masked linears, or None without Triton or CUDA, or where it does not work."""

    def load() -> CudaMaskedLinear:
        from plm.cuda.masked_linear import masked_linear  # noqa: PLC0415 - triton is optional

        return CudaMaskedLinear(masked_linear)

    return _tried("masked linears", load, linear_works)


@cache
def cuda_attention() -> VarlenAttention | None:
    """The kernel of attention without padding, or None likewise."""

    def load() -> VarlenAttention:
        from plm.cuda.attention import attention  # noqa: PLC0415 - triton is optional

        return VarlenAttention(attention)

    return _tried("attention", load, attention_works)


def _tried(
    what: str, load: Callable[[], Kernel], works: Callable[[Kernel, torch.device], bool]
) -> Kernel | None:
    """A kernel that comes out right on the device; whatever is against it shows here."""
    if not torch.cuda.is_available():
        return None
    try:
        kernel = load()
        if works(kernel, torch.device("cuda")):
            return kernel
        logger.warning(
            "the Triton kernel of %s gives wrong results here; PyTorch serves in its place", what
        )
    except Exception as error:
        logger.warning(
            "the Triton kernel of %s cannot be used (%s); PyTorch serves in its place", what, error
        )
    return None
