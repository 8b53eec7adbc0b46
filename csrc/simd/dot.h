// Dot products of pairs of bfloat16 (AVX512_BF16). Included by *.avx512_bf16.cpp only.
//
// Builds that emulate AVX-512 compute what the manual defines (Intel Architecture Instruction Set Extensions,
// "VDPBF16PS").
#pragma once

#include "simd/vec.h"

namespace nonet::NONET_NS {

// Pairs: the values of an even and the next odd k, the even one in the lower half.
NONET_INLINE U load_pairs(const void* p) {
  U out;
  __builtin_memcpy(&out, p, sizeof out);
  return out;
}
NONET_INLINE U broadcast_pair(const void* p) {
  uint32_t pair;
  __builtin_memcpy(&pair, p, sizeof pair);
  return U{} + pair;
}

#if defined(__AVX512BF16__)

#if defined(__clang__) || __GNUC__ >= 13
typedef __bf16 Pairs __attribute__((vector_size(64)));
#else
typedef int16_t Pairs __attribute__((vector_size(64)));
#endif

// sum + a b of both halves, rounded to nearest even after each; denormal numbers count as 0.
NONET_INLINE F dot(U a, U b, F sum) {
#if defined(__clang__)
  return (F)__builtin_ia32_dpbf16ps_512(sum, (Pairs)a, (Pairs)b);
#else
  return (F)__builtin_ia32_dpbf16ps_v16sf(sum, (Pairs)a, (Pairs)b);
#endif
}

#else

NONET_INLINE F dot(U a, U b, F sum) {
  const auto flush = [](F x) { return abs(x) < 1.17549435e-38f ? F{} : x; };
  const auto add = [&](U x, U y, F to) { return flush(fma(flush((F)x), flush((F)y), to)); };
  return add(a << 16, b << 16, add(a & 0xffff0000u, b & 0xffff0000u, flush(sum)));
}

#endif

}  // namespace nonet::NONET_NS
