// Y = X (W * M)^T + b for the rows of many mask sets in one call, straight from the packed bits.
//
// Rows are sorted by mask set. A block of W's rows is read once for all sets; for each set its bits
// select what stays, into a panel that fits the second-level cache, and the panel meets the set's
// rows of X. So W * M never lies in memory, and a set costs its bits.
//
// Compiled with OpenMP but not linked with it: the symbols are those of the runtime that torch has
// loaded, so that both share one pool of threads and none spins while the other works.

#pragma once

#include <cstdint>

#include "vectors.h"

namespace {

constexpr int kWord = 32;             // bits of a mask that are looked at together
constexpr int kRowTile = RELATA_ROWS;  // rows of X that meet a panel at a time
constexpr int kColumnTile = 4;        // rows of W that they meet, with a sum each
constexpr int kPanel = 16;            // rows of W in a panel, a multiple of kColumnTile
constexpr int kDepth = 1536;          // columns of W in a panel, which then is at most 96 KB

// How W lies in memory: two bytes a weight take half the time to read.
enum Format : int64_t { kSingle, kHalf, kBfloat16 };

template <Format format>
RELATA_INLINE Vector weights_at(const void* w, long place) {
  if constexpr (format == kSingle) return load(static_cast<const float*>(w) + place);
  const auto* halves = static_cast<const uint16_t*>(w) + place;
  return format == kHalf ? load_half(halves) : load_bfloat16(halves);
}

// Lengths of the rows in memory, in floats.
struct Strides {
  long x, panel, y;
};

// `Bytes` bytes of a mask.
template <int Bytes>
RELATA_INLINE uint32_t word_at(const uint8_t* bits) {
  uint32_t word = 0;
  __builtin_memcpy(&word, bits, Bytes);
  return word;
}

// W * M, or W where bits is null, from place `first` on; rows of W and of M are `stride` weights long.
template <Format format>
void select(const void* w, const uint8_t* bits, float* panel, long first, long rows, long columns,
            long stride) {
  for (long row = 0; row < rows; ++row) {
    const long source = first + row * stride;
    float* target = panel + row * columns;
    if (!bits) {
      for (long k = 0; k < columns; k += kLanes)
        store(target + k, weights_at<format>(w, source + k));
      continue;
    }
    const uint8_t* kept = bits + source / 8;
    long k = 0;
    for (; k + kWord <= columns; k += kWord) {
      const uint32_t word = word_at<kWord / 8>(kept + k / 8);
#pragma GCC unroll 8
      for (int part = 0; part < kWord; part += kLanes)
        store(target + k + part, keep(weights_at<format>(w, source + k + part), word, part));
    }
    // What is left is a multiple of the lanes and of eight.
    for (; k < columns; k += kLanes)
      store(target + k, keep(weights_at<format>(w, source + k),
                             word_at<(kLanes + 7) / 8>(kept + k / 8), k % 8));
  }
}

// Rows of X against up to four rows of the panel. A sum begins with the bias, or goes on from y.
template <int Rows, int Columns>
RELATA_INLINE void tile(const float* x, const float* panel, const float* bias, float* y, long depth,
                        bool begin, Strides stride) {
  Vector sums[Rows][kColumnTile] = {};
  for (long k = 0; k < depth; k += kLanes) {
    Vector values[Rows];
    for (int r = 0; r < Rows; ++r) values[r] = load(x + r * stride.x + k);
    for (int c = 0; c < Columns; ++c) {
      const Vector w = load(panel + c * stride.panel + k);
      for (int r = 0; r < Rows; ++r) sums[r][c] = values[r] * w + sums[r][c];
    }
  }
  for (int r = 0; r < Rows; ++r) {
    float added[kColumnTile];
    sums_of(sums[r][0], sums[r][1], sums[r][2], sums[r][3], added);
    float* place = y + r * stride.y;
    for (int c = 0; c < Columns; ++c)
      place[c] = added[c] + (begin ? (bias ? bias[c] : 0) : place[c]);
  }
}

template <int Rows>
void strip(const float* x, const float* panel, const float* bias, float* y, long columns,
           long depth, bool begin, Strides stride) {
  long c = 0;
  for (; c + kColumnTile <= columns; c += kColumnTile)
    tile<Rows, kColumnTile>(x, panel + c * stride.panel, bias ? bias + c : nullptr, y + c, depth,
                            begin, stride);
  for (; c < columns; ++c)
    tile<Rows, 1>(x, panel + c * stride.panel, bias ? bias + c : nullptr, y + c, depth, begin,
                  stride);
}

// The rows that do not fill a tile, fewer than `Rows`.
template <int Rows>
RELATA_INLINE void rest(const float* x, const float* panel, const float* bias, float* y, long rows,
                        long columns, long depth, bool begin, Strides stride) {
  if constexpr (Rows > 1) {
    if (rows == Rows - 1)
      strip<Rows - 1>(x, panel, bias, y, columns, depth, begin, stride);
    else
      rest<Rows - 1>(x, panel, bias, y, rows, columns, depth, begin, stride);
  }
}

void meet(const float* x, const float* panel, const float* bias, float* y, long rows, long columns,
          long depth, bool begin, Strides stride) {
  long r = 0;
  for (; r + kRowTile <= rows; r += kRowTile)
    strip<kRowTile>(x + r * stride.x, panel, bias, y + r * stride.y, columns, depth, begin, stride);
  rest<kRowTile>(x + r * stride.x, panel, bias, y + r * stride.y, rows - r, columns, depth, begin,
                 stride);
}

}  // namespace

// x (rows, depth), w (width, depth) and y (rows, width) are contiguous; starts has sets + 1 entries,
// the first row of each set and the number of rows; bits[i] is null for a set without a mask.
// 0, or -1 where depth is no multiple of eight and of the lanes, or w's format cannot be read.
extern "C" int RELATA_NAME(masked_linear)(const float* x, int64_t sets, const int64_t* starts,
                                          const uint8_t* const* bits, const void* w, int64_t format,
                                          const float* bias, float* y, int64_t width,
                                          int64_t depth) {
  if (depth % kLanes || depth % 8 || depth <= 0 || (format == kHalf && !kReadsHalf)) return -1;
  const auto chosen = format == kSingle ? select<kSingle>
                      : format == kHalf ? select<kHalf>
                                        : select<kBfloat16>;
  const int64_t panels = (width + kPanel - 1) / kPanel;
#pragma omp parallel
  {
    alignas(64) float panel[kPanel * kDepth];
#pragma omp for schedule(dynamic, 1)
    for (int64_t p = 0; p < panels; ++p) {
      const int64_t first = p * kPanel;
      const int64_t columns = width - first < kPanel ? width - first : kPanel;
      for (int64_t from = 0; from < depth; from += kDepth) {
        const int64_t block = depth - from < kDepth ? depth - from : kDepth;
        const int64_t source = first * depth + from;
        for (int64_t set = 0; set < sets; ++set) {
          const int64_t start = starts[set], count = starts[set + 1] - start;
          if (!count) continue;
          Strides stride{depth, depth, width};
          const float* rows_of_w = panel;
          if (format == kSingle && !bits[set]) {
            rows_of_w = static_cast<const float*>(w) + source;
          } else {
            chosen(w, bits[set], panel, source, columns, block, depth);
            stride.panel = block;
          }
          meet(x + start * depth + from, rows_of_w, bias ? bias + first : nullptr,
               y + start * width + first, count, columns, block, from == 0, stride);
        }
      }
    }
  }
  return 0;
}
