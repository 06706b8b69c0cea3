// Y = X (W * M)^T + b from weights that lie in the order in which they are read, for processors with
// AVX-512: a mask's bits are operands of the instructions that load the weights, and W * M never lies
// in memory at all.
//
// W is cut into blocks of 16 rows, and a block into steps: each of the 16 lanes of a vector holds a
// step of its row, which is one float16, two bfloat16 or four int8. Two blocks meet up to kTileRows
// rows of X at a time, whose steps are broadcast to all lanes: no sum has to be gathered from lanes.
// The bits of a mask lie row by row; for each set those of two blocks are brought into the order of
// the steps, in a few instructions for 16 of them.
//
// Who includes this defines RELATA_BLOCKED, the kind of W (kinds.h), and RELATA_NAME (the names of its
// functions). Compiled with OpenMP but not linked with it, see masked_linear.h.

#pragma once

#include <immintrin.h>

#include <cstdint>

#define RELATA_INLINE __attribute__((always_inline)) inline

namespace {

constexpr int kLanes = 16;
constexpr int kBlocks = 2;     // of W in a tile
constexpr int kTileRows = 12;  // of X: 24 sums, and what they are made of, fill 32 registers
constexpr long kMostDepth = 8192;
constexpr int kAllRows = 96;  // rows of X that a thread takes at least, if there are many

#if RELATA_BLOCKED == RELATA_HALF

using Sum = __m512;
using Kept = __mmask16;
using Prepared = float;
constexpr int kStep = 1;  // weights in a step
constexpr int kVectorBytes = 32;

RELATA_INLINE __m512i weights_at(const char* w, Kept kept) {
  const __m256i halves = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w));
  return _mm512_castps_si512(_mm512_maskz_cvtph_ps(kept, halves));
}
RELATA_INLINE Sum add(Sum sum, __m512i x, __m512i w) {
  return _mm512_fmadd_ps(_mm512_castsi512_ps(x), _mm512_castsi512_ps(w), sum);
}

#elif RELATA_BLOCKED == RELATA_BFLOAT16

using Sum = __m512;
using Kept = __mmask32;
using Prepared = uint16_t;
constexpr int kStep = 2;
constexpr int kVectorBytes = 64;

RELATA_INLINE __m512i weights_at(const char* w, Kept kept) {
  return _mm512_maskz_loadu_epi16(kept, w);
}
RELATA_INLINE Sum add(Sum sum, __m512i x, __m512i w) {
  return _mm512_dpbf16_ps(sum, (__m512bh)x, (__m512bh)w);
}

#else

using Sum = __m512i;
using Kept = __mmask64;
using Prepared = uint8_t;
constexpr int kStep = 4;
constexpr int kVectorBytes = 64;
// The instruction wants one side without a sign: X is raised by this, and what it adds to a sum, this
// much of the kept weights, is taken off in the end: it is the same for all rows under a mask.
constexpr int kRaised = 128;

RELATA_INLINE __m512i weights_at(const char* w, Kept kept) {
  return _mm512_maskz_loadu_epi8(kept, w);
}
RELATA_INLINE Sum add(Sum sum, __m512i x, __m512i w) { return _mm512_dpbusd_epi32(sum, x, w); }

#endif

// Columns whose bits are brought into order together: 16 steps, or 32 of one bit.
constexpr int kWord = kStep == 4 ? 64 : 32;

#if RELATA_BLOCKED == RELATA_BFLOAT16
// x (depth,) as the products read it.
RELATA_INLINE float prepare(const float* x, Prepared* prepared, long depth) {
  for (long k = 0; k < depth; k += 32) {
    const __m512bh pair = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(x + k + 16), _mm512_loadu_ps(x + k));
    _mm512_storeu_si512(prepared + k, (__m512i)pair);
  }
  return 1;
}
#elif RELATA_BLOCKED == RELATA_INT8
// x (depth,) as the products read it, and what one of its integers stands for.
RELATA_INLINE float prepare(const float* x, Prepared* prepared, long depth) {
  __m512 most = _mm512_setzero_ps();
  for (long k = 0; k < depth; k += kLanes)
    most = _mm512_max_ps(most, _mm512_abs_ps(_mm512_loadu_ps(x + k)));
  const float largest = _mm512_reduce_max_ps(most);
  const __m512 scale = _mm512_set1_ps(largest > 0 ? 127 / largest : 0);
  for (long k = 0; k < depth; k += kLanes) {
    const __m512i rounded = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + k), scale));
    const __m512i raised = _mm512_add_epi32(rounded, _mm512_set1_epi32(kRaised));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(prepared + k), _mm512_cvtepi32_epi8(raised));
  }
  return largest / 127;
}
#endif

// Exchanges units of bits between the words `own` and `other`, whose numbers differ by `distance`:
// a word keeps the units whose number agrees with its own in that bit. `upper`: words that have it.
#if RELATA_BLOCKED == RELATA_INT8
RELATA_INLINE __m512i exchanged(__m512i own, __m512i other, int distance, __mmask8 upper) {
  uint64_t high = 0;
  for (int unit = 0; unit < 16; ++unit)
    if (unit & distance) high |= uint64_t{15} << (4 * unit);
  const __m512i shift = _mm512_mask_set1_epi64(_mm512_set1_epi64(4 * distance), upper,
                                               64 - 4 * distance);
  const __m512i own_units = _mm512_mask_set1_epi64(_mm512_set1_epi64(~high), upper, high);
  return _mm512_ternarylogic_epi64(own_units, own, _mm512_rolv_epi64(other, shift), 0xCA);
}
#else
RELATA_INLINE __m512i exchanged(__m512i own, __m512i other, int distance, __mmask16 upper) {
  uint32_t high = 0;
  for (int unit = 0; unit < 32 / kStep; ++unit)
    if (unit & distance) high |= ((uint32_t{1} << kStep) - 1) << (unit * kStep);
  const __m512i shift = _mm512_mask_set1_epi32(_mm512_set1_epi32(kStep * distance), upper,
                                               32 - kStep * distance);
  const __m512i own_units = _mm512_mask_set1_epi32(_mm512_set1_epi32(~high), upper, high);
  return _mm512_ternarylogic_epi32(own_units, own, _mm512_rolv_epi32(other, shift), 0xCA);
}
#endif

RELATA_INLINE __m512i halves_swapped(__m512i v) { return _mm512_shuffle_i64x2(v, v, 0x4E); }
RELATA_INLINE __m512i quarters_swapped(__m512i v) { return _mm512_shuffle_i64x2(v, v, 0xB1); }
RELATA_INLINE __m512i pairs_swapped(__m512i v) { return _mm512_shuffle_epi32(v, _MM_PERM_BADC); }

// The words of 16 rows, as a matrix of units of kStep bits, transposed: the bits of a step together.
#if RELATA_BLOCKED == RELATA_INT8
RELATA_INLINE void transpose(__m512i low, __m512i high, Kept* kept) {
  __m512i both[2] = {exchanged(low, high, 8, 0), exchanged(high, low, 8, 0xFF)};
  for (int i = 0; i < 2; ++i) {
    both[i] = exchanged(both[i], halves_swapped(both[i]), 4, 0xF0);
    both[i] = exchanged(both[i], quarters_swapped(both[i]), 2, 0xCC);
    both[i] = exchanged(both[i], pairs_swapped(both[i]), 1, 0xAA);
    _mm512_storeu_si512(kept + 8 * i, both[i]);
  }
}
#else
RELATA_INLINE void transpose(__m512i v, Kept* kept) {
  v = exchanged(v, halves_swapped(v), 8, 0xFF00);
  v = exchanged(v, quarters_swapped(v), 4, 0xF0F0);
  v = exchanged(v, pairs_swapped(v), 2, 0xCCCC);
  v = exchanged(v, _mm512_shuffle_epi32(v, _MM_PERM_CDAB), 1, 0xAAAA);
#if RELATA_BLOCKED == RELATA_HALF
  // Two matrices of single bits stood side by side.
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(kept), _mm512_cvtepi32_epi16(v));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(kept + 16),
                      _mm512_cvtepi32_epi16(_mm512_srli_epi32(v, 16)));
#else
  _mm512_storeu_si512(kept, v);
#endif
}
#endif

// Bits that are wanted next: those of a set for two blocks are too few for a processor to foresee.
void fetch(const uint8_t* bits, long bytes) {
  for (long from = 0; from < bytes; from += 64) __builtin_prefetch(bits + from);
}

constexpr long kPiece = 16;  // bytes of a row's bits that are brought into order together

// A piece of each of four rows, `apart` rows from one another, in the lanes of a vector; of a piece
// the `there` first bytes, zeros after them.
template <bool Whole>
RELATA_INLINE __m512i pieces_at(const uint8_t* bits, long row_bytes, long apart, long there) {
  const __mmask16 real = static_cast<__mmask16>((1u << there) - 1);
  __m128i piece[4];
  for (long i = 0; i < 4; ++i) {
    const uint8_t* place = bits + i * apart * row_bytes;
    piece[i] = Whole ? _mm_loadu_si128(reinterpret_cast<const __m128i*>(place))
                     : _mm_maskz_loadu_epi8(real, place);
  }
  __m512i v = _mm512_castsi128_si512(piece[0]);
  v = _mm512_mask_broadcast_i32x4(v, 0x00F0, piece[1]);
  v = _mm512_mask_broadcast_i32x4(v, 0x0F00, piece[2]);
  return _mm512_mask_broadcast_i32x4(v, 0xF000, piece[3]);
}

// A piece of each of 16 rows in the order of the steps: its words, those of all rows together, and
// each of these transposed.
template <bool Whole>
RELATA_INLINE void order_pieces(const uint8_t* bits, long row_bytes, Kept* kept, long there) {
#if RELATA_BLOCKED == RELATA_INT8
  __m512i first[2], second[2];
  for (long half = 0; half < 2; ++half) {
    const uint8_t* rows = bits + half * 8 * row_bytes;
    const __m512i even = pieces_at<Whole>(rows, row_bytes, 2, there);
    const __m512i odd = pieces_at<Whole>(rows + row_bytes, row_bytes, 2, there);
    first[half] = _mm512_unpacklo_epi64(even, odd);
    second[half] = _mm512_unpackhi_epi64(even, odd);
  }
  transpose(first[0], first[1], kept);
  if (Whole || there > 8) transpose(second[0], second[1], kept + kWord / kStep);
#else
  __m512i row[4];
  for (long i = 0; i < 4; ++i)
    row[i] = pieces_at<Whole>(bits + i * row_bytes, row_bytes, 4, there);
  const __m512i lower[2] = {_mm512_unpacklo_epi32(row[0], row[1]),
                            _mm512_unpacklo_epi32(row[2], row[3])};
  const __m512i upper[2] = {_mm512_unpackhi_epi32(row[0], row[1]),
                            _mm512_unpackhi_epi32(row[2], row[3])};
  const __m512i words[4] = {
      _mm512_unpacklo_epi64(lower[0], lower[1]), _mm512_unpackhi_epi64(lower[0], lower[1]),
      _mm512_unpacklo_epi64(upper[0], upper[1]), _mm512_unpackhi_epi64(upper[0], upper[1])};
  for (long i = 0; i < 4; ++i)
    if (Whole || there > 4 * i) transpose(words[i], kept + i * kWord / kStep);
#endif
}

// The bits of `rows` rows (none if negative), `row_bytes` apart, in the order of the steps; those of
// missing rows are 0.
void order_bits(const uint8_t* bits, long rows, long row_bytes, Kept* kept) {
  alignas(64) uint8_t padded[kLanes * kMostDepth / 8];
  if (rows < kLanes) {
    const long there = rows > 0 ? rows * row_bytes : 0;
    __builtin_memcpy(padded, bits, there);
    __builtin_memset(padded + there, 0, kLanes * row_bytes - there);
    bits = padded;
  }
  long from = 0;
  for (; from + kPiece <= row_bytes; from += kPiece)
    order_pieces<true>(bits + from, row_bytes, kept + from * 8 / kStep, kPiece);
  if (from < row_bytes)
    order_pieces<false>(bits + from, row_bytes, kept + from * 8 / kStep, row_bytes - from);
}

// What a call is about.
struct Product {
  const Prepared* x;
  const float* x_scales;
  const char* w;
  const float* w_scales;
  const float* bias;
  float* y;
  long width, depth;
};

// What a mask set is to two blocks of W.
struct Mask {
  const Kept* kept[kBlocks];  // not looked at where nothing is masked
  int32_t* sums;              // of their kept weights times kRaised, row by row; of int8 alone
};

RELATA_INLINE __m512i step_at(const Prepared* x) {
  int32_t step;
  __builtin_memcpy(&step, x, 4);
  return _mm512_set1_epi32(step);
}

// Rows of X from `row` on against two blocks of W; with Sums, the mask's sums are made on the way.
template <int Rows, bool Masked, bool Sums>
__attribute__((noinline)) void tile(const Product& p, long row, long block, const Mask& mask) {
  const long steps = p.depth / kStep;
  const char* w[kBlocks];
  for (int b = 0; b < kBlocks; ++b) w[b] = p.w + (block + b) * steps * kVectorBytes;
  const Prepared* x = p.x + row * p.depth;
  Sum sums[Rows][kBlocks] = {};
#if RELATA_BLOCKED == RELATA_INT8
  Sum own[kBlocks] = {};
#endif
  for (long s = 0; s < steps; ++s) {
    __m512i weights[kBlocks];
    for (int b = 0; b < kBlocks; ++b)
      weights[b] = weights_at(w[b] + s * kVectorBytes, Masked ? mask.kept[b][s] : Kept(~Kept(0)));
#if RELATA_BLOCKED == RELATA_INT8
    if (Sums)
      for (int b = 0; b < kBlocks; ++b)
        own[b] = add(own[b], _mm512_set1_epi8(char(kRaised)), weights[b]);
#endif
#pragma GCC unroll 12
    for (int r = 0; r < Rows; ++r) {
      const __m512i step = step_at(x + r * p.depth + s * kStep);
#pragma GCC unroll 2
      for (int b = 0; b < kBlocks; ++b) sums[r][b] = add(sums[r][b], step, weights[b]);
    }
  }
  // All loops over sums are unrolled: an index that is no constant would keep them in memory. And
  // they are held in registers up to here: gcc would else store each of them at every step.
#pragma GCC unroll 12
  for (int r = 0; r < Rows; ++r) __asm__("" : "+v"(sums[r][0]), "+v"(sums[r][1]));
#pragma GCC unroll 2
  for (int b = 0; b < kBlocks; ++b) {
    const long column = (block + b) * kLanes;
    const long left = p.width - column;
    const __mmask16 there = left >= kLanes ? 0xFFFF : left > 0 ? (1 << left) - 1 : 0;
    const __m512 bias = p.bias ? _mm512_maskz_loadu_ps(there, p.bias + column) : __m512{};
#if RELATA_BLOCKED == RELATA_INT8
    const __m512 scale = _mm512_maskz_loadu_ps(there, p.w_scales + column);
    if (Sums) _mm512_storeu_si512(mask.sums + b * kLanes, own[b]);
    const __m512i raised = _mm512_loadu_si512(mask.sums + b * kLanes);
#endif
#pragma GCC unroll 12
    for (int r = 0; r < Rows; ++r) {
#if RELATA_BLOCKED == RELATA_INT8
      const __m512 whole = _mm512_cvtepi32_ps(_mm512_sub_epi32(sums[r][b], raised));
      const __m512 y = whole * scale * p.x_scales[row + r] + bias;
#else
      const __m512 y = sums[r][b] + bias;
#endif
      _mm512_mask_storeu_ps(p.y + (row + r) * p.width + column, there, y);
    }
  }
}

template <int Rows, bool Masked, bool Sums>
RELATA_INLINE void tile_of(int rows, const Product& p, long row, long block, const Mask& mask) {
  if (rows == Rows)
    tile<Rows, Masked, Sums>(p, row, block, mask);
  else if constexpr (Rows > 1)
    tile_of<Rows - 1, Masked, Sums>(rows, p, row, block, mask);
}

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

}  // namespace

// x (rows, depth) and y (rows, width) are contiguous, rows being starts[sets]; prepared (rows, depth)
// and x_scales (rows,) are to work in, and not looked at for weights in half precision. w holds the
// blocks, an even number of them, and w_scales (width,) what one of an integer stands for; starts has
// sets + 1 entries, the first row of each set and the number of rows; bits[i] is null for a set
// without a mask. sums, of int8 alone, is kRaised times the sum of each row of the blocks. 0, or -1
// where depth is no multiple of relata_blocked_..._columns or too large.
extern "C" int RELATA_NAME(linear)(const float* x, [[maybe_unused]] void* prepared,
                                   [[maybe_unused]] float* x_scales, int64_t sets,
                                   const int64_t* starts, const uint8_t* const* bits,
                                   [[maybe_unused]] const int32_t* sums, const void* w,
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
#if RELATA_BLOCKED == RELATA_HALF
  const Prepared* const own = x;
#else
  Prepared* const own = static_cast<Prepared*>(prepared);
#endif
  const Product p{own, x_scales, static_cast<const char*>(w), w_scales, bias, y, width, depth};
#pragma omp parallel
  {
#if RELATA_BLOCKED != RELATA_HALF
#pragma omp for schedule(static)
    for (int64_t row = 0; row < rows; ++row)
      x_scales[row] = prepare(x + row * depth, own + row * depth, depth);
#endif
    alignas(64) Kept ordered[kBlocks][kMostDepth / kStep];
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
          int32_t kept_sums[kBlocks * kLanes];
          const Mask mask{{ordered[0], ordered[1]}, kept_sums};
          if (!bits[set]) {
            if (kStep == 4) __builtin_memcpy(kept_sums, sums + row_of_w, sizeof kept_sums);
            meet<false, false>(p, first, last, block, mask);
            continue;
          }
          for (int b = 0; b < kBlocks; ++b) {
            const int64_t row = (block + b) * kLanes;
            const int64_t there = width - row < kLanes ? width - row : kLanes;
            order_bits(bits[set] + row * depth / 8, there, depth / 8, ordered[b]);
          }
          meet<true, kStep == 4>(p, first, last, block, mask);
        }
      }
  }
  return 0;
}

// What depth must be a multiple of.
extern "C" int RELATA_NAME(columns)() { return kWord; }
