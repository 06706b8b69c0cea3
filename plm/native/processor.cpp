// Which of the kernels this processor can run.

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
