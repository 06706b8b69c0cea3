"""The base's weights under a mask: W * M as dense matrices, for the layers that the mask covers."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from masks import MaskMismatchError, PackedMask
from plm.architectures import Role, maskable_weights
from plm.base import BaseModel
from plm.layers import LayerWeights


@dataclass(frozen=True, eq=False)
class MaskedLayers:
    """Layers of one mask set.

    Attributes:
        digest: the mask's.
        first: first layer that the mask covers, counted from 1.
        last: last layer that it covers.
        layers: weights of layers `first` to `last`; what a mask never covers (biases, norms) is
            the base's own, not a copy.
        byte_size: bytes of the matrices made for this mask.
    """

    digest: str
    first: int
    last: int
    layers: tuple[LayerWeights, ...]
    byte_size: int

    def layer(self, base: BaseModel, number: int) -> LayerWeights:
        """Weights of a layer, counted from 1: masked if the mask covers it, else the base's."""
        if self.first <= number <= self.last:
            return self.layers[number - self.first]
        return base.layers[number - 1]


def check_belongs(base: BaseModel, mask: PackedMask) -> None:
    """Refuse a mask of another base.

    Raises:
        MaskMismatchError: the digests differ; the message names both.
    """
    if mask.base_digest != base.digest:
        raise MaskMismatchError(
            f"the mask was made for base {mask.base_digest}, but the loaded base {base.name} is "
            f"{base.digest}; load that base, or a mask made for this one"
        )


def materialise(base: BaseModel, mask: PackedMask) -> MaskedLayers:
    """Make W * M of every matrix the mask covers, on the base's device and in its dtype.

    The base's weights are only read. Bits are unpacked on the device, so that one bit a weight
    crosses the bus.

    Raises:
        MaskMismatchError: another base, no matrix, a matrix that this base does not have, or one
            of another shape.
    """
    check_belongs(base, mask)
    places = {
        weight.name: weight for weight in maskable_weights(base.architecture, 1, base.layer_count)
    }
    by_layer: dict[int, dict[Role, Tensor]] = {}
    for name, shape in mask.shapes.items():
        if name not in places:
            raise MaskMismatchError(f"the mask covers {name}, which {base.name} does not have")
        weight = base.weight(name)
        if tuple(weight.shape) != tuple(shape):
            raise MaskMismatchError(
                f"the mask has shape {tuple(shape)} for {name}; {base.name} has "
                f"{tuple(weight.shape)}"
            )
        place = places[name]
        keep = unpack_keep(mask.packed[name], shape[1], weight.device)
        # Converted first: a product of float and bool takes three times as long on a CPU.
        by_layer.setdefault(place.layer, {})[place.role] = keep.to(weight.dtype).mul_(weight)
    if not by_layer:
        raise MaskMismatchError("the mask covers no matrix")
    first, last = min(by_layer), max(by_layer)
    return MaskedLayers(
        digest=mask.digest,
        first=first,
        last=last,
        layers=tuple(
            base.layers[number - 1].with_weights(by_layer.get(number, {}))
            for number in range(first, last + 1)
        ),
        byte_size=sum(
            weight.nbytes for weights in by_layer.values() for weight in weights.values()
        ),
    )


def unpack_keep(packed: NDArray[np.uint8], columns: int, device: torch.device) -> Tensor:
    """Bits (rows, ceil(columns / 8)), little-endian in a byte, to bool (rows, columns)."""
    if device.type == "cpu":
        # A tenth of the time of the tensor operations below.
        bits = np.unpackbits(packed, axis=1, count=columns, bitorder="little")
        return torch.from_numpy(bits.view(np.bool_))
    return unpack_on_device(packed, columns, device)


def unpack_on_device(packed: NDArray[np.uint8], columns: int, device: torch.device) -> Tensor:
    """The same by tensor operations, so that only the packed bits travel to the device."""
    # A copy, because masks are read-only and torch has no read-only tensors.
    packed_bits = torch.from_numpy(np.array(packed)).to(device)
    places = torch.arange(8, dtype=torch.uint8, device=device)
    spread = (packed_bits.unsqueeze(-1) >> places) & 1
    return spread.flatten(1)[:, :columns].bool()
