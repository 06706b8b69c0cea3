"""What stands before the layers: token ids to states, and distances to attention biases."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from plm.layers import Norm

_FURTHEST = 128


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Tables that make the first hidden states, in the norm's type or a narrower one.

    Attributes:
        words: (V, H).
        positions: (P, H).
        token_types: (K, H), or None.
        norm: over the sum.
        padding_index: where positions count on from, None where they count from 0.
    """

    words: Tensor
    positions: Tensor
    token_types: Tensor | None
    norm: Norm
    padding_index: int | None

    def __call__(
        self, input_ids: Tensor, attention_mask: Tensor, token_types: Tensor | None = None
    ) -> Tensor:
        """First hidden states (B, T, H) of (B, T) token ids; the mask is 1 for tokens, 0 padding.

        `token_types` (B, T) are 1 in a second segment; without them all are 0.
        """
        # In the order in which the published classes add, so that rounding is theirs.
        states = functional.embedding(input_ids, self.words).to(self.norm.weight.dtype)
        if self.token_types is not None:
            states = states + (
                self.token_types[0]
                if token_types is None
                else functional.embedding(token_types, self.token_types)
            )
        if self.padding_index is None:
            states = states + self.positions[: input_ids.shape[1]]
        else:
            tokens = attention_mask.long()
            places = tokens.cumsum(dim=1) * tokens + self.padding_index
            states = states + functional.embedding(places, self.positions)
        return self.norm(states)


def relative_bias(table: Tensor, length: int) -> Tensor:
    """Attention bias (1, heads, T, T) of a (buckets, heads) table, by distance.

    Half of the buckets are for keys that stand after the query. In each half the first are for one
    distance each, the others for ever wider ranges up to 128 (T5: Raffel et al. 2020, section 2.1).
    """
    half = len(table) // 2
    exact = half // 2
    places = torch.arange(length, device=table.device)
    ahead = places[None, :] - places[:, None]
    distance = ahead.abs()
    # Distance 0 is among the exact ones; its logarithm is not looked at.
    growth = torch.log(distance.clamp(min=1).float() / exact) / math.log(_FURTHEST / exact)
    wide = (exact + (growth * (half - exact)).long()).clamp(max=half - 1)
    bucket = torch.where(distance < exact, distance, wide) + half * (ahead > 0)
    return table[bucket].permute(2, 0, 1)[None]
