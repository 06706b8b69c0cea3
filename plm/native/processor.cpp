// Which of the kernels this processor can run.

#include "kinds.h"

// Their names, the fastest first, parted by spaces.
extern "C" const char* relata_variants() {
#if defined(__x86_64__)
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                    __builtin_cpu_supports("f16c");
  if (avx2 && __builtin_cpu_supports("avx512f")) return "avx512 avx2 portable";
  if (avx2) return "avx2 portable";
#endif
  return "portable";
}

// The kinds of weights whose products it has instructions for (blocked.h), parted by spaces.
extern "C" const char* relata_blocked() {
#if defined(RELATA_BUILDS_BLOCKS)
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#if defined(RELATA_BUILDS_BFLOAT16)
  const bool bfloat16 = avx512 && __builtin_cpu_supports("avx512bf16");
#else
  const bool bfloat16 = false;
#endif
  const bool int8 = avx512 && __builtin_cpu_supports("avx512vnni");
  if (bfloat16 && int8) return "half bfloat16 int8";
  if (bfloat16) return "half bfloat16";
  if (int8) return "half int8";
  if (avx512) return "half";
#endif
  return "";
}
