// Blocks of W (blocked.h) against rows of X by the tiles of AMX: two tiles of up to 16 rows of X meet
// two of W, which are 16 steps of two blocks each, as they lie. Under a mask the tiles of W are put
// down with what it drops as zeros, one ahead of the products, and read from there.

#pragma once

#include "amx.h"
#include "blocks.h"

namespace {

constexpr int kTileSteps = 16;
constexpr int kTileRows = 16;  // of X
constexpr long kTileBytes = kTileSteps * kVectorBytes;
constexpr int kTileDepth = kTileSteps * kStep;  // columns
constexpr int kTiles = 2;                       // of X that meet two of W

// Registers: sums of tile r of X and block b, tiles of X, tiles of W.
constexpr int kSums = 0;
constexpr int kX = 4;
constexpr int kW = 6;

template <int Tile, int Block>
RELATA_INLINE void multiply() {
#if RELATA_BLOCKED == RELATA_INT8
  multiply_fours<kSums + 2 * Tile + Block, kX + Tile, kW + Block>();
#else
  multiply_pairs<kSums + 2 * Tile + Block, kX + Tile, kW + Block>();
#endif
}

// What a thread multiplies with.
class Worker {
 public:
  Worker() = default;
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;
  ~Worker() {
    if (shaped_[0]) release_tiles();
  }

  // Rows `first` to `last` of X, all under one mask, against two blocks of W.
  template <bool Masked, bool Sums>
  void meet(const Product& p, long first, long last, long block, const Mask& mask) {
    const long block_bytes = p.depth / kStep * kVectorBytes;
    const char* w[kBlocks] = {p.w + block * block_bytes, p.w + (block + 1) * block_bytes};
    constexpr long kMost = kTiles * kTileRows;
    long passes = (last - first + kMost - 1) / kMost;
    bool masked = Masked;
    // What is masked for the first rows is kept for those that follow.
    const bool again = passes > 1;
    for (; passes > 0; --passes) {
      const long rows = (last - first + passes - 1) / passes;
      const bool two = rows > kTileRows;
      // Halves, unless one tile has them all.
      const long upper = two ? (rows + 1) / 2 : rows;
      shape(int(upper), int(rows - upper));
      if (masked)
        two ? pass<2, Masked, Sums>(p, first, upper, rows, w, block, mask, again)
            : pass<1, Masked, Sums>(p, first, upper, rows, w, block, mask, again);
      else
        two ? pass<2, false, false>(p, first, upper, rows, w, block, mask, false)
            : pass<1, false, false>(p, first, upper, rows, w, block, mask, false);
      first += rows;
      if (masked)
        for (int b = 0; b < kBlocks; ++b) w[b] = masked_[b];
      masked = false;
    }
  }

 private:
  // Tiles of X of so many rows, the second perhaps of none.
  void shape(int upper, int lower) {
    if (shaped_[0] == upper && shaped_[1] == lower) return;
    TileShapes shapes;
    const int rows[kTiles] = {upper, lower};
    for (int r = 0; r < kTiles; ++r) {
      const uint16_t bytes = rows[r] ? 64 : 0;
      const int of_x[] = {kSums + 2 * r, kSums + 2 * r + 1, kX + r};
      for (int tile : of_x) {
        shapes.rows[tile] = uint8_t(rows[r]);
        shapes.row_bytes[tile] = bytes;
      }
    }
    for (int b = 0; b < kBlocks; ++b) {
      shapes.rows[kW + b] = kTileSteps;
      shapes.row_bytes[kW + b] = 64;
    }
    shape_tiles(shapes);
    shaped_[0] = upper;
    shaped_[1] = lower;
  }

  // Puts the t-th tiles of both blocks down under a mask; to `own` the weights that it keeps, summed.
  template <bool Sums>
  RELATA_INLINE void put_down(const char* const* w, long t, long place, const Mask& mask,
                              [[maybe_unused]] Sum* own) {
#pragma GCC unroll 2
    for (int b = 0; b < kBlocks; ++b) {
#pragma GCC unroll 16
      for (long s = 0; s < kTileSteps; ++s) {
        const Kept kept = mask.kept[b][t * kTileSteps + s];
        const __m512i weights = weights_at(w[b] + t * kTileBytes + s * kVectorBytes, kept);
#if RELATA_BLOCKED == RELATA_INT8
        if (Sums) own[b] = add(own[b], _mm512_set1_epi8(char(kRaised)), weights);
#endif
        _mm512_store_si512(masked_[b] + place * kTileBytes + s * kVectorBytes, weights);
      }
    }
  }

  // `rows` rows of X from `row` on, `upper` of them in the first of Tiles tiles, against the blocks
  // w. With `again` all that is masked is kept, without it what is needed next.
  template <int Tiles, bool Masked, bool Sums>
  __attribute__((noinline)) void pass(const Product& p, long row, long upper, long rows,
                                      const char* const* w, long block, const Mask& mask,
                                      bool again) {
    const long tiles = p.depth / kTileDepth;
    const long x_bytes = p.depth * sizeof(Prepared);
    const char* const x = reinterpret_cast<const char*>(p.x) + row * x_bytes;
    Sum own[kBlocks] = {};
    clear_tile<kSums>();
    clear_tile<kSums + 1>();
    if (Tiles > 1) {
      clear_tile<kSums + 2>();
      clear_tile<kSums + 3>();
    }
    if (Masked) put_down<Sums>(w, 0, 0, mask, own);
    for (long t = 0; t < tiles; ++t) {
      if (Masked && t + 1 < tiles) put_down<Sums>(w, t + 1, again ? t + 1 : (t + 1) % 2, mask, own);
      const long place = !Masked || again ? t : t % 2;
      load_tile<kW>((Masked ? masked_[0] : w[0]) + place * kTileBytes, kVectorBytes);
      load_tile<kW + 1>((Masked ? masked_[1] : w[1]) + place * kTileBytes, kVectorBytes);
      load_tile<kX>(x + t * 64, x_bytes);
      multiply<0, 0>();
      multiply<0, 1>();
      if (Tiles > 1) {
        load_tile<kX + 1>(x + upper * x_bytes + t * 64, x_bytes);
        multiply<1, 0>();
        multiply<1, 1>();
      }
    }
    alignas(64) Sum sums[kBlocks][kTiles * kTileRows];
    store_tile<kSums>(sums[0], sizeof(Sum));
    store_tile<kSums + 1>(sums[1], sizeof(Sum));
    if (Tiles > 1) {
      store_tile<kSums + 2>(sums[0] + upper, sizeof(Sum));
      store_tile<kSums + 3>(sums[1] + upper, sizeof(Sum));
    }
    for (int b = 0; b < kBlocks; ++b) {
      int32_t* const raised = mask.sums + b * kLanes;
#if RELATA_BLOCKED == RELATA_INT8
      if (Sums) _mm512_storeu_si512(raised, own[b]);
#endif
      const Columns columns = columns_of(p, block + b, raised);
      for (long r = 0; r < rows; ++r) put(p, row + r, columns, sums[b][r]);
    }
  }

  int shaped_[kTiles] = {};  // rows that the tiles of X have now
  alignas(64) char masked_[kBlocks][kMostDepth / kStep * kVectorBytes];
};

}  // namespace
