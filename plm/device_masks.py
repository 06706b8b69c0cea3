"""The bits of masks on a device: of relations, and of combinations that are made of them there."""

from collections.abc import Sequence
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from masks import Combine, CombinedMask, PackedMask

# A matrix's bits begin at a multiple of this many bytes, as the widest loads like them.
_ALIGNED = 16


class DeviceMasks:
    """Packed bits on a device; only masks of one bit a weight have them.

    A relation's bits are sent once, all matrices in one copy, and stay as long as its mask does. A
    combination of several relations is made of theirs on the device: none of it crosses the bus,
    and no pass waits for the host to make it. Two threads that first ask may both send a mask.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._sent: WeakKeyDictionary[PackedMask, Tensor] = WeakKeyDictionary()

    def bits_of(self, mask: PackedMask) -> dict[str, Tensor]:
        """Bits uint8 (rows, ceil(columns / 8)) of each matrix by name, views of one tensor."""
        parts = mask.parts if isinstance(mask, CombinedMask) else (mask,)
        sent = [self._bits(part) for part in parts]
        combine = mask.combine if isinstance(mask, CombinedMask) else Combine()
        flat = sent[0] if len(sent) == 1 else combined(sent, combine)
        shapes = [(rows, -(-columns // 8)) for rows, columns in mask.shapes.values()]
        return {
            name: flat[start : start + rows * columns].view(rows, columns)
            for name, (rows, columns), start in zip(
                mask.shapes, shapes, _starts(shapes), strict=False
            )
        }

    def _bits(self, part: PackedMask) -> Tensor:
        found = self._sent.get(part)
        if found is None:
            matrices = [part.packed[name] for name in part.shapes]
            starts = _starts([bits.shape for bits in matrices])
            flat = np.zeros(starts[-1], np.uint8)
            for start, bits in zip(starts, matrices, strict=False):
                flat[start : start + bits.size] = bits.reshape(-1)
            found = self._sent[part] = torch.from_numpy(flat).to(self._device)
        return found


def combined(parts: Sequence[Tensor], combine: Combine) -> Tensor:
    """Packed bits of several masks, uint8 of one shape, combined as `masks.algebra` does; new."""
    if combine.votes is not None:
        return _vote(parts, combine.votes)
    result = parts[0].clone()
    for part in parts[1:]:
        if combine.kind == "union":
            result |= part
        elif combine.kind == "intersection":
            result &= part
        else:
            result &= ~part
    return result


def _vote(parts: Sequence[Tensor], k: int) -> Tensor:
    # Counters in planes of bits, as `masks.algebra` explains them.
    top = (len(parts) - 1).bit_length()
    start = (1 << top) - k
    planes = [torch.full_like(parts[0], 0xFF if start >> i & 1 else 0) for i in range(top + 1)]
    for bits in parts:
        carry = bits
        for plane in planes:
            next_carry = plane & carry
            plane.bitwise_xor_(carry)
            carry = next_carry
    return planes[top]


def _starts(shapes: Sequence[tuple[int, ...]]) -> list[int]:
    """Where each array's bytes begin, and the bytes of all of them."""
    starts = [0]
    for shape in shapes:
        size = int(np.prod(shape))
        starts.append(starts[-1] + -(-size // _ALIGNED) * _ALIGNED)
    return starts
