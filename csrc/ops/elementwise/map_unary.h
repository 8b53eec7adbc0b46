// The unary maps, once for the CPU and for GPUs: F is a vector of simd/vec.h or a float of cuda/scalar.cuh, one of
// which is included before.
#pragma once

namespace nonet::NONET_NS {

NONET_INLINE F sign_of(F x) {
  const F one = copysign(broadcast(1.f), x);
  return x == 0.f ? F{} : (x != x ? x : one);
}
// `whole` where x may have a fraction, which floats from 2^23 on (and NaN) do not; -0 stays.
NONET_INLINE F where_fraction(F x, F whole) {
  return abs(x) < 8388608.f ? copysign(whole, x) : x;
}
NONET_INLINE F towards_zero(F x) {
  return to_float(to_int(x));
}

struct Neg {
  NONET_INLINE F forward(F x, N) { return -x; }
  NONET_INLINE F backward(F dy, F, N) { return -dy; }
};
struct Abs {
  NONET_INLINE F forward(F x, N) { return abs(x); }
  NONET_INLINE F backward(F dy, F x, N) { return dy * sign_of(x); }
};
struct Exp {
  NONET_INLINE F forward(F x, N) { return exp(x); }
  NONET_INLINE F backward(F dy, F y, N) { return dy * y; }
};
struct Expm1 {
  NONET_INLINE F forward(F x, N) { return expm1(x); }
  NONET_INLINE F backward(F dy, F y, N) { return dy * (y + 1.f); }
};
struct Log {
  NONET_INLINE F forward(F x, N) { return log(x); }
  NONET_INLINE F backward(F dy, F x, N) { return dy / x; }
};
struct Log1p {
  NONET_INLINE F forward(F x, N) { return log1p(x); }
  NONET_INLINE F backward(F dy, F x, N) { return dy / (x + 1.f); }
};
struct Log2 {
  NONET_INLINE F forward(F x, N) { return log2(x); }
  NONET_INLINE F backward(F dy, F x, N) { return dy / (x * 0.693147181f); }
};
struct Sqrt {
  NONET_INLINE F forward(F x, N) { return sqrt(x); }
  NONET_INLINE F backward(F dy, F y, N) { return dy / (2.f * y); }
};
struct Rsqrt {
  NONET_INLINE F forward(F x, N) { return 1.f / sqrt(x); }
  NONET_INLINE F backward(F dy, F y, N) { return -0.5f * dy * (y * y * y); }
};
struct Square {
  NONET_INLINE F forward(F x, N) { return x * x; }
  NONET_INLINE F backward(F dy, F x, N) { return dy * (2.f * x); }
};
struct Reciprocal {
  NONET_INLINE F forward(F x, N) { return 1.f / x; }
  NONET_INLINE F backward(F dy, F y, N) { return -dy * (y * y); }
};
struct Sin {
  NONET_INLINE F forward(F x, N) { return sin(x); }
  NONET_INLINE F backward(F dy, F x, N) { return dy * cos(x); }
};
struct Cos {
  NONET_INLINE F forward(F x, N) { return cos(x); }
  NONET_INLINE F backward(F dy, F x, N) { return -dy * sin(x); }
};
struct Tanh {
  NONET_INLINE F forward(F x, N) { return tanh(x); }
  NONET_INLINE F backward(F dy, F y, N) { return dy * (1.f - y * y); }
};
struct Sigmoid {
  NONET_INLINE F forward(F x, N) { return sigmoid(x); }
  NONET_INLINE F backward(F dy, F y, N) { return dy * (y * (1.f - y)); }
};
struct Erf {
  NONET_INLINE F forward(F x, N) { return erf(x); }
  NONET_INLINE F backward(F dy, F x, N) { return dy * (1.12837917f * exp(-x * x)); }
};
struct Clamp {  // NaN stays; if a > b, everything is b, as in torch
  NONET_INLINE F forward(F x, N c) {
    const F low = x < c.a ? c.a : x;
    return low > c.b ? c.b : low;
  }
  NONET_INLINE F backward(F dy, F x, N c) { return (x >= c.a) & (x <= c.b) ? dy : F{}; }
};
struct Floor {
  NONET_INLINE F forward(F x, N) {
    const F t = towards_zero(x);
    return where_fraction(x, t > x ? t - 1.f : t);
  }
};
struct Ceil {
  NONET_INLINE F forward(F x, N) {
    const F t = towards_zero(x);
    return where_fraction(x, t < x ? t + 1.f : t);
  }
};
struct Round {
  NONET_INLINE F forward(F x, N) {
    const F shift = copysign(broadcast(8388608.f), x);
    return where_fraction(x, (x + shift) - shift);
  }
};
struct Trunc {
  NONET_INLINE F forward(F x, N) { return where_fraction(x, towards_zero(x)); }
};
struct Sign {
  NONET_INLINE F forward(F x, N) { return sign_of(x); }
};

}  // namespace nonet::NONET_NS
