// Vectors of kLanes floats, as the compiler's own vector types: the same source is compiled for each
// set of instructions (avx512.cpp, avx2.cpp, portable.cpp), and only what the types cannot say is
// written in a processor's own words.
//
// Who includes this says first what it is compiled for, and defines RELATA_NAME (the names of its
// functions), RELATA_LANES, RELATA_ROWS (rows of X in a tile), and RELATA_AVX2 or RELATA_AVX512 where
// it has those instructions. No inline function of the standard library may be called: the linker
// keeps one copy of it, and that one might need the widest vectors.

#pragma once

#include <cstdint>

#if defined(RELATA_AVX2) || defined(RELATA_AVX512)
#include <immintrin.h>
#endif

#define RELATA_INLINE __attribute__((always_inline)) inline

namespace {

constexpr int kLanes = RELATA_LANES;
constexpr int kBytes = 4 * kLanes;

typedef float Vector __attribute__((vector_size(kBytes)));
typedef int32_t Integers __attribute__((vector_size(kBytes)));
// The same at any address of a float.
typedef float Loose __attribute__((vector_size(kBytes), aligned(4), may_alias));

RELATA_INLINE Vector load(const float* place) {
  return *reinterpret_cast<const Loose*>(place);
}

RELATA_INLINE void store(float* place, Vector v) { *reinterpret_cast<Loose*>(place) = v; }

RELATA_INLINE Vector all(float x) { return x - Vector{}; }

RELATA_INLINE Vector larger(Vector a, Vector b) { return a > b ? a : b; }

// Whether a comparison holds in any lane.
RELATA_INLINE bool any(Integers lanes) {
#if defined(RELATA_AVX512)
  return _mm512_test_epi32_mask(reinterpret_cast<__m512i>(lanes), reinterpret_cast<__m512i>(lanes));
#elif defined(RELATA_AVX2)
  return !_mm256_testz_si256(reinterpret_cast<__m256i>(lanes), reinterpret_cast<__m256i>(lanes));
#else
  int32_t found = 0;
  for (int i = 0; i < kLanes; ++i) found |= lanes[i];
  return found;
#endif
}

// Powers of two, 1 in the first lane.
RELATA_INLINE Integers lane_bits() {
  Integers bits;
  for (int i = 0; i < kLanes; ++i) bits[i] = int32_t(uint32_t{1} << i);
  return bits;
}

// Floats in half precision, which x86 reads in one instruction; others read single precision only.
#if defined(RELATA_AVX512)
constexpr bool kReadsHalf = true;
RELATA_INLINE Vector load_half(const uint16_t* place) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(place)));
}
#elif defined(RELATA_AVX2)
constexpr bool kReadsHalf = true;
RELATA_INLINE Vector load_half(const uint16_t* place) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(place)));
}
#else
constexpr bool kReadsHalf = false;
RELATA_INLINE Vector load_half(const uint16_t*) { return Vector{}; }
#endif

// Floats in bfloat16, which are the upper halves of those in single precision.
RELATA_INLINE Vector load_bfloat16(const uint16_t* place) {
  typedef uint16_t Loose __attribute__((vector_size(2 * kLanes), aligned(2), may_alias));
  typedef uint32_t Wide __attribute__((vector_size(kBytes)));
  const Loose halves = *reinterpret_cast<const Loose*>(place);
  return reinterpret_cast<Vector>(__builtin_convertvector(halves, Wide) << 16);
}

// The lanes whose bits, from `first` on, are set in the word; 0 in the others.
RELATA_INLINE Vector keep(Vector v, uint32_t word, int first) {
#if defined(RELATA_AVX512)
  return _mm512_maskz_mov_ps(static_cast<__mmask16>(word >> first), v);
#else
  const Integers bits = lane_bits() << first;
  const Integers words = int32_t(word) - Integers{};
  return reinterpret_cast<Vector>(reinterpret_cast<Integers>(v) & ((words & bits) == bits));
#endif
}

#if defined(RELATA_AVX2) || defined(RELATA_AVX512)
// Eight lanes of the same sum.
#if defined(RELATA_AVX512)
RELATA_INLINE __m256 folded(Vector v) {
  return __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7) +
         __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
}
#else
RELATA_INLINE __m256 folded(Vector v) { return v; }
#endif

RELATA_INLINE float sum_of(Vector v) {
  const __m256 half = folded(v);
  __m128 sum = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
  sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
  return _mm_cvtss_f32(_mm_add_ss(sum, _mm_movehdup_ps(sum)));
}

// The sums of four vectors' lanes.
RELATA_INLINE void sums_of(Vector a, Vector b, Vector c, Vector d, float* sums) {
  const __m256 pairs = _mm256_hadd_ps(_mm256_hadd_ps(folded(a), folded(b)),
                                      _mm256_hadd_ps(folded(c), folded(d)));
  _mm_storeu_ps(sums, _mm_add_ps(_mm256_castps256_ps128(pairs), _mm256_extractf128_ps(pairs, 1)));
}
#else
RELATA_INLINE float sum_of(Vector v) {
  float sum = 0;
  for (int i = 0; i < kLanes; ++i) sum += v[i];
  return sum;
}

RELATA_INLINE void sums_of(Vector a, Vector b, Vector c, Vector d, float* sums) {
  sums[0] = sum_of(a);
  sums[1] = sum_of(b);
  sums[2] = sum_of(c);
  sums[3] = sum_of(d);
}
#endif

}  // namespace

extern "C" int RELATA_NAME(lanes)() { return kLanes; }

extern "C" int RELATA_NAME(reads_half)() { return kReadsHalf; }
