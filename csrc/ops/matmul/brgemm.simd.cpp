#include "ops/matmul/brgemm.h"

namespace nonet::NONET_NS {

namespace {

// Rows of A three to a pointer: base, base + lda and base + 2 lda are addressing modes of their own.
template <Order order, int R>
struct Rows {
  const float* base[order == Order::rows ? (R + 2) / 3 : 1];
  int64_t lda;

  __attribute__((always_inline)) Rows(const float* a, int64_t lda) : lda(lda) {
#pragma GCC unroll 10
    for (int i = 0; i < (int)(sizeof base / sizeof *base); ++i) base[i] = a + 3 * i * lda;
  }
  __attribute__((always_inline)) F operator[](int r) const {
    return broadcast(order == Order::rows ? base[r / 3][r % 3 * lda] : base[0][r]);
  }
  __attribute__((always_inline)) void next() {
#pragma GCC unroll 10
    for (auto& p : base) p += order == Order::rows ? 1 : lda;
  }
};

template <Order order, int R, int V>
void tile(const Product& p, int64_t row, int64_t column, int64_t cols) {
  F acc[R][V];
#pragma GCC unroll 28
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) acc[r][v] = F{};
  }
  for (const Term *term = p.terms, *end = term + p.count; term < end; ++term) {
    Rows<order, R> a(term->a + (order == Order::rows ? row * p.lda : row), p.lda);
    const float* b = term->b + column;
#pragma GCC unroll 4
    for (int64_t k = p.kb; k > 0; --k) {
      F bk[V];
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) bk[v] = load(b + v * width);
#pragma GCC unroll 28
      for (int r = 0; r < R; ++r) {
        const F ar = a[r];
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v) acc[r][v] = fma(ar, bk[v], acc[r][v]);
      }
      a.next();
      b += p.ldb;
    }
  }
  float* c = p.c + row * p.ldc + column;
  const float* bias = p.bias == nullptr || p.accumulate ? nullptr : p.bias + column;
  const auto lanes = [&](int v) { return v + 1 < V ? (int64_t)width : cols - v * width; };
  F start[V];
#pragma GCC unroll 8
  for (int v = 0; v < V; ++v) start[v] = bias == nullptr ? F{} : load_lanes(bias + v * width, lanes(v));
  const bool whole = cols == V * width;
#pragma GCC unroll 28
  for (int r = 0; r < R; ++r, c += p.ldc) {
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) {
      float* to = c + v * width;
      if (whole) {
        store(to, acc[r][v] + (p.accumulate ? load(to) : start[v]));
      } else {
        store_lanes(to, acc[r][v] + (p.accumulate ? load_lanes(to, lanes(v)) : start[v]), lanes(v));
      }
    }
  }
}

}  // namespace

#define NONET_TILES_6(order, V) \
  tile<order, 1, V>, tile<order, 2, V>, tile<order, 3, V>, tile<order, 4, V>, tile<order, 5, V>, tile<order, 6, V>
#define NONET_TILES_12(order, V)                                                                        \
  NONET_TILES_6(order, V), tile<order, 7, V>, tile<order, 8, V>, tile<order, 9, V>, tile<order, 10, V>, \
      tile<order, 11, V>, tile<order, 12, V>
#define NONET_TILES_14(order, V) NONET_TILES_12(order, V), tile<order, 13, V>, tile<order, 14, V>
#define NONET_TILES_28(order, V)                                                                            \
  NONET_TILES_14(order, V), tile<order, 15, V>, tile<order, 16, V>, tile<order, 17, V>, tile<order, 18, V>, \
      tile<order, 19, V>, tile<order, 20, V>, tile<order, 21, V>, tile<order, 22, V>, tile<order, 23, V>,   \
      tile<order, 24, V>, tile<order, 25, V>, tile<order, 26, V>, tile<order, 27, V>, tile<order, 28, V>

#if (defined(__AVX512F__) && NONET_WIDTH == 16) || defined(__aarch64__)
constinit const Tile wide_tiles[2][tile_rows] = {{NONET_TILES_14(Order::rows, 2)}, {NONET_TILES_14(Order::columns, 2)}};
constinit const Tile narrow_tiles[2][2 * tile_rows] = {{NONET_TILES_28(Order::rows, 1)},
                                                       {NONET_TILES_28(Order::columns, 1)}};
#else
constinit const Tile wide_tiles[2][tile_rows] = {{NONET_TILES_6(Order::rows, 2)}, {NONET_TILES_6(Order::columns, 2)}};
constinit const Tile narrow_tiles[2][2 * tile_rows] = {{NONET_TILES_12(Order::rows, 1)},
                                                       {NONET_TILES_12(Order::columns, 1)}};
#endif
constinit const Tile long_tiles[2][2] = {{tile<Order::rows, 1, 8>, tile<Order::rows, 2, 4>},
                                         {tile<Order::columns, 1, 8>, tile<Order::columns, 2, 4>}};

}  // namespace nonet::NONET_NS
