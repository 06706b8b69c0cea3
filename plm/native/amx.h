// The instructions of AMX, as assembler: unlike the compilers' own, they let no access to memory pass.
//
// A tile has up to 16 rows of up to 64 bytes. Tests give RELATA_AMX, a header that does the same
// without the instructions.

#pragma once

#include <cstdint>

namespace {

// Which tiles there are, as LDTILECFG reads it; those of no rows are not there.
struct alignas(64) TileShapes {
  uint8_t palette = 1;
  uint8_t reserved[15] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};

}  // namespace

#if defined(RELATA_AMX)
#include RELATA_AMX
#else

namespace {

// Shapes the tiles of this thread anew; what they held is gone.
inline void shape_tiles(const TileShapes& shapes) {
  __asm__ volatile("ldtilecfg %0" : : "m"(shapes));
}

// Leaves no tiles for the system to keep for this thread.
inline void release_tiles() { __asm__ volatile("tilerelease" : : : "memory"); }

template <int Tile>
inline void clear_tile() {
  __asm__ volatile("tilezero %%tmm%c0" : : "i"(Tile));
}

// Rows that are `apart` bytes from one another.
template <int Tile>
inline void load_tile(const void* from, long apart) {
  __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(apart), "i"(Tile) : "memory");
}

template <int Tile>
inline void store_tile(void* to, long apart) {
  __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(apart), "i"(Tile) : "memory");
}

// Adds rows of X times rows of W to sums: pairs of bfloat16, sums in float32.
template <int Sums, int X, int W>
inline void multiply_pairs() {
  __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(Sums), "i"(X), "i"(W));
}

// The same of four bytes, those of X without a sign and those of W with one, sums in int32.
template <int Sums, int X, int W>
inline void multiply_fours() {
  __asm__ volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(Sums), "i"(X), "i"(W));
}

}  // namespace

#endif
