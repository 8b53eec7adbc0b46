// What the gradients of both layouts begin with; for *.simd.cpp.
#pragma once

#include "ops/norm/channel_norm.h"
#include "simd/vec.h"

namespace nonet::NONET_NS {

// dz: dy, or with relu 0 where the result was not positive. That is y where there is one, else it is computed again.
template <class T>
struct Incoming {
  const T* dy;
  const T* y;
  bool relu;

  // For the elements from e, whose x - m is given.
  NONET_INLINE F value(const Incoming& in, int64_t e, F distance, F scale, F shift, int64_t lanes) {
    const F d = load_lanes(in.dy + e, lanes);
    if (!in.relu) return d;
    const F z = in.y != nullptr ? load_lanes(in.y + e, lanes) : fma(distance, scale, shift);
    return z <= 0.f ? F{} : d;
  }
};

}  // namespace nonet::NONET_NS
