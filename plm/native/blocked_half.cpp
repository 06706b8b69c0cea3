// The products of weights in float16, for x86-64 with AVX-512.

#include "kinds.h"

#if defined(RELATA_BUILDS_BLOCKS)

// The functions below may use these instructions; who calls them asks relata_blocked first.
#if defined(__clang__)
#pragma clang attribute push( \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c"))), \
    apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")
#endif

#define RELATA_BLOCKED RELATA_HALF
#define RELATA_NAME(name) relata_blocked_half_##name

#include "blocked.h"

#if defined(__clang__)
#pragma clang attribute pop
#endif

#endif
