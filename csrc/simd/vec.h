// Vectors of one instruction set, on the compilers' vector extensions: F (floats) and I (int32), `width` lanes each.
//
// Included by *.simd.cpp only. + - * / compare, shift and select (mask ? a : b) are the language's own; a comparison
// gives an I of 0 or -1 per lane. Everything lies in the instruction set's namespace (see base/kernel.h).
#pragma once

#include "base/kernel.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#ifndef NONET_NS
#error "vec.h belongs to files that are compiled once per instruction set"
#endif

namespace nonet::NONET_NS {

inline constexpr int width = NONET_WIDTH;  // 4, 8 or 16 floats

typedef float F __attribute__((vector_size(4 * NONET_WIDTH)));
typedef int32_t I __attribute__((vector_size(4 * NONET_WIDTH)));
typedef uint32_t U __attribute__((vector_size(4 * NONET_WIDTH)));
typedef uint16_t U16 __attribute__((vector_size(2 * NONET_WIDTH)));
typedef uint8_t U8 __attribute__((vector_size(NONET_WIDTH)));

#define NONET_INLINE static inline __attribute__((always_inline))

NONET_INLINE F broadcast(float x) {
  return x - F{};
}
NONET_INLINE I as_int(F x) {
  return (I)x;
}
NONET_INLINE F as_float(I x) {
  return (F)x;
}
NONET_INLINE F to_float(I x) {
  return __builtin_convertvector(x, F);
}
NONET_INLINE I to_int(F x) {
  return __builtin_convertvector(x, I);
}  // truncates

NONET_INLINE F load(const float* p) {
  F v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
NONET_INLINE void store(float* p, F v) {
  __builtin_memcpy(p, &v, sizeof v);
}

// 16 bits to 32 and back. GCC 12 makes of a conversion of whole vectors one of halves, by way of memory.
NONET_INLINE U widened(U16 v) {
#if defined(__AVX512F__) && NONET_WIDTH == 16
  return (U)_mm512_maskz_cvtepu16_epi32((__mmask16)-1, (__m256i)v);
#elif defined(__AVX2__) && NONET_WIDTH == 8
  return (U)_mm256_cvtepu16_epi32((__m128i)v);
#else
  return __builtin_convertvector(v, U);
#endif
}
NONET_INLINE U16 narrowed(U v) {
#if defined(__AVX512F__) && NONET_WIDTH == 16
  return (U16)_mm512_maskz_cvtepi32_epi16((__mmask16)-1, (__m512i)v);
#else
  return __builtin_convertvector(v, U16);
#endif
}

NONET_INLINE F load(const bfloat16* p) {
  U16 v;
  __builtin_memcpy(&v, p, sizeof v);
  return (F)(widened(v) << 16);
}
// Rounds to nearest even; NaN stays NaN.
NONET_INLINE U16 as_bfloat16(F v) {
  const U bits = (U)v;
  const U rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  return narrowed(v != v ? ((bits >> 16) | 0x40) : rounded);
}
NONET_INLINE void store(bfloat16* p, F v) {
  const U16 out = as_bfloat16(v);
  __builtin_memcpy(p, &out, sizeof out);
}

// The first n lanes, 0 < n < width; the rest read as 0 and are not touched in memory.
template <class T>
NONET_INLINE F load(const T* p, int64_t n) {
  T part[width] = {};
  __builtin_memcpy(part, p, n * sizeof(T));
  return load(part);
}
template <class T>
NONET_INLINE void store(T* p, F v, int64_t n) {
  T part[width];
  store(part, v);
  __builtin_memcpy(p, part, n * sizeof(T));
}
#if defined(__AVX512F__) && NONET_WIDTH == 16
NONET_INLINE F load(const float* p, int64_t n) {
  return _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
}
NONET_INLINE void store(float* p, F v, int64_t n) {
  _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), v);
}
NONET_INLINE F load(const bfloat16* p, int64_t n) {
  return (F)(widened((U16)_mm256_maskz_loadu_epi16((__mmask16)((1u << n) - 1), p)) << 16);
}
NONET_INLINE void store(bfloat16* p, F v, int64_t n) {
  _mm256_mask_storeu_epi16(p, (__mmask16)((1u << n) - 1), (__m256i)as_bfloat16(v));
}
#elif defined(__AVX2__) && NONET_WIDTH == 8
NONET_INLINE __m256i first_lanes(int64_t n) {
  return (__m256i)(I{0, 1, 2, 3, 4, 5, 6, 7} < (I{} + (int32_t)n));
}
NONET_INLINE F load(const float* p, int64_t n) {
  return _mm256_maskload_ps(p, first_lanes(n));
}
NONET_INLINE void store(float* p, F v, int64_t n) {
  _mm256_maskstore_ps(p, first_lanes(n), v);
}
#endif

// a * b + c, rounded once where the machine can.
NONET_INLINE F fma(F a, F b, F c) {
#if defined(__AVX512F__) && NONET_WIDTH == 16
  return _mm512_fmadd_ps(a, b, c);
#elif defined(__FMA__) && NONET_WIDTH == 8
  return _mm256_fmadd_ps(a, b, c);
#elif defined(__aarch64__) && NONET_WIDTH == 4
  F out;
  for (int i = 0; i < width; ++i) out[i] = __builtin_fmaf(a[i], b[i], c[i]);
  return out;
#else
  return a * b + c;
#endif
}

NONET_INLINE F sqrt(F x) {
#if defined(__AVX512F__) && NONET_WIDTH == 16
  return _mm512_maskz_sqrt_ps((__mmask16)-1, x);
#elif defined(__AVX2__) && NONET_WIDTH == 8
  return _mm256_sqrt_ps(x);
#elif defined(__SSE2__) && NONET_WIDTH == 4
  return _mm_sqrt_ps(x);
#else
  F out;
  for (int i = 0; i < width; ++i) out[i] = __builtin_sqrtf(x[i]);
  return out;
#endif
}

NONET_INLINE F abs(F x) {
  return as_float(as_int(x) & 0x7fffffff);
}
// NaN in either operand gives NaN, as in NumPy's maximum.
NONET_INLINE F maximum(F a, F b) {
  return (a > b) | (a != a) ? a : b;
}
NONET_INLINE F minimum(F a, F b) {
  return (a < b) | (a != a) ? a : b;
}
// The second operand where the first is NaN: one instruction, for values known to be numbers.
NONET_INLINE F max_number(F a, F b) {
  return a > b ? a : b;
}
NONET_INLINE F min_number(F a, F b) {
  return a < b ? a : b;
}
// Nearest integer, ties to even, for |x| < 2^22.
NONET_INLINE F round_small(F x) {
  return (x + 12582912.f) - 12582912.f;
}
NONET_INLINE F copysign(F magnitude, F sign) {
  return as_float((as_int(magnitude) & 0x7fffffff) | (as_int(sign) & (int32_t)0x80000000));
}

// Folds the lanes by halves: a fixed tree, so the result depends on nothing but the values.
template <class Op>
NONET_INLINE float fold(F v, const Op& op) {
  float lane[width];
  store(lane, v);
  for (int half = width / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) lane[i] = op(lane[i], lane[i + half]);
  }
  return lane[0];
}
NONET_INLINE float sum(F v) {
  return fold(v, [](float a, float b) { return a + b; });
}
NONET_INLINE float maximum(F v) {
  return fold(v, [](float a, float b) { return a > b || a != a ? a : b; });
}
NONET_INLINE float minimum(F v) {
  return fold(v, [](float a, float b) { return a < b || a != a ? a : b; });
}

// body(i, lanes) over [0, n) in steps of width; the last call may have fewer lanes.
template <class Body>
NONET_INLINE void for_vectors(int64_t n, const Body& body) {
  int64_t i = 0;
  for (; i + width <= n; i += width) body(i, (int64_t)width);
  if (i < n) body(i, n - i);
}

NONET_INLINE I lane_numbers() {
  I out;
  for (int i = 0; i < width; ++i) out[i] = i;
  return out;
}
// The first `lanes` lanes of v, `other` in the rest.
NONET_INLINE F keep_lanes(F v, int64_t lanes, float other) {
  return lane_numbers() < (int32_t)lanes ? v : broadcast(other);
}

// Load and store that take a lane count known to be width on the fast path.
template <class T>
NONET_INLINE F load_lanes(const T* p, int64_t lanes) {
  return lanes == width ? load(p) : load(p, lanes);
}
template <class T>
NONET_INLINE void store_lanes(T* p, F v, int64_t lanes) {
  if (lanes == width) {
    store(p, v);
  } else {
    store(p, v, lanes);
  }
}

// ---------------------------------------------------------------- past the caches
// For a result that the caches cannot hold: a line that is written whole need not be read first, and nothing else has
// to leave for it. drain() before another thread may read it.
inline constexpr int64_t beyond_caches = 16 << 20;  // bytes

NONET_INLINE bool passes_caches(const void* p, int64_t bytes) {
  return bytes >= beyond_caches && (uint64_t)p % sizeof(F) == 0;
}
// p: a multiple of a vector.
NONET_INLINE void store_past(float* p, F v) {
#if defined(__AVX512F__) && NONET_WIDTH == 16
  _mm512_stream_ps(p, v);
#elif defined(__AVX2__) && NONET_WIDTH == 8
  _mm256_stream_ps(p, v);
#else
  store(p, v);
#endif
}
NONET_INLINE void drain() {
#if defined(__x86_64__)
  _mm_sfence();
#endif
}

}  // namespace nonet::NONET_NS
