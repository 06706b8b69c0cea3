// The kernels for x86-64 with AVX2, FMA and F16C.

#if defined(__x86_64__)

// The functions below may use these instructions; who calls them asks relata_variants first.
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC target("avx2,fma,f16c")
#endif

#define RELATA_AVX2
#define RELATA_NAME(name) relata_avx2_##name
#define RELATA_LANES 8
#define RELATA_ROWS 3  // 12 sums and 4 operands fill 16 registers

#include "layer.h"
#include "masked_linear.h"
#include "readout.h"

#if defined(__clang__)
#pragma clang attribute pop
#endif

#endif
