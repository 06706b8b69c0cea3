// What a transformer layer does between its matrices, on rows that lie end to end: attention without
// padding, LayerNorm of a sum, GELU. A small batch spends more time on starting these in PyTorch
// than on the matrices.
//
// Compiled with OpenMP but not linked with it, see masked_linear.cpp.

#include <immintrin.h>

#include <cmath>
#include <cstdint>

namespace {

constexpr int kLanes = 8;
constexpr int kMostDepth = 128;   // of a head
constexpr int kMostKeys = 512;    // of a sentence
constexpr long kAlone = 1 << 14;  // values up to which waking other threads takes longer

#define AVX2 __attribute__((target("avx2,fma")))

AVX2 inline float sum_of(__m256 v) {
  __m128 sum = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
  return _mm_cvtss_f32(_mm_add_ss(sum, _mm_movehdup_ps(sum)));
}

// By Horner's rule, the highest power's coefficient first.
template <int Count>
AVX2 inline __m256 polynomial(__m256 x, const float (&coefficients)[Count]) {
  __m256 sum = _mm256_set1_ps(coefficients[0]);
#pragma GCC unroll 8
  for (int i = 1; i < Count; ++i)
    sum = _mm256_fmadd_ps(sum, x, _mm256_set1_ps(coefficients[i]));
  return sum;
}

// e^x for x <= 0, to about one unit in the last place: 2^n times the Taylor series of e^r,
// |r| <= ln(2) / 2. What would be denormal is 0.
AVX2 inline __m256 exp_of(__m256 x) {
  x = _mm256_max_ps(x, _mm256_set1_ps(-87.0f));
  const __m256 n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(1.44269504f)),
                                   _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  // ln(2) in two parts, the first of which has bits to spare for the product with n.
  __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0.693359375f), x);
  r = _mm256_fnmadd_ps(n, _mm256_set1_ps(-2.12194440e-4f), r);
  const __m256 sum = polynomial(
      r, {1.0f / 5040, 1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 1.0f / 2, 1.0f, 1.0f});
  const __m256i power = _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23);
  return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(sum), power));
}

// x * Phi(x). erfc(z) = P(t) e^(-z^2), t = 1 / (1 + p z), to 1.5e-7 (Abramowitz and Stegun 7.1.26).
AVX2 inline __m256 gelu_of(__m256 x) {
  const __m256 size = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x);
  const __m256 z = _mm256_mul_ps(size, _mm256_set1_ps(0.70710678f));
  const __m256 one = _mm256_set1_ps(1.0f);
  const __m256 t =
      _mm256_div_ps(one, _mm256_fmadd_ps(z, _mm256_set1_ps(0.3275911f), one));
  const __m256 sum =
      polynomial(t, {1.061405429f, -1.453152027f, 1.421413741f, -0.284496736f, 0.254829592f});
  const __m256 tail = exp_of(_mm256_sub_ps(_mm256_setzero_ps(), _mm256_mul_ps(z, z)));
  const __m256 erfc = _mm256_mul_ps(_mm256_mul_ps(sum, t), tail);
  return _mm256_fnmadd_ps(_mm256_mul_ps(size, _mm256_set1_ps(0.5f)), erfc,
                          _mm256_max_ps(x, _mm256_setzero_ps()));
}

// One head of one query over the keys of its sentence; rows are `stride` apart.
AVX2 void attend(const float* query, const float* key, const float* value, float* output, long keys,
                 long depth, long stride, float scale) {
  alignas(32) float scores[kMostKeys + kLanes];
  float most = -INFINITY;
  for (long j = 0; j < keys; ++j) {
    __m256 sum = _mm256_setzero_ps();
    for (long d = 0; d < depth; d += kLanes)
      sum = _mm256_fmadd_ps(_mm256_loadu_ps(query + d), _mm256_loadu_ps(key + j * stride + d), sum);
    scores[j] = sum_of(sum) * scale;
    most = scores[j] > most ? scores[j] : most;
  }
  for (long j = keys; j % kLanes; ++j) scores[j] = -INFINITY;
  __m256 total = _mm256_setzero_ps();
  for (long j = 0; j < keys; j += kLanes) {
    const __m256 share = exp_of(_mm256_sub_ps(_mm256_load_ps(scores + j), _mm256_set1_ps(most)));
    _mm256_store_ps(scores + j, share);
    total = _mm256_add_ps(total, share);
  }
  // The places beyond the last key hold e^-87 each, which is nothing beside the largest share, 1.
  const float each = 1 / sum_of(total);
  for (long d = 0; d < depth; d += kLanes) {
    __m256 sum = _mm256_setzero_ps();
    for (long j = 0; j < keys; ++j)
      sum = _mm256_fmadd_ps(_mm256_set1_ps(scores[j]), _mm256_loadu_ps(value + j * stride + d), sum);
    _mm256_storeu_ps(output + d, _mm256_mul_ps(sum, _mm256_set1_ps(each)));
  }
}

AVX2 void norm_of_sum(const float* x, const float* y, const float* weight, const float* bias,
                      float* output, long width, float eps) {
  __m256 sum = _mm256_setzero_ps();
  for (long k = 0; k < width; k += kLanes) {
    const __m256 both = _mm256_add_ps(_mm256_loadu_ps(x + k), _mm256_loadu_ps(y + k));
    _mm256_storeu_ps(output + k, both);
    sum = _mm256_add_ps(sum, both);
  }
  const __m256 mean = _mm256_set1_ps(sum_of(sum) / width);
  __m256 squares = _mm256_setzero_ps();
  for (long k = 0; k < width; k += kLanes) {
    const __m256 off = _mm256_sub_ps(_mm256_loadu_ps(output + k), mean);
    squares = _mm256_fmadd_ps(off, off, squares);
  }
  const __m256 scale = _mm256_set1_ps(1 / std::sqrt(sum_of(squares) / width + eps));
  for (long k = 0; k < width; k += kLanes) {
    const __m256 off = _mm256_mul_ps(_mm256_sub_ps(_mm256_loadu_ps(output + k), mean), scale);
    _mm256_storeu_ps(output + k, _mm256_fmadd_ps(off, _mm256_loadu_ps(weight + k),
                                                 _mm256_loadu_ps(bias + k)));
  }
}

}  // namespace

extern "C" {

// Attention of sentences that lie end to end: keys and values (rows, hidden), those of sentence i
// from starts[i] to starts[i + 1]; queries and output likewise by query_starts. hidden is heads
// times depth, a multiple of 8. 0, or -1 for sizes that it does not take.
AVX2 int relata_attention(const float* query, const float* key, const float* value, float* output,
                          int64_t sentences, const int64_t* starts, const int64_t* query_starts,
                          int64_t heads, int64_t depth) {
  if (depth % kLanes || depth <= 0 || depth > kMostDepth) return -1;
  for (int64_t i = 0; i < sentences; ++i)
    if (starts[i + 1] - starts[i] > kMostKeys || starts[i + 1] <= starts[i]) return -1;
  const int64_t stride = heads * depth;
  const float scale = 1 / std::sqrt(static_cast<float>(depth));
#pragma omp parallel for collapse(2) schedule(dynamic, 1) \
    if (query_starts[sentences] * stride > kAlone / 8)
  for (int64_t i = 0; i < sentences; ++i)
    for (int64_t head = 0; head < heads; ++head)
      for (int64_t q = query_starts[i]; q < query_starts[i + 1]; ++q) {
        const int64_t first = starts[i] * stride + head * depth;
        const int64_t place = q * stride + head * depth;
        attend(query + place, key + first, value + first, output + place, starts[i + 1] - starts[i],
               depth, stride, scale);
      }
  return 0;
}

// output = LayerNorm(x + y), all (rows, width), width a multiple of 8.
AVX2 void relata_norm_of_sum(const float* x, const float* y, const float* weight, const float* bias,
                             float* output, int64_t rows, int64_t width, float eps) {
#pragma omp parallel for schedule(static) if (rows * width > kAlone)
  for (int64_t row = 0; row < rows; ++row)
    norm_of_sum(x + row * width, y + row * width, weight, bias, output + row * width, width, eps);
}

// x = GELU(x), the exact one; count is a multiple of 8.
AVX2 void relata_gelu(float* x, int64_t count) {
#pragma omp parallel for schedule(static) if (count > kAlone)
  for (int64_t k = 0; k < count; k += kLanes)
    _mm256_storeu_ps(x + k, gelu_of(_mm256_loadu_ps(x + k)));
}
}
