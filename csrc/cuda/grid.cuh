// A barrier between all blocks of a cooperative launch.
#pragma once

#include "cuda/prim.cuh"

namespace nonet::NONET_CUDA_NS {

// In global memory, zero at first; ready for the next launch when one is over.
struct GridBarrier {
  uint32_t arrived;
};

// What any thread wrote before is visible to all threads behind. Block 0 adds what the others leave to the highest bit,
// whose change everybody waits for: the counter needs no reset.
NONET_DEVICE void grid_sync(GridBarrier* barrier) {
  block_sync();
  if (thread_rank() == 0) {
    const Dim3 grid = grid_size(), block = block_index();
    const auto blocks = static_cast<uint32_t>(grid.x * grid.y * grid.z);
    const bool first = block.x == 0 && block.y == 0 && block.z == 0;
    fence_device();
    const uint32_t old = atomic_add(&barrier->arrived, first ? 0x80000000u - (blocks - 1) : 1u);
    while (((load_acquire(&barrier->arrived) ^ old) & 0x80000000u) == 0) pause();
    fence_device();
  }
  block_sync();
}

}  // namespace nonet::NONET_CUDA_NS
