// The instructions of AMX (plm/native/amx.h) in C++, after Intel's description of them; what they
// would refuse, or do in another way than was meant, is counted.

#pragma once

#include <atomic>
#include <cstring>

namespace {

struct EmulatedTiles {
  TileShapes shapes = {0};
  uint8_t rows[8][16][64] = {};
};

thread_local EmulatedTiles emulated;
std::atomic<long> faults{0}, products{0}, held{0};

inline void expect(bool right) {
  if (!right) ++faults;
}

inline void shape_tiles(const TileShapes& shapes) {
  expect(shapes.palette == 1 && reinterpret_cast<uintptr_t>(&shapes) % 64 == 0);
  for (int tile = 0; tile < 16; ++tile) {
    const int rows = shapes.rows[tile], bytes = shapes.row_bytes[tile];
    expect(rows <= 16 && bytes <= 64 && (rows == 0) == (bytes == 0) && (tile < 8 || rows == 0));
  }
  if (emulated.shapes.palette == 0) ++held;
  emulated.shapes = shapes;
  std::memset(emulated.rows, 0, sizeof emulated.rows);
}

inline void release_tiles() {
  expect(emulated.shapes.palette == 1);
  --held;
  emulated = EmulatedTiles{};
}

inline int rows_of(int tile) {
  expect(emulated.shapes.palette == 1 && emulated.shapes.rows[tile] > 0);
  return emulated.shapes.rows[tile];
}

template <int Tile>
inline void clear_tile() {
  rows_of(Tile);
  std::memset(emulated.rows[Tile], 0, sizeof emulated.rows[Tile]);
}

template <int Tile>
inline void load_tile(const void* from, long apart) {
  std::memset(emulated.rows[Tile], 0, sizeof emulated.rows[Tile]);
  for (int row = 0; row < rows_of(Tile); ++row)
    std::memcpy(emulated.rows[Tile][row], static_cast<const char*>(from) + row * apart,
                emulated.shapes.row_bytes[Tile]);
}

template <int Tile>
inline void store_tile(void* to, long apart) {
  for (int row = 0; row < rows_of(Tile); ++row)
    std::memcpy(static_cast<char*>(to) + row * apart, emulated.rows[Tile][row],
                emulated.shapes.row_bytes[Tile]);
}

template <typename Sum, int Sums, int X, int W, typename Dot>
inline void multiply_with(Dot dot) {
  const TileShapes& s = emulated.shapes;
  expect(s.rows[Sums] == s.rows[X] && s.row_bytes[Sums] == s.row_bytes[W] &&
         s.row_bytes[X] == 4 * s.rows[W]);
  ++products;
  for (int row = 0; row < rows_of(Sums); ++row)
    for (int step = 0; step < rows_of(W); ++step)
      for (int column = 0; column < s.row_bytes[W] / 4; ++column) {
        Sum sum;
        std::memcpy(&sum, emulated.rows[Sums][row] + 4 * column, 4);
        sum += dot(emulated.rows[X][row] + 4 * step, emulated.rows[W][step] + 4 * column);
        std::memcpy(emulated.rows[Sums][row] + 4 * column, &sum, 4);
      }
}

inline float widened(const uint8_t* bfloat16) {
  uint8_t bytes[4] = {0, 0, bfloat16[0], bfloat16[1]};
  float value;
  std::memcpy(&value, bytes, 4);
  return value;
}

template <int Sums, int X, int W>
inline void multiply_pairs() {
  multiply_with<float, Sums, X, W>([](const uint8_t* x, const uint8_t* w) {
    return widened(x) * widened(w) + widened(x + 2) * widened(w + 2);
  });
}

template <int Sums, int X, int W>
inline void multiply_fours() {
  multiply_with<int32_t, Sums, X, W>([](const uint8_t* x, const uint8_t* w) {
    int32_t sum = 0;
    for (int i = 0; i < 4; ++i) sum += int32_t(x[i]) * static_cast<int8_t>(w[i]);
    return sum;
  });
}

}  // namespace

// How often something was wrong, how many products there were, and in how many threads tiles are
// held, since the library was loaded.
extern "C" long emulated_faults() { return faults; }
extern "C" long emulated_products() { return products; }
extern "C" long emulated_held() { return held; }
