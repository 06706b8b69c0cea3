"""From how many rows on a product with a dense W * M is the faster one, measured on the device."""

from collections.abc import Callable, Sequence
from statistics import median

import torch
from torch import Tensor
from torch.nn import functional

from plm.unpacking import masked_on_device

Fused = Callable[[Tensor, Tensor, Tensor | None, Sequence[Tensor], Sequence[int]], Tensor]

_ROWS = (16, 32, 64, 128, 256, 512, 1024)
_SETS = 4
_REPEATS = 5


def dense_from(run: Fused, weight: Tensor) -> int:
    """Rows of a mask set from which making W * M and multiplying by it takes less than the kernel.

    Both are run on a weight's device, with four sets of bits, at 16 to 1024 rows a set.

    Args:
        run: the kernel, called with states, weight, bias, the sets' bits and their sizes.
        weight: (out, in), on a CUDA device.
    """
    width, depth = weight.shape
    generator = torch.Generator(weight.device).manual_seed(0)
    bits = [
        torch.randint(
            0,
            256,
            (width, (depth + 7) // 8),
            dtype=torch.uint8,
            device=weight.device,
            generator=generator,
        )
        for _ in range(_SETS)
    ]

    def states(rows: int) -> Tensor:
        return weight.new_zeros(rows * _SETS, depth)

    def fused(rows: int) -> float:
        given, sizes = states(rows), [rows] * _SETS
        return _seconds(lambda: run(given, weight, None, bits, sizes))

    def dense(rows: int) -> float:
        parts = states(rows).split(rows)

        def products() -> None:
            for part, kept in zip(parts, bits, strict=True):
                functional.linear(part, masked_on_device(weight, kept))

        return _seconds(products)

    return crossover(fused, dense, _ROWS)


def crossover(
    fused: Callable[[int], float], dense: Callable[[int], float], rows: Sequence[int]
) -> int:
    """The least of `rows`, ascending, from which on `dense` takes no longer than `fused` does.

    Twice the largest if it takes longer even there. A single faster case below a slower one is
    taken for noise.
    """
    found = 2 * rows[-1]
    for count in reversed(rows):
        if dense(count) > fused(count):
            break
        found = count
    return found


def _seconds(work: Callable[[], object]) -> float:
    """Time that a device takes for work, the median of some goes after one that warms up."""
    work()
    times = []
    for _ in range(_REPEATS):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        work()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) / 1000)
    return float(median(times))
