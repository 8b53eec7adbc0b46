// Batch-reduce matrix product, the inner loop under matmul, convolution, recurrence and attention:
//
//   C[rows, cols] (+)= sum_i A_i[rows, kb] B_i[kb, cols]
//
// over a list of pointer pairs, so that a convolution passes its kernel positions and nobody copies patches. B lies in
// panels of 32 columns, [kb][32], zero-padded where the matrix has fewer, or in any rows ldb apart that may be read up
// to the next multiple of tile_columns. Every element of C is one chain of fused multiply-adds in the order of the
// terms and of k, or, where a single term is longer than k_chain, several, each started at 0 and then added to C,
// whatever the tile it falls into: results do not depend on how rows are split. Columns beyond `cols` are computed and
// dropped, so a padding 0 times infinity never shows.
//
// Included by *.simd.cpp only.
#pragma once

#include "simd/vec.h"

namespace nonet::NONET_NS {

inline constexpr int64_t panel_columns = 32;
// A tile of C is held in registers: rows x 2 vectors of accumulators, 2 of B and one of A.
#if (defined(__AVX512F__) && NONET_WIDTH == 16) || defined(__aarch64__)
inline constexpr int tile_rows = 14;
#else
inline constexpr int tile_rows = 6;
#endif
inline constexpr int64_t tile_columns = 2 * width;
// A good kb for long sums: that much of a panel streams from L2 without a wait, and C leaves L1 seldom.
inline constexpr int64_t k_block = width == 16 ? 256 : 576;
// The longest chain of multiply-adds: longer ones would be less accurate than other libraries' sums.
inline constexpr int64_t k_chain = width == 16 ? 256 : 192;

NONET_INLINE int64_t minimum(int64_t a, int64_t b) {
  return a < b ? a : b;
}
NONET_INLINE constexpr int64_t maximum(int64_t a, int64_t b) {
  return a > b ? a : b;
}
NONET_INLINE int64_t divide_up(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

struct Term {
  const float* a;
  const float* b;
};

struct Product {
  const Term* terms;
  int64_t count;
  int64_t kb;
  int64_t lda;  // between rows of A, or between its columns (see Order)
  int64_t ldb;  // between rows of B: 32 for panels
  float* c;
  int64_t ldc;
  bool accumulate;              // add to C instead of overwriting it
  const float* bias = nullptr;  // [cols], added to every row of C that is overwritten
  bool past = false;            // rows of C of whole vectors are stored past the caches (vec.h); the caller drains
};

// How A is stored: element (r, k) is a[r * lda + k], or a[k * lda + r].
enum class Order : int { rows, columns };

// One tile: C[row + i, column + j] for i < R (the table's index + 1), j < cols <= tile_columns. A single vector of
// columns leaves registers for twice the rows.
using Tile = void (*)(const Product& product, int64_t row, int64_t column, int64_t cols);
extern const Tile narrow_tiles[2][2 * tile_rows];  // [order][R - 1], cols <= width
extern const Tile wide_tiles[2][tile_rows];
#if NONET_WIDTH == 16
extern const Tile half_tiles[2][2 * tile_rows];  // cols <= 8
#endif
// One or two rows alone: 8 or 4 vectors, so that enough additions are under way at once.
inline constexpr int64_t long_columns[2] = {8 * width, 4 * width};
extern const Tile long_tiles[2][2];

// Cuts rows into tiles of nearly one height (a thin last one would be slow): body(row, height).
template <class Body>
NONET_INLINE void for_tiles(int64_t rows, int64_t most, const Body& body) {
  int64_t left = divide_up(rows, most);
  for (int64_t row = 0; row < rows; --left) {
    const int64_t height = divide_up(rows - row, left);
    body(row, height);
    row += height;
  }
}

// One tile, in chains of even length.
template <Order order>
NONET_INLINE void run_tile(Tile tile, const Product& product, int64_t row, int64_t column, int64_t cols) {
  if (product.kb <= k_chain || product.count != 1) return tile(product, row, column, cols);
  Product part = product;
  Term term = *product.terms;
  part.terms = &term;
  part.kb = divide_up(product.kb, divide_up(product.kb, k_chain));
  for (int64_t left = product.kb; left > 0; left -= part.kb) {
    part.kb = minimum(part.kb, left);
    tile(part, row, column, cols);
    part.accumulate = true;
    term.a += order == Order::rows ? part.kb : part.kb * part.lda;
    term.b += part.kb * part.ldb;
  }
}

// epilogue(begin, end): rows [begin, end) of C are complete and still in L1.
template <Order order = Order::rows, class Epilogue>
NONET_INLINE void brgemm(int64_t rows, int64_t cols, const Product& product, const Epilogue& epilogue) {
  if (cols <= width) {
#if NONET_WIDTH == 16
    const Tile* tiles = (cols <= width / 2 ? half_tiles : narrow_tiles)[(int)order];
#else
    const Tile* tiles = narrow_tiles[(int)order];
#endif
    for_tiles(rows, 2 * tile_rows, [&](int64_t row, int64_t height) {
      run_tile<order>(tiles[height - 1], product, row, 0, cols);
      epilogue(row, row + height);
    });
    return;
  }
  for_tiles(rows, tile_rows, [&](int64_t row, int64_t height) {
    int64_t column = 0;
    if (height <= 2) {
      const int64_t step = long_columns[height - 1];
      for (; column + step <= cols; column += step)
        run_tile<order>(long_tiles[(int)order][height - 1], product, row, column, step);
    }
    for (; column < cols; column += tile_columns) {
      const int64_t part = minimum(tile_columns, cols - column);
      run_tile<order>((part > width ? wide_tiles[(int)order] : narrow_tiles[(int)order])[height - 1], product, row,
                      column, part);
    }
    epilogue(row, row + height);
  });
}

struct NoEpilogue {
  void operator()(int64_t, int64_t) const {}
};

}  // namespace nonet::NONET_NS
