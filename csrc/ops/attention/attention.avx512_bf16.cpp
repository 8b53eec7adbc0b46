// Attention on dot products of bfloat16 pairs (VDPBF16PS).
#include "ops/attention/pairs.h"
#include "simd/dot.h"

namespace nonet::NONET_NS {

namespace {

constexpr int most_rows = 11;  // 22 accumulators, and as many dots to 13 loads

struct Dot {
  const bfloat16* a;
  int64_t lda;
  const char* b;
  int64_t pairs;  // of k
  float factor;
  float* c;
  int64_t ldc;
  int64_t cols;  // up to 32
  bool accumulate;
};

NONET_INLINE void put(const Dot& d, float* c, int64_t from, F sum) {
  const int64_t lanes = minimum(width, d.cols - from);
  if (lanes <= 0) return;
  sum *= d.factor;
  if (d.accumulate) sum += load_lanes(c + from, lanes);
  store_lanes(c + from, sum, lanes);
}

// A pair of a row of A is broadcast, a register of B holds one pair of 16 columns.
template <int R>
void dot_rows(const Dot& d) {
  F acc[R][2] = {};
  const char* b = d.b;
  for (int64_t pair = 0; pair < d.pairs; b += tile_bytes) {
    const int64_t end = minimum(d.pairs, pair + 16);
#pragma GCC unroll 2
    for (; pair < end; ++pair, b += 64) {
      const U low = load_pairs(b);
      const U high = load_pairs(b + tile_bytes);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        const U ar = broadcast_pair(d.a + r * d.lda + 2 * pair);
        acc[r][0] = dot(ar, low, acc[r][0]);
        acc[r][1] = dot(ar, high, acc[r][1]);
      }
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
    put(d, d.c + r * d.ldc, 0, acc[r][0]);
    put(d, d.c + r * d.ldc, 16, acc[r][1]);
  }
}

using Rows = void (*)(const Dot&);
constexpr Rows by_rows[most_rows] = {dot_rows<1>, dot_rows<2>, dot_rows<3>, dot_rows<4>,  dot_rows<5>, dot_rows<6>,
                                     dot_rows<7>, dot_rows<8>, dot_rows<9>, dot_rows<10>, dot_rows<11>};

struct Dots {
  static constexpr int64_t query_block = 5 * most_rows;

  static void begin() {}
  static void end() {}
  static void multiply(int64_t rows, int64_t cols, int64_t k, const bfloat16* a, int64_t lda, const char* b,
                       int64_t strip, float factor, float* c, int64_t ldc, bool accumulate) {
    for (int64_t j = 0; j < cols; j += strip_lines, b += strip) {
      for_tiles(rows, most_rows, [&](int64_t row, int64_t height) {
        by_rows[height - 1](Dot{a + row * lda, lda, b, divide_up(k, 2), factor, c + row * ldc + j, ldc,
                                minimum(strip_lines, cols - j), accumulate});
      });
    }
  }
};

}  // namespace

constinit const AttentionKernels dot_attention_kernels = kernels_of<Dots>;

}  // namespace nonet::NONET_NS
