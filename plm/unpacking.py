"""Bits or values of a mask to W * M: the one place where a mask meets the weights."""

import threading

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_STEPS = 255  # a value of eight bits multiplies by value / 255


class _Scratch(threading.local):
    """A thread's buffer for one product: memory that is warm costs a third of fresh memory."""

    def __init__(self) -> None:
        self.weights = torch.empty(0)

    def like(self, weight: Tensor) -> Tensor:
        if self.weights.numel() < weight.numel() or self.weights.dtype != weight.dtype:
            # A tensor made in inference mode could not be written outside of it.
            with torch.inference_mode(mode=False):
                self.weights = torch.empty(weight.numel(), dtype=weight.dtype)
        return self.weights[: weight.numel()].view(weight.shape)


_scratch = _Scratch()


def masked_weight(weight: Tensor, bits: NDArray[np.uint8], bits_per_weight: int = 1) -> Tensor:
    """W * M (out, in) of packed bits (out, ceil(in / 8)); the weight is only read.

    At 8 bits a weight `bits` are the values (out, in), and M is values / 255. On a CPU the product
    lies in a buffer of the calling thread and is good until the thread's next call; on another
    device it is new.
    """
    if weight.device.type == "cpu":
        return multiply_into(_scratch.like(weight), weight, bits, bits_per_weight)
    if bits_per_weight == 8:
        return _expectation_into(torch.empty_like(weight), bits).mul_(weight)
    return masked_on_device(weight, on_device(bits, weight.device))


def multiply_into(
    place: Tensor, weight: Tensor, bits: NDArray[np.uint8], bits_per_weight: int = 1
) -> Tensor:
    """Write W * M into `place` (out, in), all on the CPU; `place` is returned."""
    if bits_per_weight == 8:
        return _expectation_into(place, bits).mul_(weight)
    # Converted first, and from bytes: a product of float and bool takes three times as long on a
    # CPU, and so does the conversion of bools.
    keep = unpack_keep(bits, weight.shape[1]).view(torch.uint8)
    return place.copy_(keep).mul_(weight)


def _expectation_into(place: Tensor, values: NDArray[np.uint8]) -> Tensor:
    # Moved before it is converted, so that a byte a weight crosses the bus. Divided, not multiplied
    # by 1 / 255: 255 must leave a weight as it is in every type.
    return place.copy_(on_device(values, place.device)).div_(_STEPS)


def unpack_keep(packed: NDArray[np.uint8], columns: int) -> Tensor:
    """Bits (rows, ceil(columns / 8)), little-endian in a byte, to bool (rows, columns)."""
    # A tenth of the time of the tensor operations below.
    bits = np.unpackbits(packed, axis=1, count=columns, bitorder="little")
    return torch.from_numpy(bits.view(np.bool_))


def masked_on_device(weight: Tensor, bits: Tensor) -> Tensor:
    """W * M (out, in), new, of bits (out, ceil(in / 8)) that lie on the weight's device."""
    return spread_bits(bits, weight.shape[1]).to(weight.dtype).mul_(weight)


def on_device(packed: NDArray[np.uint8], device: torch.device) -> Tensor:
    """Packed bits or values of a mask, as they are, on a device."""
    # A copy, because masks are read-only and torch has no read-only tensors.
    return torch.from_numpy(np.array(packed)).to(device)


def spread_bits(packed: Tensor, columns: int) -> Tensor:
    """Bits (rows, ceil(columns / 8)), little-endian in a byte, to bool (rows, columns)."""
    places = torch.arange(8, dtype=torch.uint8, device=packed.device)
    spread = (packed.unsqueeze(-1) >> places) & 1
    return spread.flatten(1)[:, :columns].bool()
