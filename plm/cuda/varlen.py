"""Calls the Triton kernel of attention; `plm.layers` has its twin in PyTorch."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from plm.cuda.launch import TYPES, launches

# Tensor cores take 16 rows at the least.
_QUERIES, _KEYS = 16, 32
_LEAST_DEPTH, _MOST_DEPTH = 16, 128


class VarlenAttention:
    """Attention of sentences that lie end to end on a CUDA device: no place is padding."""

    def __init__(self, kernel: Any) -> None:
        self._kernel = kernel

    def takes(self, states: Tensor, heads: int) -> bool:
        """Whether it does attention of these states (N, H): floating-point, on a CUDA device.

        That is the current one: Triton launches there.
        """
        depth, rest = divmod(states.shape[1], heads)
        return launches(states) and not rest and 0 < depth <= _MOST_DEPTH

    def __call__(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        starts: Tensor,
        query_starts: Tensor,
        *,
        heads: int,
        longest: int,
        most_queries: int,
    ) -> Tensor:
        """Multi-head attention of (S, H) queries over (N, H) keys and values -> (S, H).

        Args:
            query: of all sentences, end to end, of one type with key and value.
            key: likewise.
            value: likewise.
            starts: integers (B + 1,) on their device; sentence i has the keys from `starts[i]` to
                `starts[i + 1]`, at least one.
            query_starts: the same of the queries.
            heads: that divide H.
            longest: keys of a sentence, at most.
            most_queries: of a sentence, at most.

        Raises:
            ValueError: shapes or types do not go together.
        """
        if (
            key.shape != value.shape
            or query.shape[1] != key.shape[1]
            or query.shape[1] % heads
            or not query.dtype == key.dtype == value.dtype
            or starts.shape != query_starts.shape
        ):
            raise ValueError(
                f"queries {tuple(query.shape)}, keys {tuple(key.shape)}, values "
                f"{tuple(value.shape)} and {heads} heads do not go together"
            )
        output = torch.empty_like(query, memory_format=torch.contiguous_format)
        depth = query.shape[1] // heads
        tiles = -(-most_queries // _QUERIES)
        if not len(query) or not tiles:
            return output
        self._kernel[(len(starts) - 1, heads, tiles)](
            query.contiguous(),
            key.contiguous(),
            value.contiguous(),
            output,
            starts,
            query_starts,
            depth**-0.5,
            HEADS=heads,
            HEAD=depth,
            DEPTH=max(_LEAST_DEPTH, 1 << (depth - 1).bit_length()),
            QUERIES=_QUERIES,
            KEYS=_KEYS,
            # In powers of two, for each of which the kernel is compiled.
            BLOCKS=1 << (-(-longest // _KEYS) - 1).bit_length(),
        )
        return output


def attention_works(run: VarlenAttention, device: torch.device) -> bool:
    """Whether attention of two short sentences and a longer one comes out right on a device.

    On a GPU in every type that it takes.
    """
    generator = torch.Generator().manual_seed(0)
    lengths, heads = (3, 40, 1), 2
    given = torch.randn(3, sum(lengths), 24, generator=generator)
    starts = torch.tensor([0, 3, 43, 44], device=device)
    for dtype in TYPES if device.type == "cuda" else (torch.float32,):
        states = given.to(device, dtype)
        query, key, value = states
        found = run(query, key, value, starts, starts, heads=heads, longest=40, most_queries=40)
        parts = []
        for sentence in states.float().split(lengths, dim=1):
            query, key, value = sentence.unflatten(2, (heads, -1)).transpose(1, 2)
            context = functional.scaled_dot_product_attention(query, key, value)
            parts.append(context.transpose(0, 1).flatten(1))
        # Not a number is no small difference; of bfloat16's steps there are 128 from 1 to 2.
        near = 1e-2 if dtype == torch.float32 else 5e-2
        if not float((found.float() - torch.cat(parts)).abs().max()) < near:
            return False
    return True
