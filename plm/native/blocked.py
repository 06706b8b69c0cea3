"""Products of weights that lie in the kernel's own order; the twin of each is in `plm.linear`."""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from plm.native.mask_sets import Bits, SetAddresses, mask_sets, starts_of

# Rows of W in a block, and in the two blocks that are read together, as blocked.h has them.
_BLOCK = 16
_TOGETHER = 32
_MOST_DEPTH = 8192
_LARGEST = 127  # of an integer
_RAISED = 128  # as blocked.h has it
# The type of each kind of weights; those that end so are multiplied by the tiles of AMX.
_TILES = "_amx"
_TYPES = {
    "single": torch.float32,
    "half": torch.float16,
    "bfloat16": torch.bfloat16,
    "int8": torch.int8,
}
# As blocked.h has it: what a sum that nobody has made yet is.
UNKNOWN = -(2**31)
# Products of these are of states as they are.
_SINGLE = (torch.float32, torch.float16)
# Weights of a row that stand in 32 bits of a vector.
_STEPS = {torch.float32: 1, torch.float16: 1, torch.bfloat16: 2, torch.int8: 4}


@dataclass(frozen=True, eq=False)
class BlockedWeight:
    """A matrix (out, in) in the order in which `blocked.h` reads it.

    Attributes:
        shape: (out, in).
        blocks: (blocks, in / step, 16, step) of float32, float16, bfloat16 or int8; zeros after
            the last.
        scales: what one of row i's integers stands for, (out,); None for other types.
        sums: 128 times the sum of row i's integers, int32, zeros after the last; None likewise.
    """

    shape: tuple[int, int]
    blocks: Tensor
    scales: Tensor | None
    sums: Tensor | None = None

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights; products of float16 are computed in float32."""
        return self.blocks.dtype

    def rows(self, rows: Tensor) -> Tensor:
        """Some rows (K,) of the matrix that the blocks stand for, float32 (K, in)."""
        weight = self.blocks[rows // _BLOCK, :, rows % _BLOCK].reshape(len(rows), -1).float()
        return weight if self.scales is None else weight * self.scales[rows, None]

    def dense(self) -> Tensor:
        """The matrix (out, in) that the blocks stand for, float32."""
        width, depth = self.shape
        weight = self.blocks.permute(0, 2, 1, 3).reshape(-1, depth)[:width].float()
        return weight if self.scales is None else weight * self.scales[:, None]


class BlockedKernel:
    """Y = X (W * M)^T + b for rows of many mask sets in one call, on a CPU with AVX-512.

    A mask's bits are operands of the instructions that load the weights, or put down the tiles that
    AMX reads. X and Y are float32, and W is one of

    - float32, or float16 that is widened to it: a product in single precision;
    - bfloat16: X is rounded to it, and sums are in single precision;
    - int8: a row of X is rounded to 255 steps of its largest value, a row of W (once, by `pack`)
      likewise, and sums are exact.
    """

    def __init__(self, library: ctypes.CDLL, kinds: Sequence[str]) -> None:
        """Of a library, the kinds of products given; the first of those in a type is the one used.

        Raises:
            KeyError: there is no such kind.
        """
        pointer, count = ctypes.c_void_p, ctypes.c_int64
        self._kinds: dict[torch.dtype, str] = {}
        self._runs = {}
        self._columns = {}
        for kind in kinds:
            dtype = _TYPES[kind.removesuffix(_TILES)]
            if dtype in self._kinds:
                continue
            run = getattr(library, f"relata_blocked_{kind}_linear")
            run.argtypes = [*[pointer] * 3, count, *[pointer] * 8, count, count, count]
            run.restype = ctypes.c_int
            self._kinds[dtype] = kind
            self._runs[dtype] = run
            self._columns[dtype] = int(getattr(library, f"relata_blocked_{kind}_columns")())

    @property
    def dtypes(self) -> frozenset[torch.dtype]:
        """Types of weights that it multiplies."""
        return frozenset(self._runs)

    def by_tiles(self, dtype: torch.dtype) -> bool:
        """Whether products in a type that it multiplies are done by the tiles of AMX."""
        return self._kinds[dtype].endswith(_TILES)

    def takes(self, weight: Tensor, dtype: torch.dtype) -> bool:
        """Whether it multiplies a weight (out, in) in that type: on a CPU, and of such a depth."""
        return (
            dtype in self._runs
            and weight.device.type == "cpu"
            and weight.shape[1] % self._columns[dtype] == 0
            and 0 < weight.shape[1] <= _MOST_DEPTH
        )

    def pack(self, weight: Tensor, dtype: torch.dtype) -> BlockedWeight:
        """Bring a weight (out, in) into the kernel's order and into a type.

        Raises:
            ValueError: it does not take the weight in this type.
        """
        if not self.takes(weight, dtype):
            raise ValueError(f"the kernel does not take a weight {tuple(weight.shape)} in {dtype}")
        width, depth = weight.shape
        scales = None
        if dtype == torch.int8:
            weight = weight.float()
            largest = weight.abs().amax(dim=1)
            scales = torch.where(largest > 0, largest / _LARGEST, 1.0)
            weight = (weight / scales[:, None]).round_()
        weight = weight.to(dtype)
        if missing := -width % _TOGETHER:
            weight = torch.cat([weight, weight.new_zeros(missing, depth)])
        blocks = weight.view(-1, _BLOCK, depth // _STEPS[dtype], _STEPS[dtype])
        blocks = blocks.permute(0, 2, 1, 3).contiguous()
        if dtype != torch.int8:
            return BlockedWeight((width, depth), blocks, None)
        sums = _RAISED * weight.sum(dim=1, dtype=torch.int32)
        return BlockedWeight((width, depth), blocks, scales, sums)

    def __call__(
        self,
        states: Tensor,
        weight: BlockedWeight,
        bias: Tensor | None,
        bits: Bits,
        sizes: Sequence[int],
    ) -> Tensor:
        """Apply the mask `bits[i]` to the i-th block of `sizes[i]` rows of (N, in) -> (N, out).

        Args:
            states: float32 (N, in); N is the sum of the sizes.
            weight: (out, in), common to all blocks.
            bias: float32 (out,), or None.
            bits: of the weight, each; None leaves it as it is.
            sizes: rows of each block.

        Raises:
            ValueError: sizes or bits do not go with the states.
        """
        starts, addresses = mask_sets(states, bits, sizes, weight.shape)
        where = SetAddresses(ctypes.addressof(addresses), None, len(bits))
        return self._product(states, weight, bias, where, starts)

    def at(
        self,
        states: Tensor,
        weight: BlockedWeight,
        bias: Tensor | None,
        where: SetAddresses,
        sizes: tuple[int, ...],
    ) -> Tensor:
        """The same by addresses, which are not checked; `sizes` has one number for each of them.

        Raises:
            ValueError: sizes do not go with the states, or the states with the weight.
        """
        starts = starts_of(sizes)
        if len(sizes) != where.sets or starts[len(sizes)] != states.shape[0]:
            raise ValueError(f"sizes {sizes} do not go with {tuple(states.shape)}")
        return self._product(states, weight, bias, where, starts)

    def _product(
        self,
        states: Tensor,
        weight: BlockedWeight,
        bias: Tensor | None,
        where: SetAddresses,
        starts: "ctypes.Array[ctypes.c_int64]",
    ) -> Tensor:
        width, depth = weight.shape
        rows = states.shape[0]
        if states.shape[1] != depth:
            raise ValueError(f"{tuple(states.shape)} states do not go with {weight.shape} weights")
        states = states.contiguous()
        output = states.new_empty(rows, width)
        # Where the kernel puts the rows as its products read them, and what theirs stand for.
        single = weight.dtype in _SINGLE
        prepared = states if single else torch.empty_like(states, dtype=weight.dtype)
        scales = states.new_empty(0 if single else rows)
        self._runs[weight.dtype](
            states.data_ptr(),
            prepared.data_ptr(),
            scales.data_ptr(),
            where.sets,
            ctypes.addressof(starts),
            where.bits,
            None if weight.sums is None else weight.sums.data_ptr(),
            where.sums,
            weight.blocks.data_ptr(),
            None if weight.scales is None else weight.scales.data_ptr(),
            None if bias is None else bias.data_ptr(),
            output.data_ptr(),
            width,
            depth,
            torch.get_num_threads(),
        )
        return output
