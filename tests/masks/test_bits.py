import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from masks import MaskValueError, count_kept, has_trailing_bits, pack_bits, unpack_bits

matrices = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, max_side=40))


@given(matrices)
def test_unpacking_undoes_packing(keep: NDArray[np.bool_]) -> None:
    packed = pack_bits(keep)
    rows, columns = keep.shape
    assert packed.dtype == np.uint8
    assert packed.shape == (rows, -(-columns // 8))
    back = unpack_bits(packed, columns)
    assert back.dtype == np.bool_
    assert np.array_equal(back, keep)
    assert not has_trailing_bits(packed, columns)
    assert count_kept(packed) == np.count_nonzero(keep)


@given(matrices, st.data())
def test_a_weight_lies_at_its_documented_bit(keep: NDArray[np.bool_], data: st.DataObject) -> None:
    row = data.draw(st.integers(0, keep.shape[0] - 1))
    column = data.draw(st.integers(0, keep.shape[1] - 1))
    byte = int(pack_bits(keep)[row, column // 8])
    assert bool(byte >> (column % 8) & 1) == keep[row, column]


@given(matrices, st.data())
def test_any_set_padding_bit_is_seen(keep: NDArray[np.bool_], data: st.DataObject) -> None:
    packed = pack_bits(keep)
    rows, columns = keep.shape
    if columns % 8 == 0:
        assert not has_trailing_bits(np.full_like(packed, 255), columns)
        return
    row = data.draw(st.integers(0, rows - 1))
    bit = data.draw(st.integers(columns % 8, 7))
    packed[row, -1] |= 1 << bit
    assert has_trailing_bits(packed, columns)
    assert np.array_equal(unpack_bits(packed, columns), keep)


@pytest.mark.parametrize("shape", [(0, 4), (4, 0), (4,), (2, 2, 2)])
def test_only_matrices_with_weights_are_packed(shape: tuple[int, ...]) -> None:
    with pytest.raises(MaskValueError, match="rows and columns"):
        pack_bits(np.zeros(shape, np.bool_))


def test_only_booleans_are_packed() -> None:
    with pytest.raises(MaskValueError, match="float32"):
        pack_bits(np.ones((2, 2), np.float32))


@pytest.mark.parametrize("columns", [-1, 0, 8, 17])
def test_unpacking_wants_the_right_columns(columns: int) -> None:
    with pytest.raises(MaskValueError, match="pack into"):
        unpack_bits(np.zeros((2, 2), np.uint8), columns)


def test_unpacking_wants_bytes() -> None:
    with pytest.raises(MaskValueError, match="int64"):
        unpack_bits(np.zeros((2, 2), np.int64), 16)
