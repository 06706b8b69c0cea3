"""Y = X (W * M)^T + b for rows of many mask sets in one launch, from the packed bits.

Importing this module imports Triton; `plm.cuda.loading` does so where there is one. A program makes
one tile of Y: rows of one set against columns of all depth. The tile of W is the same for all sets
and comes from the second-level cache after the first; bits select what of it stays, so that
W * M never lies in memory.
"""

import triton
import triton.language as tl


# Numbers of graphs lie end to end: for each way in which they are aligned it would be compiled.
@triton.jit(  # type: ignore[untyped-decorator]  # Triton's own types are not Python's
    do_not_specialize_on_alignment=["tiles", "addresses"]
)
def masked_linear(  # type: ignore[no-untyped-def]
    x,  # (rows, depth)
    w,  # (width, depth)
    bias,  # (width,)
    y,  # (rows, width)
    tiles,  # (tiles, 3) integers: set, first row, end of the set's rows
    addresses,  # (sets,) int64: of the set's bits, uint8 (width, bytes_a_row); 0 for no mask
    width,
    depth,
    bytes_a_row,
    HAS_BIAS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    DEPTH: tl.constexpr,
    STEPS: tl.constexpr,
):
    """One tile of Y, (ROWS, COLUMNS), STEPS steps of DEPTH one after the other."""
    tile = tl.program_id(0)
    of_set = tl.load(tiles + 3 * tile)
    first = tl.load(tiles + 3 * tile + 1)
    end = tl.load(tiles + 3 * tile + 2)
    if first < end:
        address = tl.load(addresses + of_set)
        bits = address.to(tl.pointer_type(tl.uint8))
        rows = first + tl.arange(0, ROWS)
        columns = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
        real_rows = (rows < end)[:, None]
        real_columns = columns < width
        sums = tl.zeros((ROWS, COLUMNS), dtype=tl.float32)
        for step in range(STEPS):
            places = step * DEPTH + tl.arange(0, DEPTH)
            inside = places < depth
            states = tl.load(
                x + rows[:, None] * depth + places[None, :],
                mask=real_rows & inside[None, :],
                other=0.0,
            )
            # The weights are read whole: loads that depend on bits would be of single weights.
            weights = tl.load(
                w + columns[:, None] * depth + places[None, :],
                mask=real_columns[:, None] & inside[None, :],
                other=0.0,
            )
            octets = step * (DEPTH // 8) + tl.arange(0, DEPTH // 8)
            kept = tl.load(
                bits + columns[:, None] * bytes_a_row + octets[None, :],
                mask=real_columns[:, None] & (octets < bytes_a_row)[None, :] & (address != 0),
                other=255,
            )
            kept = (kept[:, :, None] >> tl.arange(0, 8).to(tl.uint8)[None, None, :]) & 1
            kept = tl.reshape(kept, (COLUMNS, DEPTH))
            weights = tl.where(kept != 0, weights, 0.0)
            sums = tl.dot(states, tl.trans(weights), sums, input_precision="ieee")
        if HAS_BIAS:
            sums += tl.load(bias + columns, mask=real_columns, other=0.0)[None, :].to(tl.float32)
        place = y + rows[:, None] * width + columns[None, :]
        tl.store(place, sums.to(y.dtype.element_ty), mask=real_rows & real_columns[None, :])
