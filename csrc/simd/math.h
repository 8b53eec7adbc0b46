// Elementary functions on vectors, within about 2 ulp of the exact value (sigmoid, softplus: 4), with the limits of C's
// math.h at ±inf, NaN, ±0 and denormals. Polynomials are minimax fits of our own over the ranges stated.
#pragma once

#include "simd/vec.h"

namespace nonet::NONET_NS {

// c[0] + c[1] x + … by Horner's rule.
template <int n>
NONET_INLINE F polynomial(F x, const float (&c)[n]) {
  F out = broadcast(c[n - 1]);
#pragma GCC unroll 16
  for (int i = n - 2; i >= 0; --i) out = fma(out, x, broadcast(c[i]));
  return out;
}

// x = n ln2 + r with |r| <= ln2 / 2, and e^r - 1.
struct ExpParts {
  I n;
  F tail;
};
NONET_INLINE ExpParts exp_parts(F x) {
  const F n = round_small(x * 1.44269504f);
  F r = fma(n, broadcast(-0.693145752f), x);  // ln2 in two parts: the product with the first is exact
  r = fma(n, broadcast(-1.42860677e-6f), r);
  static constexpr float c[] = {0.5f, 0.166666672f, 0.0416662544f, 0.00833326112f, 0.00139472121f, 0.000199199218f};
  return {to_int(n), fma(r * r, polynomial(r, c), r)};
}
NONET_INLINE F power_of_two(I n) {
  return as_float((n + 127) << 23);
}

NONET_INLINE F exp(F x) {
  const auto [n, tail] = exp_parts(minimum(maximum(x, broadcast(-104.f)), broadcast(89.f)));
  const I half = n >> 1;  // in two steps, so that denormal results and the largest ones come out right
  return x != x ? x : (tail + 1.f) * power_of_two(half) * power_of_two(n - half);
}

NONET_INLINE F expm1(F x) {
  const auto [n, tail] = exp_parts(minimum(maximum(x, broadcast(-18.f)), broadcast(89.f)));
  const I half = n >> 1;
  const F a = power_of_two(half);
  const F b = power_of_two(n - half);
  const F out = n == 0 ? tail : (n > 24 ? (tail + 1.f) * a * b : fma(tail, a * b, a * b - 1.f));
  return x != x ? x : (x == 0.f ? x : out);
}

// log x = e ln2 + (f + small), with 1 + f in [sqrt(1/2), sqrt(2)), for x > 0.
struct LogParts {
  F e;
  F f;
  F small;
};
NONET_INLINE LogParts log_parts(F x) {
  const I tiny = x < 1.17549435e-38f;
  const F scaled = tiny ? x * 8388608.f : x;
  const I bits = (I)((U)scaled - 0x3f3504f3u);  // unsigned: wraps for negative x, whose result is not used
  const F e = to_float((bits >> 23) - (tiny & 23));
  const F f = as_float((bits & 0x007fffff) + 0x3f3504f3) - 1.f;
  static constexpr float c[] = {0.333333105f,  -0.249999866f, 0.200022265f,  -0.16669251f, 0.142186597f,
                                -0.123843424f, 0.118729644f,  -0.117898367f, 0.0691542849f};
  const F square = f * f;
  return {e, f, f * square * polynomial(f, c) - 0.5f * square};
}
// out where 0 < x < inf; C's limits elsewhere.
NONET_INLINE F log_limits(F x, F out) {
  const F infinity = broadcast(__builtin_inff());
  const F edge = x < 0.f ? broadcast(__builtin_nanf("")) : (x == 0.f ? -infinity : x);
  return (x > 0.f) & (x < infinity) ? out : edge;
}

NONET_INLINE F log(F x) {
  const auto [e, f, small] = log_parts(x);
  const F low = fma(e, broadcast(-2.12194440e-4f), small);
  return log_limits(x, fma(e, broadcast(0.693359375f), low + f));
}

// Exact at powers of two.
NONET_INLINE F log2(F x) {
  const auto [e, f, small] = log_parts(x);
  return log_limits(x, fma(f + small, broadcast(1.44269504f), e));
}

NONET_INLINE F log1p(F x) {
  const F w = x + 1.f;
  const F out = log(w) + (x - (w - 1.f)) / w;  // the second term gives back what rounding x + 1 lost
  return (w > 0.f) & (w < __builtin_inff()) ? (x == 0.f ? x : out) : log(w);
}

NONET_INLINE F tanh(F x) {
  const F a = abs(x);
  const F t = x * x;
  static constexpr float c[] = {-0.333333313f, 0.133332103f,    -0.0539472029f,
                                0.0217029694f, -0.00818267744f, 0.00214753998f};  // |x| < 0.625
  const F small = fma(a * t, polynomial(t, c), a);
  const F large = 1.f - 2.f / (exp(2.f * a) + 1.f);
  return copysign(a < 0.625f ? small : large, x);
}

NONET_INLINE F sigmoid(F x) {
  const F e = exp(-abs(x));
  const F q = 1.f / (1.f + e);
  return x < 0.f ? e * q : q;
}

// log(1 + e^x)
NONET_INLINE F softplus(F x) {
  const F e = exp(-abs(x));
  return x != x ? x : (x > 0.f ? x : F{}) + log1p(e);
}

typedef double D __attribute__((vector_size(8 * NONET_WIDTH)));

// x = n pi/2 + r, |r| <= pi/4, for |x| < 2^19: in double, so that r keeps its digits near multiples of pi/2.
struct Quarter {
  I n;
  F r;
};
NONET_INLINE Quarter quarter_turns(F x) {
  const F n = round_small(x * 0.636619772f);
  const D turns = __builtin_convertvector(n, D);
  D r = __builtin_convertvector(x, D) - turns * 1.5707963267341256;  // 33 bits: the product is exact
  r -= turns * 6.077100506506192e-11;
  return {to_int(n), __builtin_convertvector(r, F)};
}
// sin r where `turn` is even, cos r where it is odd, negated in the second half of the circle.
NONET_INLINE F sin_of_quarter(F r, I turn) {
  const F t = r * r;
  static constexpr float s[] = {-0.166666552f, 0.00833218917f, -0.000195182642f};
  static constexpr float c[] = {-0.5f, 0.0416666456f, -0.00138873106f, 2.44325529e-05f};
  const F sine = fma(r * t, polynomial(t, s), r);
  const F cosine = fma(t, polynomial(t, c), broadcast(1.f));
  const F out = (turn & 1) != 0 ? cosine : sine;
  return (turn & 2) != 0 ? -out : out;
}
NONET_INLINE F each_far_lane(F x, F out, double (*f)(double)) {
  const F a = abs(x);
  if (maximum(a) < 524288.f) return out;
  for (int i = 0; i < width; ++i) {
    if (!(a[i] < 524288.f)) out[i] = (float)f(x[i]);
  }
  return out;
}

NONET_INLINE F sin(F x) {
  const auto [n, r] = quarter_turns(x);
  return x == 0.f ? x : each_far_lane(x, sin_of_quarter(r, n), __builtin_sin);
}

NONET_INLINE F cos(F x) {
  const auto [n, r] = quarter_turns(x);
  return each_far_lane(x, sin_of_quarter(r, n + 1), __builtin_cos);
}

NONET_INLINE F erf(F x) {
  const F a = abs(x);
  const F t = x * x;
  static constexpr float near[] = {1.12837923f,    -0.376126349f,    0.112836957f,   -0.0268593989f,
                                   0.00520103239f, -0.000814270403f, 8.37010011e-05f};  // erf(x) / x, |x| < 0.92
  static constexpr float far[] = {0.000170551299f, -1.12949514f,    -0.633386672f,   -0.108236611f,
                                  0.0250914898f,   -0.00416052435f, 0.000432302419f, -2.09094997e-05f};
  const F small = x * polynomial(t, near);
  const F large = copysign(1.f - exp(polynomial(min_number(a, broadcast(4.f)), far)), x);  // log(1 - erf), 0.9 … 4
  return a < 0.92f ? small : (x != x ? x : large);
}

// Of the standard normal distribution at x: the share below, within 2 ulp of 1 (below 0 of itself, up to the error of
// exp at -x^2 / 2), and the density.
struct Normal {
  F below;
  F density;
};
NONET_INLINE Normal normal(F x) {
  const F e = exp(-0.5f * x * x);
  const F t = 1.f / fma(abs(x), broadcast(0.28f), broadcast(1.f));
  static constexpr float c[] = {0.111687265f,  0.111994833f,  0.100930415f,   0.0920782387f, 0.0532602929f,
                                0.0208455995f, 0.0697752386f, -0.0833625793f, 0.0227907225f};  // tail / (e t)
  const F tail = e * (t * polynomial(t, c));
  return {x < 0.f ? tail : 1.f - tail, e * 0.398942280f};
}

}  // namespace nonet::NONET_NS
