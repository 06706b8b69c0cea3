"""Rows laid out for one pass over the model."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plm.base import BaseModel
from plm.layout import Layout, Places, Slots
from plm.rows import EncodedRow
from plm.states import attention_bias


@dataclass(frozen=True, eq=False)
class PackedRows:
    """Rows laid out for one pass; B rows, T tokens in the longest, S slots in all.

    Attributes:
        input_ids: (B, T) long.
        attention_mask: (B, T) long, 1 for tokens and 0 for padding.
        token_types: (B, T) long, or None where no row has a second segment.
        layout: of the tokens without padding.
        slots: row by row.
        lengths: tokens of each row.
        slot_counts: slots of each row.
    """

    input_ids: Tensor
    attention_mask: Tensor
    token_types: Tensor | None
    layout: Layout
    slots: Slots
    lengths: tuple[int, ...]
    slot_counts: tuple[int, ...]


def pack_rows(base: BaseModel, rows: Sequence[EncodedRow]) -> PackedRows:
    """Lay rows out on the base's device, in the order given.

    Raises:
        ValueError: there are no rows, or a row has no slots or one outside its tokens.
    """
    if not rows:
        raise ValueError("a pass has at least one row")
    for row in rows:
        if not row.slots or not 0 <= min(row.slots) <= max(row.slots) < len(row.input_ids):
            raise ValueError(
                f"a row of {len(row.input_ids)} tokens has one or more slots among them, "
                f"not {row.slots}"
            )
    lengths = tuple(len(row.input_ids) for row in rows)
    taken = _taken(lengths)
    input_ids = np.full(taken.shape, base.pad_token_id, np.int64)
    input_ids[taken] = _flat(row.input_ids for row in rows)
    attention_mask = torch.from_numpy(taken.astype(np.int64)).to(base.device)
    return PackedRows(
        torch.from_numpy(input_ids).to(base.device),
        attention_mask,
        _token_types(base, rows, taken),
        token_layout(base, lengths),
        _slots(base, rows, lengths),
        lengths,
        tuple(len(row.slots) for row in rows),
    )


def token_layout(base: BaseModel, lengths: Sequence[int]) -> Layout:
    """The layout of sentences of these lengths, their tokens end to end.

    Raises:
        ValueError: there are no sentences.
    """
    if not lengths:
        raise ValueError("a layout has at least one sentence")
    taken = _taken(lengths)
    attention_mask = torch.from_numpy(taken.astype(np.int64)).to(base.device)
    starts = _starts(lengths) if base.architecture.relative_positions is None else None
    return Layout(
        len(lengths),
        max(lengths),
        _places(base, taken),
        attention_bias(base, attention_mask),
        starts,
        None if starts is None else torch.from_numpy(starts).to(base.device),
    )


def span_slots(
    base: BaseModel, lengths: Sequence[int], firsts: Sequence[int], counts: Sequence[int]
) -> Slots:
    """The slots of sentences of these lengths, `counts` of them in a row from `firsts` on."""
    taken = _taken(counts)
    within = np.where(taken, np.arange(taken.shape[1]), 0)
    positions = np.array(firsts)[:, None] + within
    starts = _starts(lengths)[:-1]
    return _slots_at(base, (starts[:, None] + positions)[taken], positions, taken, counts)


def _slots(base: BaseModel, rows: Sequence[EncodedRow], lengths: Sequence[int]) -> Slots:
    counts = [len(row.slots) for row in rows]
    starts = _starts(lengths)[:-1]
    flat = _flat(row.slots for row in rows)
    taken = _taken(counts)
    # A sentence with fewer slots than the most asks again at its first.
    positions = np.where(taken, 0, [[row.slots[0]] for row in rows])
    positions[taken] = flat
    return _slots_at(base, np.repeat(starts, counts) + flat, positions, taken, counts)


def _slots_at(
    base: BaseModel,
    tokens: NDArray[np.int64],
    positions: NDArray[np.int64],
    taken: NDArray[np.bool_],
    counts: Sequence[int],
) -> Slots:
    starts = _starts(counts)
    return Slots(
        torch.from_numpy(tokens).to(base.device),
        torch.from_numpy(positions).to(base.device),
        _places(base, taken),
        starts,
        torch.from_numpy(starts).to(base.device),
    )


def _token_types(
    base: BaseModel, rows: Sequence[EncodedRow], taken: NDArray[np.bool_]
) -> Tensor | None:
    if all(row.second_segment is None for row in rows):
        return None
    starts = np.array(
        [len(row.input_ids) if row.second_segment is None else row.second_segment for row in rows]
    )
    types = (np.arange(taken.shape[1]) >= starts[:, None]) & taken
    return torch.from_numpy(types.astype(np.int64)).to(base.device)


def _starts(counts: Sequence[int]) -> NDArray[np.int64]:
    """Where each of the blocks of these sizes begins, and where the last one ends."""
    return np.array([0, *accumulate(counts)], np.int64)


def _taken(counts: Sequence[int]) -> NDArray[np.bool_]:
    """(B, most) bool, row i True at its first `counts[i]` places."""
    taken: NDArray[np.bool_] = np.arange(max(counts)) < np.array(counts)[:, None]
    return taken


def _places(base: BaseModel, taken: NDArray[np.bool_]) -> Places | None:
    """Places of rows that fill (B, C) from the left where `taken`; None where they fill it."""
    if taken.all():
        return None
    counts = taken.sum(axis=1)
    first = counts.cumsum() - counts
    # A place that is not taken reads the first row of its sentence.
    sources = first[:, None] + np.where(taken, np.arange(taken.shape[1]), 0)
    return Places(
        torch.from_numpy(np.flatnonzero(taken)).to(base.device),
        torch.from_numpy(sources.ravel()).to(base.device),
    )


def _flat(parts: Iterable[tuple[int, ...]]) -> NDArray[np.int64]:
    return np.fromiter(chain.from_iterable(parts), np.int64)
