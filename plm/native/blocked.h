// Y = X (W * M)^T + b from weights that lie in the order in which they are read, for processors with
// AVX-512: a mask's bits are operands of the instructions that load the weights. W * M is not made, but
// for tiles of AMX (tiles.h).
//
// W is cut into blocks of 16 rows, and a block into steps: each of the 16 lanes of a vector holds a
// step of its row, which is one float32 or float16, two bfloat16 or four int8. 16 vectors of bfloat16 or int8
// are what AMX takes as a tile, too. The bits of a mask lie row by row; for each set those of two
// blocks are brought into the order of the steps, in a few instructions for 16 of them.
//
// Who includes this defines RELATA_BLOCKED, the kind of W (kinds.h), RELATA_NAME (the names of its
// functions) and, for AMX, RELATA_TILES. Compiled with OpenMP but not linked with it, see
// masked_linear.h.

#pragma once

#include <cstdint>

#include "blocks.h"
#include "ordered_bits.h"
#if defined(RELATA_TILES)
#include "tiles.h"
#else
#include "lanes.h"
#endif

namespace {

constexpr int kAllRows = 96;  // rows of X that a thread takes at least, if there are many

// Bits that are wanted next: those of a set for two blocks are too few for a processor to foresee.
// To the second-level cache: in the first they would take the place of the blocks.
void fetch(const uint8_t* bits, long bytes) {
  constexpr int kRead = 0, kSecond = 2;
  for (long from = 0; from < bytes; from += 64) __builtin_prefetch(bits + from, kRead, kSecond);
}

#if RELATA_BLOCKED == RELATA_INT8
constexpr int32_t kUnknown = INT32_MIN;  // which no sum is

// Of two blocks; another thread may be writing them, and writes the same.
bool all_known(const int32_t* sums) {
  const __m512i unknown = _mm512_set1_epi32(kUnknown);
  return !(_mm512_cmpeq_epi32_mask(_mm512_loadu_si512(sums), unknown) |
           _mm512_cmpeq_epi32_mask(_mm512_loadu_si512(sums + kLanes), unknown));
}
#endif

}  // namespace

// x (rows, depth) and y (rows, width) are contiguous, rows being starts[sets]; prepared (rows, depth)
// and x_scales (rows,) are to work in, and not looked at for weights in single or half precision. w holds the
// blocks, an even number of them, and w_scales (width,) what one of an integer stands for; starts has
// sets + 1 entries, the first row of each set and the number of rows; bits[i] is null for a set
// without a mask. sums, of int8 alone, is kRaised times the sum of each row of the blocks; mask_sums[i]
// is the same of what the mask keeps, or null where nobody keeps it: numbers that are kUnknown are
// filled in. 0, or -1 where depth is no multiple of relata_blocked_..._columns or too large.
extern "C" int RELATA_NAME(linear)(const float* x, [[maybe_unused]] void* prepared,
                                   [[maybe_unused]] float* x_scales, int64_t sets,
                                   const int64_t* starts, const uint8_t* const* bits,
                                   [[maybe_unused]] const int32_t* sums,
                                   [[maybe_unused]] int32_t* const* mask_sums, const void* w,
                                   const float* w_scales, const float* bias, float* y,
                                   int64_t width, int64_t depth, int64_t threads) {
  if (depth % kWord || depth <= 0 || depth > kMostDepth) return -1;
  const int64_t rows = starts[sets];
  if (rows == 0) return 0;
  const int64_t pairs = (width + kBlocks * kLanes - 1) / (kBlocks * kLanes);
  // With few blocks for each thread the rows are divided too.
  int64_t ranges = (4 * threads + pairs - 1) / pairs;
  if (ranges > (rows + kAllRows - 1) / kAllRows) ranges = (rows + kAllRows - 1) / kAllRows;
  const int64_t range = (rows + ranges - 1) / ranges;
#if RELATA_ONE_BY_ONE
  const Prepared* const own = x;
#else
  Prepared* const own = static_cast<Prepared*>(prepared);
#endif
  const Product p{own, x_scales, static_cast<const char*>(w), w_scales, bias, y, width, depth};
#pragma omp parallel
  {
#if !RELATA_ONE_BY_ONE
#pragma omp for schedule(static)
    for (int64_t row = 0; row < rows; ++row)
      x_scales[row] = prepare(x + row * depth, own + row * depth, depth);
#endif
    alignas(64) Kept ordered[kBlocks][kMostDepth / kStep];
    Worker worker;
#pragma omp for collapse(2) schedule(dynamic, 1)
    for (int64_t part = 0; part < ranges; ++part)
      for (int64_t pair = 0; pair < pairs; ++pair) {
        const int64_t end = (part + 1) * range < rows ? (part + 1) * range : rows;
        const int64_t block = pair * kBlocks;
        for (int64_t set = 0; set < sets; ++set) {
          const int64_t row_of_w = block * kLanes;
          if (set + 1 < sets && bits[set + 1]) {
            const int64_t there = width - row_of_w < kBlocks * kLanes ? width - row_of_w
                                                                      : kBlocks * kLanes;
            fetch(bits[set + 1] + row_of_w * depth / 8, there * depth / 8);
          }
          const int64_t first = starts[set] > part * range ? starts[set] : part * range;
          const int64_t last = starts[set + 1] < end ? starts[set + 1] : end;
          if (first >= last) continue;
          int32_t own_sums[kBlocks * kLanes];
          Mask mask{{ordered[0], ordered[1]}, own_sums};
          if (!bits[set]) {
            if (kStep == 4) __builtin_memcpy(own_sums, sums + row_of_w, sizeof own_sums);
            worker.meet<false, false>(p, first, last, block, mask);
            continue;
          }
          for (int b = 0; b < kBlocks; ++b) {
            const int64_t row = (block + b) * kLanes;
            const int64_t there = width - row < kLanes ? width - row : kLanes;
            order_bits(bits[set] + row * depth / 8, there, depth / 8, ordered[b]);
          }
#if RELATA_BLOCKED == RELATA_INT8
          if (mask_sums && mask_sums[set]) mask.sums = mask_sums[set] + row_of_w;
          if (mask.sums == own_sums || !all_known(mask.sums)) {
            worker.meet<true, true>(p, first, last, block, mask);
            continue;
          }
#endif
          worker.meet<true, false>(p, first, last, block, mask);
        }
      }
  }
  return 0;
}

// What depth must be a multiple of.
extern "C" int RELATA_NAME(columns)() { return kWord; }
