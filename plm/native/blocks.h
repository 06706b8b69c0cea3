// What the kernel of blocks (blocked.h) does differently for each kind of weights: steps of them, of
// the states that meet them, and of the bits of their masks.

#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kinds.h"

#define RELATA_INLINE __attribute__((always_inline)) inline

namespace {

constexpr int kLanes = 16;  // rows of W in a block
constexpr int kBlocks = 2;  // of W that are read together
constexpr long kMostDepth = 8192;

#if RELATA_ONE_BY_ONE

using Sum = __m512;
using Kept = __mmask16;
using Prepared = float;
constexpr int kStep = 1;  // weights in a step

#if RELATA_BLOCKED == RELATA_HALF
constexpr int kVectorBytes = 32;

RELATA_INLINE __m512i weights_at(const char* w, Kept kept) {
  const __m256i halves = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w));
  return _mm512_castps_si512(_mm512_maskz_cvtph_ps(kept, halves));
}
#else
constexpr int kVectorBytes = 64;

RELATA_INLINE __m512i weights_at(const char* w, Kept kept) {
  return _mm512_maskz_loadu_epi32(kept, w);
}
#endif
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

RELATA_INLINE Sum together(Sum one, Sum other) {
#if RELATA_BLOCKED == RELATA_INT8
  return _mm512_add_epi32(one, other);
#else
  return _mm512_add_ps(one, other);
#endif
}

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

// Columns of Y that a block of W gives.
struct Columns {
  long first;
  __mmask16 there;
  __m512 bias;
#if RELATA_BLOCKED == RELATA_INT8
  __m512 scale;    // what one of the integers of W stands for
  __m512i raised;  // what raising X added to each sum
#endif
};

RELATA_INLINE Columns columns_of(const Product& p, long block, [[maybe_unused]] const int32_t* sums) {
  Columns columns;
  columns.first = block * kLanes;
  const long left = p.width - columns.first;
  columns.there = left >= kLanes ? 0xFFFF : left > 0 ? (1 << left) - 1 : 0;
  columns.bias = p.bias ? _mm512_maskz_loadu_ps(columns.there, p.bias + columns.first) : __m512{};
#if RELATA_BLOCKED == RELATA_INT8
  columns.scale = _mm512_maskz_loadu_ps(columns.there, p.w_scales + columns.first);
  columns.raised = _mm512_loadu_si512(sums);
#endif
  return columns;
}

// Writes what a row of X and a block of W sum up to.
RELATA_INLINE void put(const Product& p, long row, const Columns& columns, Sum sum) {
#if RELATA_BLOCKED == RELATA_INT8
  const __m512 whole = _mm512_cvtepi32_ps(_mm512_sub_epi32(sum, columns.raised));
  const __m512 y = whole * columns.scale * p.x_scales[row] + columns.bias;
#else
  const __m512 y = sum + columns.bias;
#endif
  _mm512_mask_storeu_ps(p.y + row * p.width + columns.first, columns.there, y);
}

}  // namespace
