// Which of the kernels this processor can run.

#include "kinds.h"

#if defined(RELATA_BUILDS_TILES)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

// Raised with every change of what a function is given (plm/native/loading.py has the same number).
extern "C" int relata_interface() { return 2; }

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

#if defined(RELATA_BUILDS_TILES)
namespace {

// Whether there are tiles, with products of bfloat16 and int8, and this process may use them: Linux
// gives their state, 8 KB for each thread, to who asks for it (its Documentation/arch/x86/xstate.rst).
bool has_tiles() {
  constexpr unsigned kBfloat16 = 1u << 22, kTiles = 1u << 24, kInt8 = 1u << 25;
  constexpr unsigned kAll = kBfloat16 | kTiles | kInt8;
  constexpr long kRequest = 0x1023, kTileData = 18;
  unsigned a, b, c, d;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & kAll) != kAll) return false;
  return syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
}

}  // namespace
#endif

// Which products of blocks (blocked.h) it has instructions for, of each kind of weights the fastest
// first, parted by spaces.
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
#if defined(RELATA_BUILDS_TILES)
  // Processors with AMX have the others, too.
  if (bfloat16 && int8 && has_tiles()) return "single half bfloat16_amx bfloat16 int8_amx int8";
#endif
  if (bfloat16 && int8) return "single half bfloat16 int8";
  if (bfloat16) return "single half bfloat16";
  if (int8) return "single half int8";
  if (avx512) return "single half";
#endif
  return "";
}
