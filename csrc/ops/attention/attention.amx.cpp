// Attention on tiles of bfloat16 (AMX).
#include "ops/attention/pairs.h"
#include "simd/tile.h"

namespace nonet::NONET_NS {

namespace {

struct Tiles {
  static constexpr int64_t query_block = 64;

  static void begin() { tile_configure(); }
  static void end() { tile_release(); }
  static void multiply(int64_t rows, int64_t cols, int64_t k, const bfloat16* a, int64_t lda, const char* b,
                       int64_t strip, float factor, float* c, int64_t ldc, bool accumulate) {
    alignas(64) float out[strip_lines * strip_lines];
    for (int64_t j = 0; j < cols; j += strip_lines, b += strip) {
      for (int64_t row = 0; row < rows; row += strip_lines) {
        product(a + row * lda, lda, b, divide_up(k, step_k), out);
        const int64_t columns = minimum(strip_lines, cols - j);
        for (int64_t r = 0; r < minimum(strip_lines, rows - row); ++r) {
          float* to = c + (row + r) * ldc + j;
          for_vectors(columns, [&](int64_t e, int64_t lanes) {
            const F sum = load(out + r * strip_lines + e) * factor;
            store_lanes(to + e, accumulate ? load_lanes(to + e, lanes) + sum : sum, lanes);
          });
        }
      }
    }
  }

 private:
  static void product(const bfloat16* a, int64_t lda, const char* b, int64_t steps, float* out) {
    const int64_t row = lda * (int64_t)sizeof(bfloat16);
    tile_zero<0>();
    tile_zero<1>();
    tile_zero<2>();
    tile_zero<3>();
    for (int64_t s = 0; s < steps; ++s, a += step_k, b += step_bytes(1)) {
      tile_load<4>(a, row);
      tile_load<5>(a + 16 * lda, row);
      tile_load<6>(b, tile_line);
      tile_load<7>(b + tile_bytes, tile_line);
      tile_dot<0, 4, 6>();
      tile_dot<1, 4, 7>();
      tile_dot<2, 5, 6>();
      tile_dot<3, 5, 7>();
    }
    constexpr int64_t line = strip_lines * sizeof(float);
    tile_store<0>(out, line);
    tile_store<1>(out + 16, line);
    tile_store<2>(out + 16 * strip_lines, line);
    tile_store<3>(out + 16 * strip_lines + 16, line);
  }
};

}  // namespace

constinit const AttentionKernels amx_attention_kernels = kernels_of<Tiles>;

}  // namespace nonet::NONET_NS
