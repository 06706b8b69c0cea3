// Y = X (W * M)^T + b for the rows of many mask sets in one call, straight from the packed bits.
//
// Rows are sorted by mask set. A block of W's rows is read once for all sets; for each set its bits
// select what stays, into a panel that fits the second-level cache, and the panel meets the set's
// rows of X. So W * M never lies in memory, and a set costs its bits.
//
// Compiled with OpenMP but not linked with it: the symbols are those of the runtime that torch has
// loaded, so that both share one pool of threads and none spins while the other works.

#include <immintrin.h>

#include <cstdint>
#include <cstring>

namespace {

constexpr int kLanes = 8;       // floats of a vector
constexpr int kWord = 32;       // bits of a mask that are looked at together
constexpr int kRowTile = 3;     // rows of X that meet a panel at a time
constexpr int kColumnTile = 4;  // rows of W that they meet: 12 sums and 4 operands fill 16 registers
constexpr int kPanel = 16;      // rows of W in a panel, a multiple of kColumnTile
constexpr int kDepth = 1536;    // columns of W in a panel, which then is at most 96 KB

#define AVX2 __attribute__((target("avx2,fma,f16c")))

// W in single precision, or the same values in half precision, which take half the time to read.
struct Weights {
  const float* single;
  const uint16_t* half;

  AVX2 __m256 at(long place) const {
    if (half)
      return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(half + place)));
    return _mm256_loadu_ps(single + place);
  }
};

// Lanes of all ones where the bits from `first` on of each lane's word are set, a bit for each lane.
AVX2 inline __m256 kept(__m256i words, int first) {
  const __m256i bits =
      _mm256_slli_epi32(_mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128), first);
  return _mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_and_si256(words, bits), bits));
}

// The sums of four vectors' lanes.
AVX2 inline __m128 sums_of(__m256 a, __m256 b, __m256 c, __m256 d) {
  const __m256 pairs = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
  return _mm_add_ps(_mm256_castps256_ps128(pairs), _mm256_extractf128_ps(pairs, 1));
}

// Lengths of the rows in memory, in floats.
struct Strides {
  long x, panel, y;
};

// W * M, or W where bits is null, from place `first` on; rows of W and of M are `stride` weights long.
template <bool Half>
AVX2 void select(Weights w, const uint8_t* bits, float* panel, long first, long rows, long columns,
                 long stride) {
  if (!Half) w.half = nullptr;
  for (long row = 0; row < rows; ++row) {
    const long source = first + row * stride;
    float* target = panel + row * columns;
    if (!bits) {
      for (long k = 0; k < columns; k += kLanes) _mm256_store_ps(target + k, w.at(source + k));
      continue;
    }
    const uint8_t* keep = bits + source / kLanes;
    long k = 0;
    for (; k + kWord <= columns; k += kWord) {
      int32_t word;
      std::memcpy(&word, keep + k / kLanes, sizeof word);
      const __m256i all = _mm256_set1_epi32(word);
#pragma GCC unroll 4
      for (int part = 0; part < kWord; part += kLanes)
        _mm256_store_ps(target + k + part,
                        _mm256_and_ps(w.at(source + k + part), kept(all, part)));
    }
    for (; k < columns; k += kLanes)
      _mm256_store_ps(target + k, _mm256_and_ps(w.at(source + k),
                                                kept(_mm256_set1_epi32(keep[k / kLanes]), 0)));
  }
}

// Rows of X against up to four rows of the panel. A sum begins with the bias, or goes on from y.
template <int Rows, int Columns>
AVX2 inline void tile(const float* x, const float* panel, const float* bias, float* y, long depth,
                      bool begin, Strides stride) {
  __m256 sums[Rows][kColumnTile];
  for (auto& row : sums)
    for (auto& sum : row) sum = _mm256_setzero_ps();
  for (long k = 0; k < depth; k += kLanes) {
    __m256 values[Rows];
    for (int r = 0; r < Rows; ++r) values[r] = _mm256_loadu_ps(x + r * stride.x + k);
    for (int c = 0; c < Columns; ++c) {
      const __m256 w = _mm256_loadu_ps(panel + c * stride.panel + k);
      for (int r = 0; r < Rows; ++r) sums[r][c] = _mm256_fmadd_ps(values[r], w, sums[r][c]);
    }
  }
  for (int r = 0; r < Rows; ++r) {
    alignas(16) float added[kColumnTile];
    _mm_store_ps(added, sums_of(sums[r][0], sums[r][1], sums[r][2], sums[r][3]));
    float* place = y + r * stride.y;
    for (int c = 0; c < Columns; ++c)
      place[c] = added[c] + (begin ? (bias ? bias[c] : 0) : place[c]);
  }
}

template <int Rows>
AVX2 void strip(const float* x, const float* panel, const float* bias, float* y, long columns,
                long depth, bool begin, Strides stride) {
  long c = 0;
  for (; c + kColumnTile <= columns; c += kColumnTile)
    tile<Rows, kColumnTile>(x, panel + c * stride.panel, bias ? bias + c : nullptr, y + c, depth,
                            begin, stride);
  for (; c < columns; ++c)
    tile<Rows, 1>(x, panel + c * stride.panel, bias ? bias + c : nullptr, y + c, depth, begin,
                  stride);
}

AVX2 void meet(const float* x, const float* panel, const float* bias, float* y, long rows,
               long columns, long depth, bool begin, Strides stride) {
  long r = 0;
  for (; r + kRowTile <= rows; r += kRowTile)
    strip<kRowTile>(x + r * stride.x, panel, bias, y + r * stride.y, columns, depth, begin, stride);
  x += r * stride.x;
  y += r * stride.y;
  switch (rows - r) {
    case 2: strip<2>(x, panel, bias, y, columns, depth, begin, stride); break;
    case 1: strip<1>(x, panel, bias, y, columns, depth, begin, stride); break;
  }
}

}  // namespace

extern "C" {

// Whether this processor has what the kernel needs.
int relata_supported() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         __builtin_cpu_supports("f16c");
}

// x (rows, depth), w (width, depth) and y (rows, width) are contiguous; starts has sets + 1 entries,
// the first row of each set and the number of rows; bits[i] is null for a set without a mask. half
// is w in half precision, where that has the same values, or null.
// 0, or -1 where depth is not a multiple of 8.
AVX2 int relata_masked_linear(const float* x, int64_t sets, const int64_t* starts,
                              const uint8_t* const* bits, const float* w, const uint16_t* half,
                              const float* bias, float* y, int64_t width, int64_t depth) {
  if (depth % kLanes || depth <= 0) return -1;
  const int64_t panels = (width + kPanel - 1) / kPanel;
#pragma omp parallel
  {
    alignas(32) float panel[kPanel * kDepth];
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
          const float* rows_of_w = w + source;
          if (half || bits[set]) {
            (half ? select<true> : select<false>)({w, half}, bits[set], panel, source, columns, block,
                                                  depth);
            stride.panel = block;
            rows_of_w = panel;
          }
          meet(x + start * depth + from, rows_of_w, bias ? bias + first : nullptr,
               y + start * width + first, count, columns, block, from == 0, stride);
        }
      }
    }
  }
  return 0;
}
}
