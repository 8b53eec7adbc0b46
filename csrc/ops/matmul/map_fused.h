// The activations that products apply as maps, once for the CPU and for GPUs (see ops/elementwise/map_unary.h). What
// `backward` takes beside dy is what the linear layer saves: y, or z before the activation for gelu.
#pragma once

#include "ops/matmul/matmul.h"

namespace nonet::NONET_NS {

struct FusedNone {
  NONET_INLINE F forward(F z) { return z; }
  NONET_INLINE F backward(F dy, F) { return dy; }
};
struct FusedRelu {
  NONET_INLINE F forward(F z) { return z < 0.f ? F{} : z; }  // NaN stays
  NONET_INLINE F backward(F dy, F y) { return y <= 0.f ? F{} : dy; }
};
struct FusedTanh {
  NONET_INLINE F forward(F z) { return tanh(z); }
  NONET_INLINE F backward(F dy, F y) { return dy * (1.f - y * y); }
};
struct FusedSigmoid {
  NONET_INLINE F forward(F z) { return sigmoid(z); }
  NONET_INLINE F backward(F dy, F y) { return dy * y * (1.f - y); }
};
struct FusedGelu {
  NONET_INLINE F forward(F z) { return 0.5f * z * (1.f + erf(z * 0.707106781f)); }
  NONET_INLINE F backward(F dy, F z) {
    const F density = 0.398942280f * exp(-0.5f * z * z);
    return dy * (0.5f * (1.f + erf(z * 0.707106781f)) + z * density);
  }
};
struct FusedGeluTanh {
  NONET_INLINE F argument(F z) { return 0.797884561f * fma(z * z * z, broadcast(0.044715f), z); }
  NONET_INLINE F forward(F z) { return 0.5f * z * (1.f + tanh(argument(z))); }
  NONET_INLINE F backward(F dy, F z) {
    const F t = tanh(argument(z));
    const F slope = 0.797884561f * fma(z * z, broadcast(3.f * 0.044715f), broadcast(1.f));
    return dy * 0.5f * ((1.f + t) + z * (1.f - t * t) * slope);
  }
};

// Calls body with the map of an activation.
template <class Body>
NONET_INLINE void visit_fused(FusedActivation activation, const Body& body) {
  switch (activation) {
    case FusedActivation::none:
      return body(FusedNone{});
    case FusedActivation::relu:
      return body(FusedRelu{});
    case FusedActivation::tanh:
      return body(FusedTanh{});
    case FusedActivation::sigmoid:
      return body(FusedSigmoid{});
    case FusedActivation::gelu:
      return body(FusedGelu{});
    case FusedActivation::gelu_tanh:
      return body(FusedGeluTanh{});
  }
}

}  // namespace nonet::NONET_NS
