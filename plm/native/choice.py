"""Whether our products by tiles of AMX are faster than PyTorch's, measured on the processor."""

import time
from collections.abc import Callable
from functools import cache
from statistics import median

import torch
from torch.nn import functional

from plm.native.blocked import BlockedKernel

# About a full pass of a BERT-base, and a matrix of one.
_ROWS, _SIZE = 512, 768
_REPEATS = 5


@cache
def tiles_pay(run: BlockedKernel) -> bool:
    """Whether the kernel multiplies bfloat16 at least as fast as PyTorch; measured once."""
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(_ROWS, _SIZE, generator=generator)
    weight = torch.randn(_SIZE, _SIZE, generator=generator)
    packed = run.pack(weight, torch.bfloat16)
    rounded, narrow = states.bfloat16(), weight.bfloat16()
    with torch.inference_mode():
        ours = _seconds(lambda: run(states, packed, None, [None], [_ROWS]))
        theirs = _seconds(lambda: functional.linear(rounded, narrow))
    return ours <= theirs


def _seconds(work: Callable[[], object]) -> float:
    """What work takes, the median of some goes after one that warms up."""
    work()
    times = []
    for _ in range(_REPEATS):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return float(median(times))
