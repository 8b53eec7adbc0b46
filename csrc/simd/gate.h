// Sigmoid and tanh for gates, where they are a good part of the work: without branches, within 2.5 ulp, and 0 where the
// sigmoid would be a denormal number, or next to it.
#pragma once

#include "simd/math.h"

namespace nonet::NONET_NS {

// e^x = 2^n (1 + tail) for |x| < 89, and what a processor has instructions for: AVX-512 rounds, scales and begins a
// division in one each.
struct GateExp {
  F scale;  // 2^n
  F tail;
};
#if defined(__AVX512F__) && NONET_WIDTH == 16
NONET_INLINE F gate_round(F x) {
  return _mm512_maskz_roundscale_ps((__mmask16)-1, x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
NONET_INLINE F gate_power_of_two(F n) {
  return _mm512_maskz_scalef_ps((__mmask16)-1, broadcast(1.f), n);
}
// One step of Newton's method from 14 bits, for 0 < d < 2^126; the error of a quotient is that of its last rounding.
NONET_INLINE F gate_divide(F a, F d) {
  const F near = _mm512_maskz_rcp14_ps((__mmask16)-1, d);
  const F q = a * near;
  return fma(fma(-q, d, a), near, q);
}
inline constexpr float gate_largest = 87.f;  // whose power of e still has a reciprocal that is no denormal number
#else
NONET_INLINE F gate_round(F x) {
  return round_small(x);
}
NONET_INLINE F gate_power_of_two(F n) {
  return power_of_two(to_int(n));
}
NONET_INLINE F gate_divide(F a, F d) {
  return a / d;
}
inline constexpr float gate_largest = 89.f;
#endif

NONET_INLINE GateExp gate_exp(F x) {
  const F n = gate_round(x * 1.44269504f);
  F r = fma(n, broadcast(-0.693145752f), x);  // ln2 in two parts, as in exp_parts()
  r = fma(n, broadcast(-1.42860677e-6f), r);
  static constexpr float c[] = {0.5f, 0.166665435f, 0.0416662805f, 0.00836659782f, 0.00139464729f};
  return {gate_power_of_two(n), fma(r * r, polynomial(r, c), r)};
}

NONET_INLINE F gate_sigmoid(F x) {
  const F a = max_number(broadcast(-87.f), min_number(broadcast(gate_largest), -x));  // NaN stays
  const auto [scale, tail] = gate_exp(a);
  return gate_divide(broadcast(1.f), 1.f + fma(scale, tail, scale));
}

// t / (t + 2) with t = e^{2|x|} - 1, which is exact to the last bits near 0 too.
NONET_INLINE F gate_tanh(F x) {
  const F a = min_number(broadcast(9.2f), abs(x));  // 1 from there on
  const auto [scale, tail] = gate_exp(2.f * a);
  const F t = fma(scale, tail, scale - 1.f);
  return copysign(gate_divide(t, t + 2.f), x);
}

}  // namespace nonet::NONET_NS
