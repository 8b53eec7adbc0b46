// Running sums over a warp and a block.
#pragma once

#include "cuda/prim.cuh"

namespace nonet::NONET_CUDA_NS {

// The sum of x over the lanes before this one.
template <class T>
NONET_DEVICE T warp_scan(T x) {
  T sum = x;
  for (int step = 1; step < 32; step *= 2) {
    const T before = shuffle_up(sum, step);
    if (lane_index() >= step) sum += before;
  }
  return sum - x;
}

// The sum of x over the threads before this one, in a block of full warps; `total` of all of them. `scratch` is shared
// memory for one T per warp; it may be used again after the call without a block_sync().
template <class T>
NONET_DEVICE T block_scan(T x, T* scratch, T& total) {
  T sum = warp_scan(x);
  if (lane_index() == 31) scratch[warp_index()] = sum + x;
  block_sync();
  const Dim3 size = block_size();
  total = 0;
  for (int w = 0; w < size.x * size.y * size.z / 32; ++w) {
    if (w == warp_index()) sum += total;
    total += scratch[w];
  }
  block_sync();
  return sum;
}

}  // namespace nonet::NONET_CUDA_NS
