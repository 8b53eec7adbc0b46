// Reductions over a warp and a block, from shuffles.
#pragma once

#include "cuda/prim.cuh"

namespace nonet::NONET_CUDA_NS {

struct Sum {
  template <class T>
  NONET_DEVICE T operator()(T a, T b) const {
    return a + b;
  }
};
struct Max {  // NaN wins
  NONET_DEVICE float operator()(float a, float b) const { return a > b || a != a ? a : b; }
};

// The same result in all lanes of each group of `width` lanes; the order of the tree is fixed.
template <class T, class Combine>
NONET_DEVICE T warp_reduce(T x, const Combine& combine, int width = 32) {
  for (int step = width / 2; step > 0; step /= 2) x = combine(x, shuffle_xor(x, step));
  return x;
}
template <class T>
NONET_DEVICE T warp_sum(T x, int width = 32) {
  return warp_reduce(x, Sum{}, width);
}
NONET_DEVICE float warp_max(float x, int width = 32) {
  return warp_reduce(x, Max{}, width);
}

// The same result in all threads of a block of full warps. `scratch` is shared memory for one T per warp; it may be
// used again after the call without a block_sync().
template <class T, class Combine>
NONET_DEVICE T block_reduce(T x, const Combine& combine, T* scratch) {
  x = warp_reduce(x, combine);
  const Dim3 size = block_size();
  const int warps = size.x * size.y * size.z / 32;
  if (lane_index() == 0) scratch[warp_index()] = x;
  block_sync();
  x = scratch[0];
  for (int w = 1; w < warps; ++w) x = combine(x, scratch[w]);
  block_sync();
  return x;
}
template <class T>
NONET_DEVICE T block_sum(T x, T* scratch) {
  return block_reduce(x, Sum{}, scratch);
}
NONET_DEVICE float block_max(float x, float* scratch) {
  return block_reduce(x, Max{}, scratch);
}

}  // namespace nonet::NONET_CUDA_NS
