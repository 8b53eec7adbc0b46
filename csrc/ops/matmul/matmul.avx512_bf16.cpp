// Matrix products on dot products of bfloat16 pairs (VDPBF16PS), for what is one product of terms: medium, and operands
// that are stored as bfloat16. Two such products would cost more than the multiply-adds they stand for.
#include "ops/matmul/terms_gemm.h"
#include "simd/dot.h"

namespace nonet::NONET_NS {

namespace {

// R lines of A times the 32 of B. Both are stored by pairs of k: a register of B holds one pair of 16 lines, and a pair
// of a line of A is broadcast to it.
template <int R>
void dot_rows(const char* a, const char* b, int64_t steps, float* out) {
  F acc[R][2] = {};
  for (int64_t s = 0; s < steps; ++s, a += step_bytes(1), b += step_bytes(1)) {
#pragma GCC unroll 2
    for (int pair = 0; pair < 16; ++pair) {
      const U low = load_pairs(b + 64 * pair);
      const U high = load_pairs(b + tile_bytes + 64 * pair);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        const U ar = broadcast_pair(a + 64 * r + 4 * pair);
        acc[r][0] = dot(ar, low, acc[r][0]);
        acc[r][1] = dot(ar, high, acc[r][1]);
      }
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
    store(out + r * strip_lines, acc[r][0]);
    store(out + r * strip_lines + 16, acc[r][1]);
  }
}

// 32 lines are 11 + 11 + 10: 22 accumulators, and as many dots to 13 loads.
void dot_product(const char* a, const char* b, int64_t steps, int64_t rows, float* out) {
  if (rows <= 4) return dot_rows<4>(a, b, steps, out);
  if (rows <= 8) return dot_rows<8>(a, b, steps, out);
  dot_rows<11>(a, b, steps, out);
  if (rows > 11) dot_rows<11>(a + 11 * 64, b, steps, out + 11 * strip_lines);
  if (rows > 22) dot_rows<10>(a + 22 * 64, b, steps, out + 22 * strip_lines);
}

struct Dots {
  static void begin() {}
  static void end() {}
  static TileProduct product_of(const Scheme&) { return dot_product; }
};

}  // namespace

constinit const MatmulKernels dot_matmul_kernels = {workspace, gemm<Dots>, packed_bytes, pack_b};

}  // namespace nonet::NONET_NS
