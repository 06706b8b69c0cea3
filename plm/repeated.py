"""The same rows asked under one mask set after another.

What all mask sets share, tokens laid out and the layers below the lowest masked one, is done once.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from masks import MaskMismatchError, PackedMask
from plm.base import BaseModel
from plm.masked import MaskedLayers, masked_layers, materialise
from plm.packing import PackedRows, pack_rows
from plm.readout import SLOTS_A_CHUNK, log_norms
from plm.rows import EncodedRow
from plm.states import run_layers

DEFAULT_KEPT_BYTES = 2 * 2**30
# A GPU takes far more tokens to be busy than a processor's cache holds.
_TOKENS_A_PASS = {"cpu": 4096}
_TOKENS_ELSEWHERE = 32768
_SLOTS_A_CHUNK = {"cpu": SLOTS_A_CHUNK}
_SLOTS_ELSEWHERE = 4096


@dataclass(frozen=True, eq=False)
class _Pass:
    """Rows of about one length; T tokens, S slots, one for each row.

    Attributes:
        packed: the rows.
        hidden: (T, H) that enters the first layer above; None where it is made at each use.
        slots: (P,) of the pass's pairs, the slot that each reads, ascending.
        tokens: (P,) of the pass's pairs, the token.
        pairs: (P,) place of each among all pairs.
    """

    packed: PackedRows
    hidden: Tensor | None
    slots: NDArray[np.int64]
    tokens: NDArray[np.int64]
    pairs: NDArray[np.int64]


class RepeatedRows:
    """Log-probabilities of given tokens at the slots of rows, under any number of mask sets.

    The answers are those of `Engine.read` but for rounding. Rows run in passes of alike length.
    States of the lower layers are kept up to a bound; rows beyond it run through those layers each
    time. Not for several threads at once.
    """

    def __init__(
        self,
        base: BaseModel,
        rows: Sequence[EncodedRow],
        pairs: NDArray[np.int64],
        first: int,
        *,
        token_budget: int | None = None,
        kept_bytes: int = DEFAULT_KEPT_BYTES,
    ) -> None:
        """Lay the rows out and run what lies below layer `first`.

        Args:
            base: the base.
            rows: of one slot each.
            pairs: (P, 2) what is asked: a row's number, and a token.
            first: lowest layer, counted from 1, that any mask covers.
            token_budget: tokens of a pass; None takes what the device is fast at.
            kept_bytes: most bytes of states that are kept.

        Raises:
            ValueError: there are no rows, a row has not one slot, a pair names a row or a token
                that is not there, or `first` is no layer.
        """
        _check(base, rows, pairs, first)
        self._base = base
        self._first = first
        self._count = len(pairs)
        self._passes: list[_Pass] = []
        budget = token_budget or _TOKENS_A_PASS.get(base.device.type, _TOKENS_ELSEWHERE)
        places = pairs[:, 0].argsort(kind="stable")
        bounds = np.searchsorted(pairs[places, 0], np.arange(len(rows) + 1))
        left = kept_bytes
        for numbers in _passes(rows, budget):
            with torch.inference_mode():
                packed = pack_rows(base, [rows[number] for number in numbers])
                hidden = None
                if (size := _state_bytes(base, packed)) <= left:
                    hidden = self._lower(packed)
                    left -= size
            own = [places[bounds[number] : bounds[number + 1]] for number in numbers]
            asked = np.concatenate(own)
            slots = np.repeat(np.arange(len(numbers)), [len(part) for part in own])
            self._passes.append(_Pass(packed, hidden, slots, pairs[asked, 1], asked))

    @property
    def tokens(self) -> int:
        """Tokens of all rows."""
        return sum(sum(one.packed.lengths) for one in self._passes)

    def log_probs(self, mask: PackedMask | None) -> NDArray[np.float32]:
        """The log-probabilities (P,) of the pairs under a mask set; None is the unmasked model.

        Raises:
            MaskMismatchError: the mask does not fit the base, or covers a layer below `first`.
        """
        masked = None if mask is None else self._masked(mask)
        layers = [
            self._base.layers[number - 1] if masked is None else masked.layer(self._base, number)
            for number in range(self._first, self._base.layer_count + 1)
        ]
        found = np.empty(self._count, np.float32)
        with torch.inference_mode():
            for one in self._passes:
                hidden = self._lower(one.packed) if one.hidden is None else one.hidden
                packed = one.packed
                states = run_layers(self._base, hidden, layers, packed.layout, packed.slots)
                found[one.pairs] = _read(self._base, states, one)
        return found

    def _masked(self, mask: PackedMask) -> MaskedLayers:
        # W * M is made once for all passes; a single one makes it, or reads the bits, as it goes.
        masked = (masked_layers if len(self._passes) == 1 else materialise)(self._base, mask)
        if masked.first < self._first:
            raise MaskMismatchError(
                f"the mask covers layers from {masked.first} on, but what lies below layer "
                f"{self._first} was run without one; name the lowest layer of all masks"
            )
        return masked

    def _lower(self, packed: PackedRows) -> Tensor:
        base = self._base
        embedded = base.embed(packed.input_ids, packed.attention_mask, packed.token_types)
        hidden = packed.layout.unpad(embedded)
        return run_layers(base, hidden, base.layers[: self._first - 1], packed.layout)


def _passes(rows: Sequence[EncodedRow], budget: int) -> Iterator[list[int]]:
    """Numbers of rows, the short ones first, in passes of at most so many tokens."""
    numbers: list[int] = []
    tokens = 0
    for number in sorted(range(len(rows)), key=lambda number: len(rows[number].input_ids)):
        length = len(rows[number].input_ids)
        if numbers and tokens + length > budget:
            yield numbers
            numbers, tokens = [], 0
        numbers.append(number)
        tokens += length
    yield numbers


def _state_bytes(base: BaseModel, packed: PackedRows) -> int:
    return sum(packed.lengths) * base.hidden_size * base.dtype.itemsize


def _read(base: BaseModel, states: Tensor, one: _Pass) -> NDArray[np.float32]:
    """Log-probabilities (P,) of a pass's pairs, of the states (S, H) at its slots."""
    rows = base.head.transform(states)
    step = _SLOTS_A_CHUNK.get(base.device.type, _SLOTS_ELSEWHERE)
    parts = []
    for start in range(0, len(rows), step):
        begin, end = np.searchsorted(one.slots, (start, start + step))
        logits = base.head.logits(rows[start : start + step]).float()
        norms = log_norms(logits)
        slots = torch.from_numpy(one.slots[begin:end] - start).to(logits.device)
        tokens = torch.from_numpy(one.tokens[begin:end]).to(logits.device)
        parts.append(logits[slots, tokens] - norms[slots])
    log_probs: NDArray[np.float32] = torch.cat(parts).cpu().numpy()
    return log_probs


def _check(
    base: BaseModel, rows: Sequence[EncodedRow], pairs: NDArray[np.int64], first: int
) -> None:
    if not rows:
        raise ValueError("there is at least one row")
    if bad := [len(row.slots) for row in rows if len(row.slots) != 1]:
        raise ValueError(f"a row has one slot here, not {bad[0]}")
    if pairs.ndim != 2 or pairs.shape[1] != 2:
        raise ValueError(f"pairs are (P, 2), a row and a token each, not {pairs.shape}")
    most = np.array([len(rows), base.vocab_size])
    if ((pairs < 0) | (pairs >= most)).any():
        raise ValueError(f"pairs name rows below {most[0]} and tokens below {most[1]}")
    if not 1 <= first <= base.layer_count:
        raise ValueError(f"layers are 1 to {base.layer_count}, not {first}")
