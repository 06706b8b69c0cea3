"""Where the native kernel of blocks finds the masks of a pass.

What it is told of a mask is looked up once for the mask, and put together once for a pass: a pass
of a hundred masks would else spend a tenth of its time on thousands of small objects.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from masks import MaskMismatchError, PackedMask
from plm.affine import BlockedLinear, GroupedLinear
from plm.architectures import ROLES, MaskableWeight, Role
from plm.base import BaseModel
from plm.layers import AddressedLayer, LayerWeights
from plm.masked import check_belongs, covered
from plm.native import UNKNOWN, SetAddresses, address_of

_LINE = 64  # bytes of a cache line
# What a table has of each matrix.
_BITS, _SUMS = 0, 1


@dataclass(frozen=True, eq=False)
class _Places:
    """Where a mask's matrices stand in its table, the same for all masks of these shapes."""

    first: int  # layer that is covered, from 1
    layers: int
    packed_shapes: Mapping[str, tuple[int, int]]
    places: NDArray[np.int64]  # of each matrix, in (layers, roles)
    offsets: NDArray[np.int64]  # of the sums of each, bytes
    sums: int  # how many there are


@dataclass(frozen=True, eq=False)
class _MaskAddresses:
    """What the kernel is told of one mask.

    Attributes:
        first: lowest layer that it covers, counted from 1.
        table: int64 (2, layers, roles), where the bits of each matrix lie, and the sums of what
            they keep; 0 where there is no mask, or no sums are needed.
        bits: the arrays at these addresses: whoever gave them may make others of the same bits.
        sums: memory of the sums, int32, which the kernel fills in.
    """

    first: int
    table: NDArray[np.int64]
    bits: tuple[NDArray[np.uint8], ...]
    sums: NDArray[np.int32]


class PassAddresses:
    """All mask sets of a pass, for the layers from the lowest masked one on.

    Attributes:
        first: the lowest masked layer, counted from 1.
    """

    def __init__(self, base: BaseModel, masks: Sequence[_MaskAddresses | None]) -> None:
        """Of the sets in their order; None: no mask. At least one has one."""
        self.first = min(mask.first for mask in masks if mask is not None)
        self._base = base
        self._masks = tuple(masks)
        nothing = np.zeros((2, base.layer_count + 1 - self.first, len(ROLES)), np.int64)
        tables = []
        for mask in masks:
            table = nothing if mask is None else mask.table
            if mask is not None and table.shape != nothing.shape:
                table, start = nothing.copy(), mask.first - self.first
                table[:, start : start + mask.table.shape[1]] = mask.table
            tables.append(table)
        self._table = np.ascontiguousarray(np.stack(tables, axis=-1))
        self._masked = self._table[_BITS].any(axis=2)
        self._address = address_of(self._table)

    def layer(self, number: int, tokens: tuple[int, ...], slots: tuple[int, ...]) -> AddressedLayer:
        """A layer, counted from 1, under the masks of the pass; good as long as this is."""
        return AddressedLayer((self._weights(number),), tokens, slots)

    def _weights(self, number: int) -> LayerWeights:
        layer = self._base.layers[number - 1]
        linears: dict[Role, GroupedLinear] = {}
        for column, (role, part) in enumerate(layer.linears()):
            if self._masked[number - self.first, column]:
                assert isinstance(part, BlockedLinear)
                where = SetAddresses(
                    self._at(_BITS, number, column),
                    None if part.blocked.sums is None else self._at(_SUMS, number, column),
                    len(self._masks),
                )
                linears[role] = GroupedLinear(part.blocked, part.bias, part.original, where=where)
        return layer.with_linears(linears)

    def _at(self, kind: int, number: int, column: int) -> int:
        place = (kind, number - self.first, column, 0)
        return self._address + int(np.ravel_multi_index(place, self._table.shape)) * 8


class AddressBook:
    """The masks of a base in blocks whose addresses are known."""

    def __init__(self, base: BaseModel) -> None:
        self._base = base
        self._known: WeakKeyDictionary[PackedMask, _MaskAddresses] = WeakKeyDictionary()
        self._places: dict[tuple[tuple[str, int, int], ...], _Places] = {}

    def of_pass(self, masks: Sequence[PackedMask | None]) -> PassAddresses:
        """The mask sets of a pass, at least one of them with a mask, of one bit a weight each.

        Raises:
            MaskMismatchError: a mask does not fit the base.
        """
        return PassAddresses(
            self._base, [None if mask is None else self._of(mask) for mask in masks]
        )

    def _of(self, mask: PackedMask) -> _MaskAddresses:
        found = self._known.get(mask)
        if found is None:
            found = self._known[mask] = self._looked_up(mask)
        return found

    def _looked_up(self, mask: PackedMask) -> _MaskAddresses:
        check_belongs(self._base, mask)
        at = self._places_of(mask.shapes)
        bits = tuple(mask.packed[name] for name in at.packed_shapes)
        for (name, shape), part in zip(at.packed_shapes.items(), bits, strict=True):
            if part.shape != shape:
                raise MaskMismatchError(
                    f"the bits of {name} have shape {part.shape}; {mask.shapes[name]} weights "
                    f"take {shape}"
                )
        table = np.zeros((2, at.layers, len(ROLES)), np.int64)
        table[_BITS].reshape(-1)[at.places] = [address_of(part) for part in bits]
        sums = np.full(at.sums + _LINE // 4 if at.sums else 0, UNKNOWN, np.int32)
        if at.sums:
            begin = -(-address_of(sums) // _LINE) * _LINE
            table[_SUMS].reshape(-1)[at.places] = begin + at.offsets
        return _MaskAddresses(at.first, table, bits, sums)

    def _places_of(self, shapes: Mapping[str, tuple[int, int]]) -> _Places:
        key = tuple((name, *shape) for name, shape in shapes.items())
        found = self._places.get(key)
        if found is None:
            found = self._places[key] = self._found_places(shapes)
        return found

    def _found_places(self, shapes: Mapping[str, tuple[int, int]]) -> _Places:
        matrices = covered(self._base, shapes)
        layers = [matrix.layer for matrix in matrices]
        first = min(layers)
        places = [(m.layer - first) * len(ROLES) + ROLES.index(m.role) for m in matrices]
        ends = np.cumsum([0, *(self._sums_of(matrix) for matrix in matrices)])
        return _Places(
            first,
            max(layers) + 1 - first,
            {name: (shape[0], -(-shape[1] // 8)) for name, shape in shapes.items()},
            np.array(places),
            4 * ends[:-1],
            int(ends[-1]),
        )

    def _sums_of(self, matrix: MaskableWeight) -> int:
        """How many sums the kernel keeps of a matrix: as many as of the whole one."""
        part = self._base.layers[matrix.layer - 1].linear(matrix.role)
        assert isinstance(part, BlockedLinear)
        return 0 if part.blocked.sums is None else len(part.blocked.sums)
