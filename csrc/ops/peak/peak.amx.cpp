#include "ops/peak/peak.h"

#include "simd/tile.h"

namespace nonet::NONET_NS {

namespace {

constexpr int accumulators = 5;  // a dot takes 52 cycles and one begins every 16: more than three keep the unit busy
constexpr int64_t dot_flops = 2 * 16 * 16 * 32;

template <int a, int b>
NONET_INLINE void add_products() {
  tile_dot<0, a, b>();
  tile_dot<1, a, b>();
  tile_dot<2, a, b>();
  tile_dot<3, a, b>();
  tile_dot<4, a, b>();
}

// bfloat16 of integers up to 255: exact, and so are their sums of 32 products.
void fill_operands(uint16_t (&a)[512], uint16_t (&b)[512], uint16_t (&minus_b)[512]) {
  for (int i = 0; i < 512; ++i) {
    const float values[2] = {(float)(i * 37 % 255 + 1), (float)(i * 91 % 253 + 1)};
    uint32_t bits[2];
    __builtin_memcpy(bits, values, sizeof bits);
    a[i] = (uint16_t)(bits[0] >> 16);
    b[i] = (uint16_t)(bits[1] >> 16);
    minus_b[i] = b[i] | 0x8000;
  }
}

double dots(int64_t iterations) {
  alignas(64) uint16_t a[512];
  alignas(64) uint16_t b[512];
  alignas(64) uint16_t minus_b[512];
  fill_operands(a, b, minus_b);
  tile_configure();
  tile_zero<0>();
  tile_zero<1>();
  tile_zero<2>();
  tile_zero<3>();
  tile_zero<4>();
  tile_load<5>(a, tile_line);
  tile_load<6>(b, tile_line);
  tile_load<7>(minus_b, tile_line);
  for (int64_t n = 0; n < iterations; ++n) {
    add_products<5, 6>();
    add_products<5, 7>();
  }
  add_products<5, 6>();
  alignas(64) float out[accumulators][256];
  tile_store<0>(out[0], tile_line);
  tile_store<1>(out[1], tile_line);
  tile_store<2>(out[2], tile_line);
  tile_store<3>(out[3], tile_line);
  tile_store<4>(out[4], tile_line);
  tile_release();
  double sum = 0;
  for (const auto& tile : out) {
    for (const float x : tile) sum += x;
  }
  return sum;
}

}  // namespace

constinit const ProductPeakKernels tile_peak_kernels = {2 * accumulators * dot_flops, dots};

}  // namespace nonet::NONET_NS
