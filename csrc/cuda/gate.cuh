// The gates of simd/gate.h for one element.
#pragma once

#include "cuda/scalar.cuh"

namespace nonet::NONET_CUDA_NS {

NONET_INLINE F gate_sigmoid(F x) {
  return sigmoid(x);
}
NONET_INLINE F gate_tanh(F x) {
  return tanh(x);
}

// Vectors have one lane.
template <class T>
NONET_INLINE F load_lanes(const T* p, int64_t) {
  return as_float(*p);
}
template <class T>
NONET_INLINE void store_lanes(T* p, F v, int64_t) {
  *p = from_float<T>(v);
}

}  // namespace nonet::NONET_CUDA_NS
