#include "ops/matmul/brgemm.h"

#include "ops/matmul/tile_rows.h"

namespace nonet::NONET_NS {

namespace {

#if NONET_WIDTH == 16
// Half a vector. Few columns waste less of it, and processors that execute a vector of 16 as two halves take two of
// them at once.
typedef float H __attribute__((vector_size(32)));

using NONET_NS::fma;
NONET_INLINE H fma(H a, H b, H c) {
  return _mm256_fmadd_ps(a, b, c);
}
#endif

// Operations on F and H alike.
template <class T>
NONET_INLINE T splat(float x) {
  const T zero{};
  return x - zero;
}
template <class T>
NONET_INLINE T load_as(const float* p) {
  T v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
NONET_INLINE F load_first(const float* p, int64_t lanes, F) {
  return load_lanes(p, lanes);
}
NONET_INLINE void store_first(float* p, F v, int64_t lanes) {
  store_lanes(p, v, lanes);
}
#if NONET_WIDTH == 16
#if defined(__AVX512VL__)
// AVX2's masked store is so slow on AMD's processors that it took a third of a first layer's time.
NONET_INLINE H load_first(const float* p, int64_t lanes, H) {
  return _mm256_maskz_loadu_ps((__mmask8)((1u << lanes) - 1), p);
}
NONET_INLINE void store_first(float* p, H v, int64_t lanes) {
  _mm256_mask_storeu_ps(p, (__mmask8)((1u << lanes) - 1), v);
}
#else
typedef int32_t HI __attribute__((vector_size(32)));
NONET_INLINE __m256i first_of_half(int64_t lanes) {
  return (__m256i)(HI{0, 1, 2, 3, 4, 5, 6, 7} < (HI{} + (int32_t)lanes));
}
NONET_INLINE H load_first(const float* p, int64_t lanes, H) {
  return _mm256_maskload_ps(p, first_of_half(lanes));
}
NONET_INLINE void store_first(float* p, H v, int64_t lanes) {
  _mm256_maskstore_ps(p, first_of_half(lanes), v);
}
#endif
#endif

template <Order order, int R, int V, class T = F>
void tile(const Product& p, int64_t row, int64_t column, int64_t cols) {
  constexpr int64_t wide = sizeof(T) / sizeof(float);
  T acc[R][V];
#pragma GCC unroll 28
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) acc[r][v] = T{};
  }
  for (const Term *term = p.terms, *end = term + p.count; term < end; ++term) {
    Rows<order, R> a(term->a + (order == Order::rows ? row * p.lda : row), p.lda);
    const float* b = term->b + column;
#pragma GCC unroll 4
    for (int64_t k = p.kb; k > 0; --k) {
      T bk[V];
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) bk[v] = load_as<T>(b + v * wide);
#pragma GCC unroll 28
      for (int r = 0; r < R; ++r) {
        const T ar = splat<T>(a[r]);
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v) acc[r][v] = fma(ar, bk[v], acc[r][v]);
      }
      a.next();
      b += p.ldb;
    }
  }
  float* c = p.c + row * p.ldc + column;
  const float* bias = p.bias == nullptr || p.accumulate ? nullptr : p.bias + column;
  const auto lanes = [&](int v) { return v + 1 < V ? wide : cols - v * wide; };
  T start[V];
#pragma GCC unroll 8
  for (int v = 0; v < V; ++v) start[v] = bias == nullptr ? T{} : load_first(bias + v * wide, lanes(v), T{});
  const bool whole = cols == V * wide;
  if constexpr (V == 2 && order == Order::rows && sizeof(T) == sizeof(F)) {
    if (p.past && whole && !p.accumulate) {
#pragma GCC unroll 28
      for (int r = 0; r < R; ++r, c += p.ldc) {
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v) store_past(c + v * wide, acc[r][v] + start[v]);
      }
      return;
    }
  }
#pragma GCC unroll 28
  for (int r = 0; r < R; ++r, c += p.ldc) {
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) {
      float* to = c + v * wide;
      if (whole) {
        const T sum = acc[r][v] + (p.accumulate ? load_as<T>(to) : start[v]);
        __builtin_memcpy(to, &sum, sizeof sum);
      } else {
        store_first(to, acc[r][v] + (p.accumulate ? load_first(to, lanes(v), T{}) : start[v]), lanes(v));
      }
    }
  }
}

}  // namespace

#define NONET_TILES_6(order, ...)                                                                                     \
  tile<order, 1, __VA_ARGS__>, tile<order, 2, __VA_ARGS__>, tile<order, 3, __VA_ARGS__>, tile<order, 4, __VA_ARGS__>, \
      tile<order, 5, __VA_ARGS__>, tile<order, 6, __VA_ARGS__>
#define NONET_TILES_12(order, ...)                                                             \
  NONET_TILES_6(order, __VA_ARGS__), tile<order, 7, __VA_ARGS__>, tile<order, 8, __VA_ARGS__>, \
      tile<order, 9, __VA_ARGS__>, tile<order, 10, __VA_ARGS__>, tile<order, 11, __VA_ARGS__>, \
      tile<order, 12, __VA_ARGS__>
#define NONET_TILES_14(order, ...) \
  NONET_TILES_12(order, __VA_ARGS__), tile<order, 13, __VA_ARGS__>, tile<order, 14, __VA_ARGS__>
#define NONET_TILES_28(order, ...)                                                                \
  NONET_TILES_14(order, __VA_ARGS__), tile<order, 15, __VA_ARGS__>, tile<order, 16, __VA_ARGS__>, \
      tile<order, 17, __VA_ARGS__>, tile<order, 18, __VA_ARGS__>, tile<order, 19, __VA_ARGS__>,   \
      tile<order, 20, __VA_ARGS__>, tile<order, 21, __VA_ARGS__>, tile<order, 22, __VA_ARGS__>,   \
      tile<order, 23, __VA_ARGS__>, tile<order, 24, __VA_ARGS__>, tile<order, 25, __VA_ARGS__>,   \
      tile<order, 26, __VA_ARGS__>, tile<order, 27, __VA_ARGS__>, tile<order, 28, __VA_ARGS__>

#if (defined(__AVX512F__) && NONET_WIDTH == 16) || defined(__aarch64__)
#define NONET_TILES_HALF(order) NONET_TILES_28(order, 1, H)
constinit const Tile wide_tiles[2][tile_rows] = {{NONET_TILES_14(Order::rows, 2)}, {NONET_TILES_14(Order::columns, 2)}};
constinit const Tile narrow_tiles[2][2 * tile_rows] = {{NONET_TILES_28(Order::rows, 1)},
                                                       {NONET_TILES_28(Order::columns, 1)}};
#else
#define NONET_TILES_HALF(order) NONET_TILES_12(order, 1, H)
constinit const Tile wide_tiles[2][tile_rows] = {{NONET_TILES_6(Order::rows, 2)}, {NONET_TILES_6(Order::columns, 2)}};
constinit const Tile narrow_tiles[2][2 * tile_rows] = {{NONET_TILES_12(Order::rows, 1)},
                                                       {NONET_TILES_12(Order::columns, 1)}};
#endif
#if NONET_WIDTH == 16
constinit const Tile half_tiles[2][2 * tile_rows] = {{NONET_TILES_HALF(Order::rows)},
                                                     {NONET_TILES_HALF(Order::columns)}};
#endif
constinit const Tile long_tiles[2][2] = {{tile<Order::rows, 1, 8>, tile<Order::rows, 2, 4>},
                                         {tile<Order::columns, 1, 8>, tile<Order::columns, 2, 4>}};

}  // namespace nonet::NONET_NS
