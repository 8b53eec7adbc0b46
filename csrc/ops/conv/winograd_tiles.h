// What the kernels of winograd.h have in common. They run on products of `Values`: float32 (winograd.simd.cpp) or pairs
// of bfloat16 (winograd.avx512_bf16.cpp), whose operands hold two values of the summed index in every float.
#pragma once

#include "ops/conv/winograd.h"
#include "ops/conv/winograd_transforms.h"
#include "ops/matmul/brgemm.h"
#include "ops/matmul/epilogue.h"
#include "simd/transpose.h"

namespace nonet::NONET_NS {

namespace {

constexpr int64_t unit = 14;                       // tiles that a block is a multiple of
constexpr int64_t block_floats = 16 * 600 * unit;  // of a block's inputs: they stay in L2
constexpr int64_t most_tiles = 8 * unit;           // of a block
constexpr int64_t enough_tasks = 16;               // to share out
constexpr int64_t chunk_floats = 2 << 20;          // of transformed images at a time, for the gradient of weights
constexpr int64_t grain_floats = 1 << 16;          // of a task that transforms
constexpr int64_t line_padding = 16;               // between rows, so that they do not lie a power of two apart

NONET_INLINE int64_t line_of(int64_t floats) {
  return divide_up(floats, panel_columns) * panel_columns + line_padding;
}

template <class Values>
int64_t matrix_floats(int64_t depth) {
  return divide_up(depth, Values::count) * panel_columns + line_padding;
}

// body(taps of rows, taps of columns)
template <class Body>
NONET_INLINE void with_taps(int64_t rows, int64_t cols, const Body& body) {
  if (rows == 3) return body(Taps<3>{}, Taps<3>{});
  if (rows == 2) return cols == 2 ? body(Taps<2>{}, Taps<2>{}) : body(Taps<2>{}, Taps<1>{});
  return cols == 2 ? body(Taps<1>{}, Taps<2>{}) : body(Taps<1>{}, Taps<1>{});
}

NONET_INLINE int64_t matrices_of(int64_t taps) {
  return taps == 1 ? 1 : taps + 1;
}

// The sources' inputs and matrices are numbered one after the other.
struct Layout {
  int64_t position[most_sources];
  int64_t matrix[most_sources];
  int64_t positions = 0;
  int64_t matrices = 0;

  template <class Call>
  explicit Layout(const Call& w) {
    for (int64_t s = 0; s < w.sources; ++s) {
      position[s] = positions;
      matrix[s] = matrices;
      positions += (w.source[s].rows + 1) * (w.source[s].cols + 1);
      matrices += matrices_of(w.source[s].rows) * matrices_of(w.source[s].cols);
    }
  }
};

// What a place in a tile of sums is of a source: input and matrix, if it has any.
struct Part {
  bool there;
  int64_t position, matrix;
};
NONET_INLINE Part part_of(const WinogradSource& source, int i, int j) {
  const auto along = [](int taps, int at) { return taps == 1 ? at / 2 : at; };
  if ((source.rows == 1 && i == 1) || (source.cols == 1 && j == 1)) return {false, 0, 0};
  return {true, along(source.rows, i) * (source.cols + 1) + along(source.cols, j),
          (source.rows == 1 ? 0 : i) * matrices_of(source.cols) + (source.cols == 1 ? 0 : j)};
}

struct Place {
  int64_t image, row, col;  // the first pixel
};

// Tiles need not be whole at the bottom and on the right. Products that only missing pixels see are left out, so there
// are four kinds of them: number 2 (needs the lower pixels) + (needs those on the right).
constexpr int kinds = 4;
NONET_INLINE int kind_of(bool last_row, bool last_col) {
  return 2 * (int)last_row + (int)last_col;
}

// Tiles of 2 x 2 in images of rows x cols, counted through all images.
struct Tiles {
  int64_t rows, cols, count;
  bool half_rows, half_cols;  // at the bottom, on the right

  Tiles(int64_t images, int64_t image_rows, int64_t image_cols)
      : rows(divide_up(image_rows, 2)),
        cols(divide_up(image_cols, 2)),
        count(images * rows * cols),
        half_rows(image_rows % 2 != 0),
        half_cols(image_cols % 2 != 0) {}

  Place place(int64_t tile) const {
    const int64_t row = tile / cols;
    return {row / rows, row % rows * 2, tile % cols * 2};
  }
  // How many of the first `tiles` have products of every kind.
  void before(int64_t tiles, int64_t (&out)[kinds]) const {
    const int64_t images = tiles / (rows * cols);
    const int64_t rest = tiles - images * rows * cols - (rows - 1) * cols;
    const int64_t bottom = half_rows ? images * cols + maximum(0, rest) : 0;
    const int64_t right = half_cols ? tiles / cols : 0;
    out[0] = tiles;
    out[1] = tiles - right;
    out[2] = tiles - bottom;
    out[3] = tiles - right - bottom + (half_rows && half_cols ? images : 0);
  }
};

// Goes through tiles: where they are, and for every kind of product, whether they have it and how many before them do.
struct Cursor {
  const Tiles& tiles;
  Place at;
  int64_t row[kinds];
  bool has[kinds];

  // first: what is not counted.
  Cursor(const Tiles& tiles, int64_t tile, const int64_t (&first)[kinds]) : tiles(tiles), at(tiles.place(tile)) {
    tiles.before(tile, row);
    for (int kind = 0; kind < kinds; ++kind) row[kind] -= first[kind];
    look();
  }
  __attribute__((always_inline)) void next() {
    for (int kind = 0; kind < kinds; ++kind) row[kind] += (int64_t)has[kind];
    if ((at.col += 2) == 2 * tiles.cols) {
      at.col = 0;
      if ((at.row += 2) == 2 * tiles.rows) {
        at.row = 0;
        ++at.image;
      }
    }
    look();
  }

 private:
  __attribute__((always_inline)) void look() {
    const bool right = !(tiles.half_cols && at.col == 2 * (tiles.cols - 1));
    const bool below = !(tiles.half_rows && at.row == 2 * (tiles.rows - 1));
    has[0] = true;
    has[1] = right;
    has[2] = below;
    has[3] = right && below;
  }
};

// Not 0 where a value is not finite.
NONET_INLINE F add_faults(F faults, F value) {
  return fma(value, F{}, faults);
}
bool has_faults(F faults) {
  for (int i = 0; i < width; ++i) {
    if (!(faults[i] == 0.f)) return true;
  }
  return false;
}

// What is read in a loop that stores comes by value: a store might change it otherwise.
template <class R, class C>
NONET_INLINE void load_tile(int64_t row, int64_t pixel, const float* from, int64_t lanes,
                            F (&d)[R::pixels][C::pixels]) {
#pragma GCC unroll 4
  for (int i = 0; i < R::pixels; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < C::pixels; ++j) d[i][j] = load_lanes(from + i * row + j * pixel, lanes);
  }
}

}  // namespace

}  // namespace nonet::NONET_NS
