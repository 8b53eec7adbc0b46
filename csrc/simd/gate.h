// Sigmoid and tanh for gates, where they are a good part of the work: without branches, within 2.5 ulp, and 0 where the
// sigmoid would be a denormal number.
#pragma once

#include "simd/math.h"

namespace nonet::NONET_NS {

NONET_INLINE F gate_sigmoid(F x) {
  const F a = max_number(broadcast(-87.f), min_number(broadcast(89.f), -x));  // NaN stays
  const auto [n, tail] = exp_parts(a);
  const F scale = power_of_two(n);
  return 1.f / (1.f + fma(scale, tail, scale));
}

// t / (t + 2) with t = e^{2|x|} - 1, which is exact to the last bits near 0 too.
NONET_INLINE F gate_tanh(F x) {
  const F a = min_number(broadcast(9.2f), abs(x));  // 1 from there on
  const auto [n, tail] = exp_parts(2.f * a);
  const F scale = power_of_two(n);
  const F t = fma(scale, tail, scale - 1.f);
  return copysign(t / (t + 2.f), x);
}

}  // namespace nonet::NONET_NS
