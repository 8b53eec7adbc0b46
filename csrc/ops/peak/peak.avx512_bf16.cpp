#include "ops/peak/peak.h"

#include "simd/dot.h"

namespace nonet::NONET_NS {

namespace {

constexpr int chains = 12;

// bfloat16 of 1, 2, 3 … in both halves of all lanes: products and the few sums of them are exact.
U pairs_of(int value) {
  const float x = (float)value;
  uint32_t bits;
  __builtin_memcpy(&bits, &x, sizeof bits);
  return U{} + (bits | bits >> 16);
}

double dots(int64_t iterations) {
  F sum[chains] = {};
  U a[chains];
  for (int i = 0; i < chains; ++i) a[i] = pairs_of(i + 1);
  const U b = pairs_of(3);
  const U minus_b = b ^ 0x80008000u;
  for (int64_t n = 0; n < iterations; ++n) {
#pragma GCC unroll 12
    for (int i = 0; i < chains; ++i) sum[i] = dot(a[i], b, sum[i]);
#pragma GCC unroll 12
    for (int i = 0; i < chains; ++i) sum[i] = dot(a[i], minus_b, sum[i]);
  }
  double out = 0;
  for (int i = 0; i < chains; ++i) {
    sum[i] = dot(a[i], b, sum[i]);
    for (int lane = 0; lane < width; ++lane) out += sum[i][lane];
  }
  return out;
}

}  // namespace

constinit const ProductPeakKernels dot_peak_kernels = {2 * chains * 4 * width, dots};

}  // namespace nonet::NONET_NS
