// The products of weights in bfloat16, for x86-64 with AVX-512 and AMX.

#include "kinds.h"

#if defined(RELATA_BUILDS_TILES)

// The functions below may use these instructions; who calls them asks relata_blocked first.
#if defined(__clang__)
#pragma clang attribute push( \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,f16c"))), \
    apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,f16c")
#endif

#define RELATA_BLOCKED RELATA_BFLOAT16
#define RELATA_TILES
#define RELATA_NAME(name) relata_blocked_bfloat16_amx_##name

#include "blocked.h"

#if defined(__clang__)
#pragma clang attribute pop
#endif

#endif
