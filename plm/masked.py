"""The base's weights under a mask, for the layers that the mask covers."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from masks import MaskMismatchError, PackedMask
from plm.affine import AnyLinear, BlockedLinear, Linear, MaskedLinear, PlainLinear
from plm.architectures import MaskableWeight, Role
from plm.base import BaseModel
from plm.device_masks import DeviceMasks
from plm.layers import LayerWeights
from plm.unpacking import multiply_into


@dataclass(frozen=True, eq=False)
class MaskedLayers:
    """Layers of one mask set.

    Attributes:
        digest: the mask's.
        first: first layer that the mask covers, counted from 1.
        last: last layer that it covers.
        layers: weights of layers `first` to `last`; what a mask never covers (biases, norms) is
            the base's own, not a copy.
        byte_size: bytes of the matrices made for this mask; 0 where they are made at each use.
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


def covered(base: BaseModel, shapes: Mapping[str, tuple[int, int]]) -> tuple[MaskableWeight, ...]:
    """The matrices that a mask of these shapes covers, in their order.

    Raises:
        MaskMismatchError: there is none, one that the base does not have, or one of another shape.
    """
    found = []
    for name, shape in shapes.items():
        place = base.maskable.get(name)
        if place is None:
            raise MaskMismatchError(f"the mask covers {name}, which {base.name} does not have")
        old = _linear_at(base, place)
        if old.shape != tuple(shape):
            raise MaskMismatchError(
                f"the mask has shape {tuple(shape)} for {name}; {base.name} has {old.shape}"
            )
        found.append(place)
    if not found:
        raise MaskMismatchError("the mask covers no matrix")
    return tuple(found)


def masked_layers(
    base: BaseModel,
    mask: PackedMask,
    *,
    native: bool = True,
    device_masks: DeviceMasks | None = None,
) -> MaskedLayers:
    """The layers of a mask, whose bits (or values) meet the weights at each use.

    Takes no memory of its own: thousands of masks cost their bits. `native` lets the native kernel
    apply them where it can; elsewhere, and always at 8 bits a weight, W * M is made in memory that
    all masks share. `device_masks` has the bits of masks of one bit a weight where the weights are;
    without it they are sent there when they are used.

    Raises:
        MaskMismatchError: another base, no matrix, a matrix that this base does not have, or one
            of another shape.
    """
    check_belongs(base, mask)
    sent: Mapping[str, Tensor] = {}
    if device_masks is not None and mask.bits_per_weight == 1:
        sent = device_masks.bits_of(mask)
    by_layer: dict[int, dict[Role, AnyLinear]] = {}
    for place in covered(base, mask.shapes):
        name = place.name
        masked = MaskedLinear(
            _linear_at(base, place),
            mask.packed,
            name,
            native,
            mask.bits_per_weight,
            sent.get(name),
        )
        by_layer.setdefault(place.layer, {})[place.role] = masked
    first, last = min(by_layer), max(by_layer)
    layers = tuple(
        base.layers[number - 1].with_linears(by_layer.get(number, {}))
        for number in range(first, last + 1)
    )
    return MaskedLayers(mask.digest, first, last, layers, 0)


def materialise(
    base: BaseModel, mask: PackedMask, *, device_masks: DeviceMasks | None = None
) -> MaskedLayers:
    """Make W * M of every matrix the mask covers, on the base's device and in its dtype, to keep.

    The base's weights are only read. Bits are unpacked on the device, so that no more than the
    mask itself crosses the bus.

    Raises:
        MaskMismatchError: as `masked_layers` does.
    """
    masked = masked_layers(base, mask, device_masks=device_masks)
    layers = tuple(_materialised(layer) for layer in masked.layers)
    dense = sum(rows * columns for rows, columns in mask.shapes.values())
    return MaskedLayers(
        masked.digest, masked.first, masked.last, layers, dense * base.dtype.itemsize
    )


def _materialised(layer: LayerWeights) -> LayerWeights:
    return layer.with_linears(
        {
            role: Linear(_kept(part), part.bias)
            for role, part in layer.linears()
            if isinstance(part, MaskedLinear)
        }
    )


def _kept(part: MaskedLinear) -> Tensor:
    # A matrix that is held in blocks is made for this alone, and not kept beside them.
    base = part.base
    weight = base.dense() if isinstance(base, BlockedLinear) else base.weight
    if weight.device.type == "cpu":
        return multiply_into(torch.empty_like(weight), weight, part.bits, part.bits_per_weight)
    return part.weight


def _linear_at(base: BaseModel, place: MaskableWeight) -> PlainLinear:
    part = base.layers[place.layer - 1].linear(place.role)
    if isinstance(part, MaskedLinear):
        raise TypeError(f"{place.name} of the base is under a mask already")
    return part
