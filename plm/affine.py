"""Affine maps as a model's layers hold them; `plm.linear` applies them.

A weight is held once, in the form that its products read: another one is made of it when somebody
asks for that, as masks of eight bits a weight do; those of one bit do not.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plm.cuda import LaunchPlan
from plm.native import BlockedWeight, SetAddresses, address_of, blocked_kernel, kernel
from plm.unpacking import masked_on_device, masked_weight, on_device

# Types that the kernel of blocks alone computes products of float32 states and weights in.
BLOCKED = (torch.bfloat16, torch.int8)


@dataclass(frozen=True, eq=False)
class Linear:
    """An affine map of a dense weight.

    Attributes:
        weight: (out, in).
        bias: (out,), or None.
        half: the weight in float16 where that has the same values and the native kernel reads it,
            in half the time; None elsewhere.
    """

    weight: Tensor
    bias: Tensor | None
    half: Tensor | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(out, in)."""
        rows, columns = self.weight.shape
        return rows, columns

    def only(self, rows: Tensor) -> "Linear":
        """The map to some of the outputs alone, (K,) long."""
        return Linear(self.weight[rows], None if self.bias is None else self.bias[rows])


@dataclass(frozen=True, eq=False)
class BlockedLinear:
    """An affine map of float32 states whose products the kernel of blocks does.

    Attributes:
        blocked: the weight in the order of the kernel.
        bias: (out,), or None.
        original: the weight, float32 or float16, where the blocks round it or another part of the
            model holds it anyway; None: the blocks are all there is of it.
    """

    blocked: BlockedWeight
    bias: Tensor | None
    original: Tensor | None

    @property
    def shape(self) -> tuple[int, int]:
        """(out, in)."""
        return self.blocked.shape

    @cached_property
    def weight(self) -> Tensor:
        """(out, in) in float32; made when it is first asked for, and kept from then on."""
        # A tensor made in inference mode would take part in no gradient.
        with torch.inference_mode(mode=False):
            return self.dense()

    def dense(self) -> Tensor:
        """The same made anew, for who does not want it kept."""
        return self.blocked.dense() if self.original is None else self.original.float()

    def only(self, rows: Tensor) -> Linear:
        """The map to some of the outputs alone, (K,) long."""
        held = self.original
        weight = self.blocked.rows(rows) if held is None else held[rows].float()
        return Linear(weight, None if self.bias is None else self.bias[rows])


@dataclass(frozen=True, eq=False)
class PlannedLinear(Linear):
    """A dense map on a GPU under the masks that a plan names, for launches recorded in a graph.

    Attributes:
        plan: of the launch.
    """

    plan: LaunchPlan = field(kw_only=True)


@dataclass(frozen=True, eq=False)
class GroupedLinear(BlockedLinear):
    """A map in blocks under the masks of a whole pass, each for its own rows.

    Attributes:
        where: the bits of each mask set lie.
    """

    where: SetAddresses = field(kw_only=True)


PlainLinear = Linear | BlockedLinear


@dataclass(frozen=True, eq=False)
class MaskedLinear:
    """An affine map whose matrix W * M is made when it is needed, and not kept.

    Attributes:
        base: the affine map without a mask.
        packed: bits of matrices by name, as a mask has them.
        name: of the matrix.
        native: whether a native kernel may apply it where it can.
        bits_per_weight: 1 or 8.
        sent: its bits, where they lie on the device of the weights already.
    """

    base: PlainLinear
    packed: Mapping[str, NDArray[np.uint8]]
    name: str
    native: bool = True
    bits_per_weight: int = 1
    sent: Tensor | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(out, in)."""
        return self.base.shape

    @cached_property
    def bits(self) -> NDArray[np.uint8]:
        """(out, ceil(in / 8)), M packed little-endian.

        At 8 bits a weight (out, in), the values of which M is a 255th.
        """
        return self.packed[self.name]

    @cached_property
    def device_bits(self) -> Tensor:
        """The bits on the device of the weights; they stay there as long as this does."""
        return on_device(self.bits, self.base.weight.device) if self.sent is None else self.sent

    @cached_property
    def address(self) -> int:
        """Of the first byte of the bits."""
        return address_of(self.bits)

    @cached_property
    def from_bits(self) -> bool:
        """Whether a native kernel may apply it: they know one bit a weight alone."""
        return self.native and self.bits_per_weight == 1

    @property
    def bias(self) -> Tensor | None:
        """(out,), or None."""
        return self.base.bias

    @property
    def weight(self) -> Tensor:
        """W * M (out, in), good until this thread makes the next one."""
        weight = self.base.weight
        if weight.is_cuda and self.bits_per_weight == 1:
            # From the bits that are there: nothing crosses the bus.
            return masked_on_device(weight, self.device_bits)
        return masked_weight(weight, self.bits, self.bits_per_weight)


AnyLinear = PlainLinear | MaskedLinear


def narrowed(weight: Tensor) -> Tensor:
    """A matrix in float16 if that has the same values, as published ones often do; else itself."""
    half = weight.half()
    return half if torch.equal(half.to(weight.dtype), weight) else weight


def resident(
    weight: Tensor, bias: Tensor | None, products: torch.dtype, *, shared: bool = False
) -> PlainLinear:
    """An affine map as it is held for products in a type: its weight's own, or one of `BLOCKED`.

    A weight `narrowed` to float16 is meant for products in float32: read as it is by kernels that
    can, else widened. `shared` if the weight is held by another part of the model too: in float32
    it is left as it is then, and in float16, where they take half as much, held in blocks besides.

    Raises:
        ValueError: no kernel here has products in that type, or none of a matrix of this depth.
    """
    blocks = blocked_kernel()
    if products in BLOCKED and weight.dtype != products:
        if blocks is None:
            raise ValueError(f"this processor has no products in {products}")
        return BlockedLinear(blocks.pack(weight, products), bias, weight)
    narrow = weight.dtype == torch.float16
    if products != torch.float32 or not (narrow or weight.dtype == torch.float32):
        return Linear(weight, bias)
    if blocks is not None and blocks.takes(weight, weight.dtype) and (narrow or not shared):
        packed = blocks.pack(weight, weight.dtype)
        return BlockedLinear(packed, bias, weight if shared else None)
    if not narrow:
        return Linear(weight, bias)
    whole, run = weight.float(), kernel()
    read = run is not None and run.reads_half and run.takes(whole, whole)
    return Linear(whole, bias, weight if read else None)
