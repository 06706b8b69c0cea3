// Functions of vectors.

#pragma once

#include "vectors.h"

namespace {

// By Horner's rule, the highest power's coefficient first.
template <int Count>
RELATA_INLINE Vector polynomial(Vector x, const float (&coefficients)[Count]) {
  Vector sum = all(coefficients[0]);
#pragma GCC unroll 8
  for (int i = 1; i < Count; ++i) sum = sum * x + coefficients[i];
  return sum;
}

// e^x for x <= 0, to about one unit in the last place: 2^n times the Taylor series of e^r,
// |r| <= ln(2) / 2. What would be denormal is 0.
RELATA_INLINE Vector exp_of(Vector x) {
  // 1.5 * 2^23: a number of this size has no fraction, and its last bits are n.
  constexpr float kWhole = 12582912.0f;
  x = larger(x, all(-87.0f));
  const Vector shifted = x * 1.44269504f + kWhole;
  const Vector n = shifted - kWhole;
  // ln(2) in two parts, the first of which has bits to spare for the product with n.
  Vector r = x - n * 0.693359375f;
  r = r - n * -2.12194440e-4f;
  const Vector sum = polynomial(
      r, {1.0f / 5040, 1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 1.0f / 2, 1.0f, 1.0f});
  const Integers power = reinterpret_cast<Integers>(shifted) << 23;
  return reinterpret_cast<Vector>(reinterpret_cast<Integers>(sum) + power);
}

}  // namespace
