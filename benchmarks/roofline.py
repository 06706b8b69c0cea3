"""What a processor can do at best, and what a pass asks of it."""

from collections.abc import Callable, Sequence

import torch

from benchmarks.turns import seconds_of
from plm import BaseModel, EncodedRow

# Products and copies by which a rate is found; the quickest counts.
_TRIES = 5


def product(
    rows: int, depth: int, width: int, dtype: torch.dtype = torch.float32
) -> Callable[[], object]:
    """One product (rows, depth) x (depth, width) in torch, of numbers that are drawn in a type."""
    if dtype == torch.int8:
        whole = [
            torch.randint(-127, 128, size, dtype=dtype) for size in ((rows, depth), (width, depth))
        ]
        # Torch has no public product of integers that is fast on a CPU.
        return lambda: torch._int_mm(whole[0], whole[1].t())
    left, right = torch.randn(rows, depth).to(dtype), torch.randn(depth, width).to(dtype)
    place = torch.zeros(rows, width, dtype=dtype)
    return lambda: torch.mm(left, right, out=place)


def product_gflop(rows: int, depth: int, width: int) -> float:
    """GFLOP of that product."""
    return 2 * rows * depth * width / 1e9


def copy(gigabytes: float) -> Callable[[], object]:
    """A copy of so many gigabytes (10^9 bytes) into memory that is warm."""
    source = torch.ones(int(gigabytes * 1e9 / 4))
    place = torch.zeros_like(source)
    return lambda: place.copy_(source)


def product_rate(rows: int, depth: int, width: int, dtype: torch.dtype = torch.float32) -> float:
    """GFLOP/s that `product` reaches here with torch's threads, at its quickest."""
    work = product(rows, depth, width, dtype)
    work()
    return product_gflop(rows, depth, width) / min(seconds_of(work) for _ in range(_TRIES))


def pass_gflop(base: BaseModel, rows: Sequence[EncodedRow]) -> float:
    """GFLOP of a pass's matrix products: those of the layers, and the head at the asked slots.

    The last layer's query, attention output and feed-forward are at the slots alone. Masks change
    nothing: a weight that is removed is multiplied as zero.
    """
    hidden = base.hidden_size
    wide = base.layers[0].feed_forward_in.weight.shape[0]
    tokens = sum(len(row.input_ids) for row in rows)
    slots = sum(len(row.slots) for row in rows)
    # Query, attention output and the feed-forward's two; key and value; scores and their use.
    outer, inner = 2 * hidden * hidden + 2 * hidden * wide, 2 * hidden * hidden
    pairs = sum(len(row.input_ids) ** 2 for row in rows)
    asked_pairs = sum(len(row.input_ids) * len(row.slots) for row in rows)
    below = (base.layer_count - 1) * (tokens * (outer + inner) + 2 * pairs * hidden)
    last = slots * outer + tokens * inner + 2 * asked_pairs * hidden
    head = slots * hidden * (hidden + base.vocab_size)
    return 2 * (below + last + head) / 1e9
