// Loops over elements for maps given as types. Included by *.simd.cpp only.
//
// A unary map is a type with `forward(F x, N numbers)` and `backward(F dy, F s, N numbers)`; a binary one has
// `apply(F x, F z)`, which returns an F, or an I of 0 and -1 for a bool result.
#pragma once

#include "ops/elementwise/elementwise.h"
#include "simd/math.h"

namespace nonet::NONET_NS {

// The numbers of a map, one per lane.
struct N {
  F a;
  F b;
  F c;
};
NONET_INLINE N spread(const MapNumbers& numbers) {
  return {broadcast(numbers.a), broadcast(numbers.b), broadcast(numbers.c)};
}

// Truth values are stored as bytes of 0 and 1.
NONET_INLINE void store(bool* p, I mask) {
  const U8 bytes = __builtin_convertvector(mask & 1, U8);
  __builtin_memcpy(p, &bytes, sizeof bytes);
}
NONET_INLINE void store(bool* p, I mask, int64_t n) {
  const U8 bytes = __builtin_convertvector(mask & 1, U8);
  __builtin_memcpy(p, &bytes, n);
}

template <class Op, class X, class Y>
static void map_run(const void* x_, void* y_, int64_t n, const MapNumbers& numbers) {
  const X* x = static_cast<const X*>(x_);
  Y* y = static_cast<Y*>(y_);
  const N c = spread(numbers);
  int64_t i = 0;
  for (; i + width <= n; i += width) store(y + i, Op::forward(load(x + i), c));
  if (i < n) store(y + i, Op::forward(load(x + i, n - i), c), n - i);
}

template <class Op, class T>
static void gradient_run(const void* dy_, const void* s_, void* dx_, int64_t n, const MapNumbers& numbers) {
  const T* dy = static_cast<const T*>(dy_);
  const T* s = static_cast<const T*>(s_);
  T* dx = static_cast<T*>(dx_);
  const N c = spread(numbers);
  int64_t i = 0;
  for (; i + width <= n; i += width) store(dx + i, Op::backward(load(dy + i), load(s + i), c));
  if (i < n) store(dx + i, Op::backward(load(dy + i, n - i), load(s + i, n - i), c), n - i);
}

// Maps without and with a gradient.
template <class Op>
constexpr UnaryKernel flat = {{map_run<Op, float, float>, map_run<Op, bfloat16, bfloat16>}, {nullptr, nullptr}};
template <class Op>
constexpr UnaryKernel smooth = {{map_run<Op, float, float>, map_run<Op, bfloat16, bfloat16>},
                                {gradient_run<Op, float>, gradient_run<Op, bfloat16>}};

template <class Op, class X, class Z, class Y>
static void binary_run(const void* x_, int64_t x_step, const void* z_, int64_t z_step, void* y_, int64_t n) {
  const X* x = static_cast<const X*>(x_);
  const Z* z = static_cast<const Z*>(z_);
  Y* y = static_cast<Y*>(y_);
  int64_t i = 0;
  for (; i + width <= n; i += width) store(y + i, Op::apply(load(x + i * x_step), load(z + i * z_step)));
  if (i < n) store(y + i, Op::apply(load(x + i * x_step, n - i), load(z + i * z_step, n - i)), n - i);
}

template <class Op>
static void partial_run(const float* dy, const float* x, int64_t x_step, const float* z, int64_t z_step, float* d,
                        int64_t n) {
  int64_t i = 0;
  for (; i + width <= n; i += width) {
    store(d + i, Op::apply(load(dy + i), load(x + i * x_step), load(z + i * z_step)));
  }
  if (i < n) {
    const int64_t rest = n - i;
    store(d + i, Op::apply(load(dy + i, rest), load(x + i * x_step, rest), load(z + i * z_step, rest)), rest);
  }
}

// One float at a time, for what is too rare or too long to vectorise.
NONET_INLINE float pow_number(float x, float z) {
  return __builtin_powf(x, z);
}
NONET_INLINE float fmod_number(float x, float z) {
  return __builtin_fmodf(x, z);
}
NONET_INLINE float floor_number(float x) {
  return __builtin_floorf(x);
}
template <class Op>
NONET_INLINE F each_lane(F x, F z) {
  for (int i = 0; i < width; ++i) x[i] = Op::apply(x[i], z[i]);
  return x;
}

}  // namespace nonet::NONET_NS
