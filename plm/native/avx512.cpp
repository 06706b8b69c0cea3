// The kernels for x86-64 with AVX-512.

#if defined(__x86_64__)

// The functions below may use these instructions; who calls them asks relata_variants first.
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx2,fma,f16c")
#endif

#define RELATA_AVX512
#define RELATA_NAME(name) relata_avx512_##name
#define RELATA_LANES 16
#define RELATA_ROWS 6  // 24 sums and 7 operands of 32 registers

#include "layer.h"
#include "masked_linear.h"
#include "readout.h"

#if defined(__clang__)
#pragma clang attribute pop
#endif

#endif
