// The tiles of brgemm.h on dot products of bfloat16 pairs: every float of A and B holds two values of the summed index,
// the first one in the lower half. *.avx512_bf16.cpp only.
#pragma once

#include "ops/matmul/tile_rows.h"
#include "simd/dot.h"

namespace nonet::NONET_NS {

namespace {

// Rounded to nearest even, in the lower halves; NaN stays NaN.
NONET_INLINE U rounded(F v) {
  const U bits = (U)v;
  return v != v ? (bits >> 16) | 0x40 : (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
}
NONET_INLINE F as_pairs(F first, F second) {
  return (F)(rounded(first) | (rounded(second) << 16));
}

template <Order order, int R>
void pair_tile(const Product& p, int64_t row, int64_t column, int64_t cols) {
  F acc[R][2] = {};
  for (const Term *term = p.terms, *end = term + p.count; term < end; ++term) {
    Rows<order, R> a(term->a + (order == Order::rows ? row * p.lda : row), p.lda);
    const float* b = term->b + column;
#pragma GCC unroll 2
    for (int64_t k = p.kb; k > 0; --k) {
      const U low = load_pairs(b);
      const U high = load_pairs(b + width);
#pragma GCC unroll 14
      for (int r = 0; r < R; ++r) {
        const U ar = broadcast_pair(&a[r]);
        acc[r][0] = dot(ar, low, acc[r][0]);
        acc[r][1] = dot(ar, high, acc[r][1]);
      }
      a.next();
      b += p.ldb;
    }
  }
  const int64_t lanes[2] = {minimum(width, cols), cols - width};
  float* c = p.c + row * p.ldc + column;
  F start[2] = {};
  for (int v = 0; v < 2 && p.bias != nullptr && !p.accumulate; ++v) {
    if (lanes[v] > 0) start[v] = load_lanes(p.bias + column + v * width, lanes[v]);
  }
  if (p.past && !p.accumulate && lanes[1] == width) {
#pragma GCC unroll 14
    for (int r = 0; r < R; ++r, c += p.ldc) {
      store_past(c, acc[r][0] + start[0]);
      store_past(c + width, acc[r][1] + start[1]);
    }
    return;
  }
#pragma GCC unroll 14
  for (int r = 0; r < R; ++r, c += p.ldc) {
#pragma GCC unroll 2
    for (int v = 0; v < 2; ++v) {
      float* to = c + v * width;
      if (lanes[v] > 0) store_lanes(to, acc[r][v] + (p.accumulate ? load_lanes(to, lanes[v]) : start[v]), lanes[v]);
    }
  }
}

template <Order order>
constexpr Tile pair_tiles[] = {pair_tile<order, 1>,  pair_tile<order, 2>,  pair_tile<order, 3>,  pair_tile<order, 4>,
                               pair_tile<order, 5>,  pair_tile<order, 6>,  pair_tile<order, 7>,  pair_tile<order, 8>,
                               pair_tile<order, 9>,  pair_tile<order, 10>, pair_tile<order, 11>, pair_tile<order, 12>,
                               pair_tile<order, 13>, pair_tile<order, 14>};
constexpr int64_t most_pair_rows = 14;

// The sums of a product are one chain.
template <Order order, class Epilogue>
NONET_INLINE void multiply_pairs(int64_t rows, int64_t cols, const Product& product, const Epilogue& epilogue) {
  // What goes past the caches waits in a few buffers: no more at once than these hold.
  for_tiles(rows, product.past ? most_pair_rows / 2 : most_pair_rows, [&](int64_t row, int64_t height) {
    for (int64_t column = 0; column < cols; column += tile_columns)
      pair_tiles<order>[height - 1](product, row, column, minimum(tile_columns, cols - column));
    epilogue(row, row + height);
  });
}

}  // namespace

}  // namespace nonet::NONET_NS
