"""How a batch lies in memory: sentences end to end for the linears, padded for attention alone."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Layout:
    """Where each token of packed states (N, H) stands in the padded batch (B, T, H).

    Attributes:
        sentences: B.
        longest: T.
        places: (N,) long, places among the B * T; None where every place is taken (N = B * T).
        bias: added to attention scores, broadcastable to (B, heads, T, T), or None.
    """

    sentences: int
    longest: int
    places: Tensor | None
    bias: Tensor | None

    def pad(self, states: Tensor) -> Tensor:
        """(N, H) to (B, T, H), zero where no token stands."""
        return _place(states, self.places, self.sentences, self.longest)

    def unpad(self, states: Tensor) -> Tensor:
        """(B, T, H) to (N, H)."""
        flat = states.flatten(0, 1)
        return flat if self.places is None else flat[self.places]


@dataclass(frozen=True, eq=False)
class Slots:
    """The positions of a batch that are asked for, one or more in each sentence; S in all.

    Attributes:
        tokens: (S,) long, their places among the N tokens.
        positions: (B, P) long, their positions in their sentences; a sentence with fewer than P
            repeats one.
        places: (S,) long, places among the B * P; None where every place is taken.
    """

    tokens: Tensor
    positions: Tensor
    places: Tensor | None

    def __len__(self) -> int:
        return len(self.tokens)

    def pad(self, states: Tensor) -> Tensor:
        """(S, H) to (B, P, H)."""
        return _place(states, self.places, *self.positions.shape)

    def unpad(self, states: Tensor) -> Tensor:
        """(B, P, H) to (S, H)."""
        flat = states.flatten(0, 1)
        return flat if self.places is None else flat[self.places]

    def bias(self, bias: Tensor | None) -> Tensor | None:
        """What of an attention bias belongs to these queries, (B or 1, heads or 1, P or 1, T)."""
        if bias is None or bias.shape[2] == 1:
            return bias
        sentences = len(self.positions)
        whole = bias.expand(sentences, -1, -1, -1)
        rows = torch.arange(sentences, device=bias.device)[:, None]
        return whole[rows, :, self.positions].transpose(1, 2)


def _place(states: Tensor, places: Tensor | None, rows: int, columns: int) -> Tensor:
    if places is None:
        return states.view(rows, columns, -1)
    padded = states.new_zeros(rows * columns, states.shape[1])
    return padded.index_copy(0, places, states).view(rows, columns, -1)
