// What a transformer layer does between its matrices, on rows that lie end to end: attention without
// padding, LayerNorm of a sum, GELU. A small batch spends more time on starting these in PyTorch
// than on the matrices; and in a large one the biases of the matrices, which PyTorch writes to memory
// before each product, are added here to what is being read anyway. Any bias may be null.
//
// Compiled with OpenMP but not linked with it, see masked_linear.h.

#pragma once

#include <cstdint>

#include "functions.h"

namespace {

constexpr int kMostDepth = 128;   // of a head
constexpr int kMostKeys = 512;    // of a sentence
constexpr long kAlone = 1 << 14;  // values up to which waking other threads takes longer

// x * Phi(x). erfc(z) = P(t) e^(-z^2), t = 1 / (1 + p z), to 1.5e-7 (Abramowitz and Stegun 7.1.26).
RELATA_INLINE Vector gelu_of(Vector x) {
  const Vector size = reinterpret_cast<Vector>(reinterpret_cast<Integers>(x) & 0x7fffffff);
  const Vector z = size * 0.70710678f;
  const Vector t = 1.0f / (z * 0.3275911f + 1.0f);
  const Vector sum =
      polynomial(t, {1.061405429f, -1.453152027f, 1.421413741f, -0.284496736f, 0.254829592f});
  const Vector erfc = sum * t * exp_of(-(z * z));
  return larger(x, Vector{}) - size * 0.5f * erfc;
}

RELATA_INLINE Vector bias_at(const float* bias, long place) {
  return bias ? load(bias + place) : Vector{};
}

// One head of one query over the keys of its sentence; rows are `stride` apart. A bias of the keys
// would raise all scores of a query alike, which softmax does not see.
void attend(const float* query, const float* key, const float* value, const float* query_bias,
            const float* value_bias, float* output, long keys, long depth, long stride,
            float scale) {
  float asked[kMostDepth];
  for (long d = 0; d < depth; d += kLanes)
    store(asked + d, load(query + d) + bias_at(query_bias, d));
  float scores[kMostKeys + kLanes];
  float most = -__builtin_inff();
  for (long j = 0; j < keys; ++j) {
    Vector sum{};
    for (long d = 0; d < depth; d += kLanes)
      sum = load(asked + d) * load(key + j * stride + d) + sum;
    scores[j] = sum_of(sum) * scale;
    most = scores[j] > most ? scores[j] : most;
  }
  for (long j = keys; j % kLanes; ++j) scores[j] = -__builtin_inff();
  Vector total{};
  for (long j = 0; j < keys; j += kLanes) {
    const Vector share = exp_of(load(scores + j) - most);
    store(scores + j, share);
    total += share;
  }
  // The places beyond the last key hold e^-87 each, which is nothing beside the largest share, 1.
  const float each = 1 / sum_of(total);
  for (long d = 0; d < depth; d += kLanes) {
    Vector sum{};
    for (long j = 0; j < keys; ++j) sum = scores[j] * load(value + j * stride + d) + sum;
    store(output + d, sum * each + bias_at(value_bias, d));
  }
}

void norm_of_sum(const float* x, const float* x_bias, const float* y, const float* weight,
                 const float* bias, float* output, long width, float eps) {
  Vector sum{};
  for (long k = 0; k < width; k += kLanes) {
    const Vector both = load(x + k) + bias_at(x_bias, k) + load(y + k);
    store(output + k, both);
    sum += both;
  }
  const float mean = sum_of(sum) / width;
  Vector squares{};
  for (long k = 0; k < width; k += kLanes) {
    const Vector off = load(output + k) - mean;
    squares = off * off + squares;
  }
  const float scale = 1 / __builtin_sqrtf(sum_of(squares) / width + eps);
  for (long k = 0; k < width; k += kLanes) {
    const Vector off = (load(output + k) - mean) * scale;
    store(output + k, off * load(weight + k) + load(bias + k));
  }
}

}  // namespace

// Attention of sentences that lie end to end: keys and values (rows, hidden), those of sentence i
// from starts[i] to starts[i + 1]; queries and output likewise by query_starts. hidden is heads
// times depth, a multiple of the lanes, and the length of the biases. 0, or -1 for sizes that it does
// not take.
extern "C" int RELATA_NAME(attention)(const float* query, const float* key, const float* value,
                                      const float* query_bias, const float* value_bias,
                                      float* output, int64_t sentences, const int64_t* starts,
                                      const int64_t* query_starts, int64_t heads, int64_t depth) {
  if (depth % kLanes || depth <= 0 || depth > kMostDepth) return -1;
  for (int64_t i = 0; i < sentences; ++i)
    if (starts[i + 1] - starts[i] > kMostKeys || starts[i + 1] <= starts[i]) return -1;
  const int64_t stride = heads * depth;
  const float scale = 1 / __builtin_sqrtf(static_cast<float>(depth));
#pragma omp parallel for collapse(2) schedule(dynamic, 1) \
    if (query_starts[sentences] * stride > kAlone / 8)
  for (int64_t i = 0; i < sentences; ++i)
    for (int64_t head = 0; head < heads; ++head)
      for (int64_t q = query_starts[i]; q < query_starts[i + 1]; ++q) {
        const int64_t first = starts[i] * stride + head * depth;
        const int64_t place = q * stride + head * depth;
        attend(query + place, key + first, value + first,
               query_bias ? query_bias + head * depth : nullptr,
               value_bias ? value_bias + head * depth : nullptr, output + place,
               starts[i + 1] - starts[i], depth, stride, scale);
      }
  return 0;
}

// output = LayerNorm(x + x_bias + y), all (rows, width), width a multiple of the lanes.
extern "C" void RELATA_NAME(norm_of_sum)(const float* x, const float* x_bias, const float* y,
                                         const float* weight, const float* bias, float* output,
                                         int64_t rows, int64_t width, float eps) {
#pragma omp parallel for schedule(static) if (rows * width > kAlone)
  for (int64_t row = 0; row < rows; ++row)
    norm_of_sum(x + row * width, x_bias, y + row * width, weight, bias, output + row * width, width,
                eps);
}

// x = GELU(x + bias), the exact one; x is (rows, width), width a multiple of the lanes.
extern "C" void RELATA_NAME(gelu)(float* x, const float* bias, int64_t rows, int64_t width) {
#pragma omp parallel for schedule(static) if (rows * width > kAlone)
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t k = 0; k < width; k += kLanes) {
      float* place = x + row * width + k;
      store(place, gelu_of(load(place) + bias_at(bias, k)));
    }
}
