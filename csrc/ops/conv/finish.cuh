// What happens to a finished sum of the forward pass.
#pragma once

#include "cuda/scalar.cuh"
#include "ops/conv/conv.h"

namespace nonet::NONET_CUDA_NS {

NONET_DEVICE_CALL static Pack<float, 4> activated_four(Pack<float, 4> z, FusedActivation activation) {
  NONET_UNROLL
  for (int j = 0; j < 4; ++j) {
    if (activation == FusedActivation::relu) {
      z[j] = z[j] < 0.f ? 0.f : z[j];  // NaN stays
    } else {
      z[j] = activation == FusedActivation::tanh ? tanh(z[j]) : sigmoid(z[j]);
    }
  }
  return z;
}
NONET_DEVICE Pack<float, 4> activated(const Pack<float, 4>& z, FusedActivation activation) {
  return activation == FusedActivation::none ? z : activated_four(z, activation);
}

}  // namespace nonet::NONET_CUDA_NS
