// Blocks of W (blocked.h) against rows of X by vectors of AVX-512: two blocks meet up to kTileRows
// rows of X at a time, whose steps are broadcast to all lanes, so that no sum has to be gathered from
// lanes. A mask's bits are operands of the instructions that load the weights.

#pragma once

#include "blocks.h"

namespace {

constexpr int kTileRows = 12;  // of X: 24 sums, and what they are made of, fill 32 registers

RELATA_INLINE __m512i step_at(const Prepared* x) {
  int32_t step;
  __builtin_memcpy(&step, x, 4);
  return _mm512_set1_epi32(step);
}

// Sums that a row and a block add up to, each of every so manieth step: with few rows a product would
// wait for the one before it.
constexpr int chains_of(int rows) { return rows == 1 ? 4 : rows == 2 ? 2 : 1; }

// Rows of X from `row` on against two blocks of W; with Sums, the mask's sums are made on the way.
template <int Rows, bool Masked, bool Sums>
__attribute__((noinline)) void tile(const Product& p, long row, long block, const Mask& mask) {
  constexpr int kChains = chains_of(Rows);  // divides all numbers of steps
  const long steps = p.depth / kStep;
  const char* w[kBlocks];
  for (int b = 0; b < kBlocks; ++b) w[b] = p.w + (block + b) * steps * kVectorBytes;
  const Prepared* x = p.x + row * p.depth;
  Sum sums[Rows][kBlocks] = {};
  Sum more[kChains][Rows][kBlocks] = {};  // the first one is not used
#if RELATA_BLOCKED == RELATA_INT8
  Sum own[kBlocks] = {};
#endif
  for (long first = 0; first < steps; first += kChains)
#pragma GCC unroll 4
    for (int c = 0; c < kChains; ++c) {
      const long s = first + c;
      __m512i weights[kBlocks];
      for (int b = 0; b < kBlocks; ++b)
        weights[b] =
            weights_at(w[b] + s * kVectorBytes, Masked ? mask.kept[b][s] : Kept(~Kept(0)));
#if RELATA_BLOCKED == RELATA_INT8
      if (Sums)
        for (int b = 0; b < kBlocks; ++b)
          own[b] = add(own[b], _mm512_set1_epi8(char(kRaised)), weights[b]);
#endif
#pragma GCC unroll 12
      for (int r = 0; r < Rows; ++r) {
        const __m512i step = step_at(x + r * p.depth + s * kStep);
#pragma GCC unroll 2
        for (int b = 0; b < kBlocks; ++b) {
          Sum& sum = c ? more[c][r][b] : sums[r][b];
          sum = add(sum, step, weights[b]);
        }
      }
    }
#pragma GCC unroll 4
  for (int c = 1; c < kChains; ++c)
#pragma GCC unroll 2
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 2
      for (int b = 0; b < kBlocks; ++b) sums[r][b] = together(sums[r][b], more[c][r][b]);
  // All loops over sums are unrolled: an index that is no constant would keep them in memory. And
  // they are held in registers up to here: gcc would else store each of them at every step.
#pragma GCC unroll 12
  for (int r = 0; r < Rows; ++r) __asm__("" : "+v"(sums[r][0]), "+v"(sums[r][1]));
#pragma GCC unroll 2
  for (int b = 0; b < kBlocks; ++b) {
    int32_t* const raised = mask.sums + b * kLanes;
#if RELATA_BLOCKED == RELATA_INT8
    if (Sums) _mm512_storeu_si512(raised, own[b]);
#endif
    const Columns columns = columns_of(p, block + b, raised);
#pragma GCC unroll 12
    for (int r = 0; r < Rows; ++r) put(p, row + r, columns, sums[r][b]);
  }
}

template <int Rows, bool Masked, bool Sums>
RELATA_INLINE void tile_of(int rows, const Product& p, long row, long block, const Mask& mask) {
  if (rows == Rows)
    tile<Rows, Masked, Sums>(p, row, block, mask);
  else if constexpr (Rows > 1)
    tile_of<Rows - 1, Masked, Sums>(rows, p, row, block, mask);
}

// What a thread multiplies with.
struct Worker {
  // Rows `first` to `last` of X, all under one mask, against two blocks of W.
  template <bool Masked, bool Sums>
  void meet(const Product& p, long first, long last, long block, const Mask& mask) {
    // Tiles of about the same size: one of a single row would take half as long as one of twelve.
    for (long tiles = (last - first + kTileRows - 1) / kTileRows; tiles > 0; --tiles) {
      const long rows = (last - first + tiles - 1) / tiles;
      tile_of<kTileRows, Masked, Sums>(int(rows), p, first, block, mask);
      first += rows;
      if (Sums) return meet<Masked, false>(p, first, last, block, mask);
    }
  }
};

}  // namespace
