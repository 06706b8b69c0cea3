"""How a batch lies in memory: sentences end to end for the linears, padded for attention alone."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Places:
    """How R rows of states and a padded batch of B * C places read each other.

    Attributes:
        taken: (R,) long, the place of each row.
        sources: (B * C,) long, the row that each place reads. Where none stands that is a row of
            the same sentence: finite, and hidden by the attention bias or dropped afterwards.
    """

    taken: Tensor
    sources: Tensor


@dataclass(frozen=True, eq=False)
class Layout:
    """Where each token of packed states (N, H) stands in the padded batch (B, T, H).

    Attributes:
        sentences: B.
        longest: T.
        places: of the N tokens among the B * T; None where every place is taken (N = B * T).
        bias: added to attention scores, broadcastable to (B, heads, T, T), or None.
        starts: (B + 1,) where each sentence begins among the N tokens, if these are all that
            attention sees: None where padding is among them, or scores have a bias of their own.
        device_starts: the same on the device of the states, where there are any.
    """

    sentences: int
    longest: int
    places: Places | None
    bias: Tensor | None
    starts: NDArray[np.int64] | None = None
    device_starts: Tensor | None = None

    def pad(self, states: Tensor) -> Tensor:
        """(N, H) to (B, T, H); a place where no token stands repeats one of its sentence."""
        return _pad(states, self.places, self.sentences, self.longest)

    def unpad(self, states: Tensor) -> Tensor:
        """(B, T, H) to (N, H)."""
        return _unpad(states, self.places)


@dataclass(frozen=True, eq=False)
class Slots:
    """The positions of a batch that are asked for, one or more in each sentence; S in all.

    Attributes:
        tokens: (S,) long, their places among the N tokens.
        positions: (B, P) long, their positions in their sentences; a sentence with fewer than P
            repeats one.
        places: of the S slots among the B * P; None where every place is taken.
        starts: (B + 1,) where each sentence's slots begin among the S.
        device_starts: the same on the device of the states, where somebody put it there.
    """

    tokens: Tensor
    positions: Tensor
    places: Places | None
    starts: NDArray[np.int64]
    device_starts: Tensor | None = None

    def __len__(self) -> int:
        return int(self.tokens.shape[0])

    def pad(self, states: Tensor) -> Tensor:
        """(S, H) to (B, P, H)."""
        return _pad(states, self.places, *self.positions.shape)

    def unpad(self, states: Tensor) -> Tensor:
        """(B, P, H) to (S, H)."""
        return _unpad(states, self.places)

    def bias(self, bias: Tensor | None) -> Tensor | None:
        """What of an attention bias belongs to these queries, (B or 1, heads or 1, P or 1, T)."""
        if bias is None or bias.shape[2] == 1:
            return bias
        sentences = len(self.positions)
        whole = bias.expand(sentences, -1, -1, -1)
        rows = torch.arange(sentences, device=bias.device)[:, None]
        return whole[rows, :, self.positions].transpose(1, 2)


def _pad(states: Tensor, places: Places | None, rows: int, columns: int) -> Tensor:
    padded = states if places is None else states.index_select(0, places.sources)
    return padded.view(rows, columns, -1)


def _unpad(states: Tensor, places: Places | None) -> Tensor:
    flat = states.flatten(0, 1)
    return flat if places is None else flat.index_select(0, places.taken)
