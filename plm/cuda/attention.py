"""Attention of sentences that lie end to end, without padding, in one launch.

Importing this module imports Triton; `plm.cuda.loading` does so where there is one. A program makes
one tile of the output: some queries of one sentence, one head. Keys come a block at a time, and the
softmax is kept up to date as they come (Milakov and Gimelshein 2018; Dao et al. 2022), so that
scores never lie in memory.
"""

import triton
import triton.language as tl


# As of masked linears.
@triton.jit(  # type: ignore[untyped-decorator]  # Triton's own types are not Python's
    do_not_specialize_on_alignment=["starts", "query_starts"]
)
def attention(  # type: ignore[no-untyped-def]
    query,  # (queries, HEADS * HEAD)
    key,  # (keys, HEADS * HEAD)
    value,  # (keys, HEADS * HEAD)
    output,  # (queries, HEADS * HEAD)
    starts,  # (sentences + 1,): where the keys of each sentence begin
    query_starts,  # (sentences + 1,): where its queries do
    scale,
    HEADS: tl.constexpr,
    HEAD: tl.constexpr,
    DEPTH: tl.constexpr,  # HEAD, or the next power of two
    QUERIES: tl.constexpr,
    KEYS: tl.constexpr,
    BLOCKS: tl.constexpr,  # of KEYS keys, enough for the longest sentence
):
    """One tile of the output, (QUERIES, HEAD); nothing where the sentence has fewer queries."""
    sentence = tl.program_id(0)
    head = tl.program_id(1)
    first = tl.load(query_starts + sentence) + tl.program_id(2) * QUERIES
    end = tl.load(query_starts + sentence + 1)
    if first < end:
        rows = first + tl.arange(0, QUERIES)
        places = tl.arange(0, DEPTH)
        inside = places < HEAD
        at = (rows * (HEADS * HEAD))[:, None] + (head * HEAD + places)[None, :]
        there = (rows < end)[:, None] & inside[None, :]
        asked = tl.load(query + at, mask=there, other=0.0)
        most = tl.full((QUERIES,), float("-inf"), dtype=tl.float32)
        total = tl.zeros((QUERIES,), dtype=tl.float32)
        sums = tl.zeros((QUERIES, DEPTH), dtype=tl.float32)
        start = tl.load(starts + sentence)
        last = tl.load(starts + sentence + 1)
        for block in range(BLOCKS):
            # A block that is looked at has a key, so that its largest score is finite.
            if start + block * KEYS < last:
                keys = start + block * KEYS + tl.arange(0, KEYS)
                real = keys < last
                at_key = (keys * (HEADS * HEAD))[:, None] + (head * HEAD + places)[None, :]
                there_key = real[:, None] & inside[None, :]
                told = tl.load(key + at_key, mask=there_key, other=0.0)
                scores = tl.dot(asked, tl.trans(told), input_precision="ieee") * scale
                scores = tl.where(real[None, :], scores, float("-inf"))
                newest = tl.maximum(most, tl.max(scores, 1))
                shares = tl.exp(scores - newest[:, None])
                shrunk = tl.exp(most - newest)
                total = total * shrunk + tl.sum(shares, 1)
                given = tl.load(value + at_key, mask=there_key, other=0.0)
                sums = sums * shrunk[:, None]
                sums += tl.dot(shares.to(given.dtype), given, input_precision="ieee")
                most = newest
        sums = sums / total[:, None]
        tl.store(output + at, sums.to(output.dtype.element_ty), mask=there)
