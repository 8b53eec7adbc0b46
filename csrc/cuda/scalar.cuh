// The vocabulary of simd/vec.h and simd/math.h for one element, so that maps of elements are written once for the CPU's
// vectors and for GPU threads (ops/elementwise/map_unary.h).
#pragma once

#include "cuda/prim.cuh"

#define NONET_NS NONET_CUDA_NS
#define NONET_INLINE static NONET_DEVICE

namespace nonet::NONET_CUDA_NS {

using F = float;
using I = int32_t;

NONET_INLINE F broadcast(float x) {
  return x;
}
NONET_INLINE F to_float(I x) {
  return static_cast<F>(x);
}
NONET_INLINE I to_int(F x) {
  return static_cast<I>(x);
}
NONET_INLINE F fma(F a, F b, F c) {
  return fmaf(a, b, c);
}
NONET_INLINE F abs(F x) {
  return fabsf(x);
}
NONET_INLINE F copysign(F magnitude, F sign) {
  return copysignf(magnitude, sign);
}
NONET_INLINE F maximum(F a, F b) {  // NaN if either is
  return a > b || a != a ? a : b;
}
NONET_INLINE F minimum(F a, F b) {
  return a < b || a != a ? a : b;
}
NONET_INLINE F sqrt(F x) {
  return sqrtf(x);
}
NONET_INLINE F exp(F x) {
  return expf(x);
}
NONET_INLINE F expm1(F x) {
  return expm1f(x);
}
NONET_INLINE F log(F x) {
  return logf(x);
}
NONET_INLINE F log1p(F x) {
  return log1pf(x);
}
NONET_INLINE F log2(F x) {
  return log2f(x);
}
NONET_INLINE F sin(F x) {
  return sinf(x);
}
NONET_INLINE F cos(F x) {
  return cosf(x);
}
NONET_INLINE F tanh(F x) {
  return tanhf(x);
}
NONET_INLINE F erf(F x) {
  return erff(x);
}
NONET_INLINE F sigmoid(F x) {
  const F e = expf(-fabsf(x));
  const F q = 1.f / (1.f + e);
  return x < 0.f ? e * q : q;
}
NONET_INLINE F softplus(F x) {  // log(1 + e^x)
  return x != x ? x : fmaxf(x, 0.f) + log1pf(expf(-fabsf(x)));
}

struct Normal {
  F below;
  F density;
};
NONET_INLINE Normal normal(F x) {  // the share of the standard normal distribution below x, and its density
  return {0.5f * erfcf(x * -0.707106781f), expf(-0.5f * x * x) * 0.398942280f};
}

NONET_INLINE float pow_number(float x, float z) {
  return powf(x, z);
}
NONET_INLINE float fmod_number(float x, float z) {
  return fmodf(x, z);
}
NONET_INLINE float floor_number(float x) {
  return floorf(x);
}
template <class Op>
NONET_INLINE F each_lane(F x, F z) {
  return Op::apply(x, z);
}

}  // namespace nonet::NONET_CUDA_NS
