// What happens to a finished sum of the forward pass.
#pragma once

#include "cuda/scalar.cuh"
#include "ops/conv/conv.h"

namespace nonet::NONET_CUDA_NS {

NONET_DEVICE float activated(float z, FusedActivation activation) {
  switch (activation) {
    case FusedActivation::relu:
      return z < 0.f ? 0.f : z;  // NaN stays
    case FusedActivation::tanh:
      return tanh(z);
    case FusedActivation::sigmoid:
      return sigmoid(z);
    default:
      return z;
  }
}

}  // namespace nonet::NONET_CUDA_NS
