// What is read off logits: their log-sum-exp, and the largest of a row. Each row is gone through once
// or twice, where PyTorch goes through it, or a copy of it, some ten times.

#pragma once

#include <cstdint>

#include "functions.h"

namespace {

constexpr int kBlock = 64;  // vectors whose sum is added to the whole at once, to round less

// log(sum(exp(x))) of `width` values.
float log_sum_exp(const float* x, long width) {
  const long whole = width / kLanes * kLanes;
  Vector most = all(-__builtin_inff());
  for (long k = 0; k < whole; k += kLanes) most = larger(most, load(x + k));
  float top = -__builtin_inff();
  for (int i = 0; i < kLanes; ++i) top = most[i] > top ? most[i] : top;
  for (long k = whole; k < width; ++k) top = x[k] > top ? x[k] : top;
  double total = 0;
  for (long block = 0; block < whole; block += kBlock * kLanes) {
    const long end = block + kBlock * kLanes < whole ? block + kBlock * kLanes : whole;
    Vector sum{};
    for (long k = block; k < end; k += kLanes) sum += exp_of(load(x + k) - top);
    total += sum_of(sum);
  }
  for (long k = whole; k < width; ++k) total += __builtin_exp(double(x[k]) - top);
  return float(top + __builtin_log(total));
}

// The largest `count` of `width` values, in descending order; of equal ones the first come first.
// Where `admitted`, a byte for each, is 0, a value counts as none; without it all are admitted.
void largest(const float* x, const uint8_t* admitted, long width, long count, float* values,
             int64_t* ids) {
  long held = 0;
  auto insert = [&](float value, long id) {
    long place = held < count ? held++ : count - 1;
    for (; place > 0 && values[place - 1] < value; --place) {
      values[place] = values[place - 1];
      ids[place] = ids[place - 1];
    }
    values[place] = value;
    ids[place] = id;
  };
  long k = 0;
  for (; k < count; ++k) insert(admitted && !admitted[k] ? -__builtin_inff() : x[k], k);
  for (; k + kLanes <= width; k += kLanes) {
    const Vector some = load(x + k);
    if (!any(some > all(values[count - 1]))) continue;
    for (int i = 0; i < kLanes; ++i)
      if (some[i] > values[count - 1] && (!admitted || admitted[k + i])) insert(some[i], k + i);
  }
  for (; k < width; ++k)
    if (x[k] > values[count - 1] && (!admitted || admitted[k])) insert(x[k], k);
}

}  // namespace

// norms (rows,): the log-sum-exp of each row of x (rows, width).
extern "C" void RELATA_NAME(log_sum_exp)(const float* x, float* norms, int64_t rows,
                                         int64_t width) {
#pragma omp parallel for schedule(static) if (rows > 1)
  for (int64_t row = 0; row < rows; ++row) norms[row] = log_sum_exp(x + row * width, width);
}

// values and ids (rows, count): the largest of each row of x (rows, width), and where they stand;
// admitted (width,), or null.
extern "C" void RELATA_NAME(largest)(const float* x, const uint8_t* admitted, float* values,
                                     int64_t* ids, int64_t rows, int64_t width, int64_t count) {
#pragma omp parallel for schedule(static) if (rows > 1)
  for (int64_t row = 0; row < rows; ++row)
    largest(x + row * width, admitted, width, count, values + row * count, ids + row * count);
}
