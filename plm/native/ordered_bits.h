// The bits of a mask, which lie row by row, in the order of the steps of a block (blocked.h).

#pragma once

#include "blocks.h"

namespace {

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
#if RELATA_ONE_BY_ONE
  // Two matrices of single bits stood side by side.
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(kept), _mm512_cvtepi32_epi16(v));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(kept + 16),
                      _mm512_cvtepi32_epi16(_mm512_srli_epi32(v, 16)));
#else
  _mm512_storeu_si512(kept, v);
#endif
}
#endif

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

}  // namespace
