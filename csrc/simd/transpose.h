// Transposes of small blocks held in vectors.
#pragma once

#include "simd/vec.h"

namespace nonet::NONET_NS {

template <int... lane>
struct Lanes {};
#if NONET_WIDTH == 4
using AllLanes = Lanes<0, 1, 2, 3>;
#elif NONET_WIDTH == 8
using AllLanes = Lanes<0, 1, 2, 3, 4, 5, 6, 7>;
#else
using AllLanes = Lanes<0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15>;
#endif

#if defined(__clang__)
#define NONET_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define NONET_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, I{__VA_ARGS__})
#endif

// Exchanges the lanes of a whose number has bit `step` with the lanes of b that lack it.
template <int step, int... lane>
NONET_INLINE void exchange(F& a, F& b, Lanes<lane...>) {
  const F low = NONET_SHUFFLE(a, b, ((lane & step) != 0 ? width + lane - step : lane)...);
  b = NONET_SHUFFLE(a, b, ((lane & step) != 0 ? width + lane : lane + step)...);
  a = low;
}

// Rows become columns: a butterfly over the bits of the row and lane numbers.
template <int step = 1>
NONET_INLINE void transpose(F (&v)[width]) {
#pragma GCC unroll 16
  for (int i = 0; i < width; ++i) {
    if ((i & step) == 0) exchange<step>(v[i], v[i + step], AllLanes{});
  }
  if constexpr (2 * step < width) transpose<2 * step>(v);
}

// The sums of the lanes of four vectors. The tree is fixed, the same for every ISA with this width.
NONET_INLINE void sum4(F a, F b, F c, F d, float (&out)[4]) {
  exchange<1>(a, b, AllLanes{});
  exchange<1>(c, d, AllLanes{});
  F ab = a + b;
  F cd = c + d;
  exchange<2>(ab, cd, AllLanes{});
  float lane[width];
  store(lane, ab + cd);
  for (int half = width / 2; half >= 4; half /= 2) {
    for (int i = 0; i < half; ++i) lane[i] += lane[i + half];
  }
  for (int i = 0; i < 4; ++i) out[i] = lane[i];
}

}  // namespace nonet::NONET_NS
