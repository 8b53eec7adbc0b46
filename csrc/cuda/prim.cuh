// The vocabulary of GPU kernels: PTX behind named functions.
//
// A kernel is written once. nvcc compiles it to the GPU's code (namespace nonet::cuda, functions of ptx/), g++ to a
// strict model of the GPU on the CPU (namespace nonet::emulator, functions of emulator/), so that it is tested without
// a GPU:
//
//   #include "cuda/prim.cuh"
//   namespace nonet::NONET_CUDA_NS {
//   struct Scale {
//     static constexpr int max_threads = 256;      // of a block; with min_blocks the launch bounds. Default 256, 1
//     NONET_DEVICE void operator()(const float* x, float* y, int64_t n, float factor) const {
//       for_grid(n, [&](int64_t i) { y[i] = x[i] * factor; });
//     }
//   };
//   Status scale(…) { return launch({.grid = {blocks}, .block = {256}, .stream = stream}, Scale{}, x, y, n, factor); }
//   }
//
// Rules: no asm, <<<>>> or static __shared__ outside csrc/cuda. Shared memory is what the launch asks for, obtained by
// shared_memory<T>(byte_offset), 1024-byte aligned, undefined at first. Arguments and the kernel object's members are
// trivially copyable; a TensorMap is one of them. expf, tanhf, fmaf, sqrtf … are C's, in both worlds; fast_… are the
// hardware's approximations. NONET_UNROLL stands before a loop to unroll, NONET_ROLLED before one to leave as it is.
// Functions of an architecture that the code is not compiled for trap; `arch` (75, 80, 90) is a constant to choose by
// in device code.
//
// Launch
//   Status launch(LaunchConfig, kernel, args...)       .code 0 is success; .text. Never throws. Asynchronous on the
//   GPU;
//                                                      under the emulator over when it returns, errors of the kernel
//                                                      included
// Where am I
//   Dim3 thread_index(), block_index(), block_size(), grid_size()     .x .y .z
//   int thread_rank() in the block; int lane_index(), warp_index(): thread_rank() % 32, / 32
//   int fresh(x)                        x; what depends on it is computed behind this place, not kept in registers
//                                       from where it was computed before
// Waiting for each other
//   block_sync()                        all threads of the block, all at the same place of the source
//   barrier_sync(id, n), barrier_arrive(id, n)         n threads of the block, id in 1…15; arrive does not wait
//   warp_sync(mask)
//   load_acquire(p), store_release(p, v), pause()      32-bit flags in global memory; pause() in the loop that polls
//   fence_block(), fence_device()
// Between the lanes of a warp (4 or 8 bytes)
//   shuffle(v, source, width), shuffle_xor, shuffle_up, shuffle_down; ballot, any_of_warp, all_of_warp
// Atomics, which return the old value
//   atomic_add (float, int32, uint32, int64, uint64), atomic_max, atomic_min (integers), atomic_exchange,
//   atomic_compare_exchange
// Memory
//   Pack<T, n>                          n values of 16 bytes at most, aligned: one vector load
//   load(p), store(p, v), load_readonly(p) (ld.global.nc: nobody writes it), load_streaming(p), store_streaming(p, v)
//   (read or written once) for a value or a Pack; load_pack<n>(p) = load(Pack<T, n> at p)
//   as_float(x), from_float<T>(x), pack_bf16(low, high)     float and bfloat16 (rounded to nearest even; one NaN)
//   bits_as<To>(x)
#pragma once

#include <cstddef>
#include <type_traits>

#include "base/kernel.h"
#include "cuda/types.h"

namespace nonet::NONET_CUDA_NS {

inline constexpr uint32_t full_warp = 0xffffffffu;

// A kernel's launch bounds, or their defaults.
template <class Kernel>
constexpr int max_threads_or_default() {
  if constexpr (requires { Kernel::max_threads; }) {
    return Kernel::max_threads;
  } else {
    return 256;
  }
}
template <class Kernel>
constexpr int min_blocks_or_default() {
  if constexpr (requires { Kernel::min_blocks; }) {
    return Kernel::min_blocks;
  } else {
    return 1;
  }
}
template <class Kernel>
inline constexpr int max_threads_of = max_threads_or_default<Kernel>();
template <class Kernel>
inline constexpr int min_blocks_of = min_blocks_or_default<Kernel>();

// A barrier in shared memory.
struct alignas(8) Mbarrier {
  uint64_t state;
};

template <class T, int n>
struct alignas(sizeof(T) * n) Pack {
  T v[n];
  NONET_DEVICE T& operator[](int i) { return v[i]; }
  NONET_DEVICE const T& operator[](int i) const { return v[i]; }
};

}  // namespace nonet::NONET_CUDA_NS

#if defined(__CUDACC__)
#include "cuda/ptx/simt.cuh"
//
#include "cuda/ptx/async.cuh"
#include "cuda/ptx/matrix.cuh"
#else
#include "cuda/emulator/simt.h"
//
#include "cuda/emulator/async.h"
#include "cuda/emulator/matrix.h"
#endif

namespace nonet::NONET_CUDA_NS {

template <int n, class T>
NONET_DEVICE Pack<T, n> load_pack(const T* p) {
  return load(reinterpret_cast<const Pack<T, n>*>(p));
}
template <class T, int n>
NONET_DEVICE void store_pack(T* p, const Pack<T, n>& value) {
  store(reinterpret_cast<Pack<T, n>*>(p), value);
}

NONET_DEVICE float as_float(float x) {
  return x;
}
NONET_DEVICE float as_float(bfloat16 x) {
  return bits_as<float>(static_cast<uint32_t>(x.bits) << 16);
}
template <class T>
NONET_DEVICE T from_float(float x) {
  if constexpr (std::is_same_v<T, bfloat16>) {
    return {bf16_bits(x)};
  } else {
    return static_cast<T>(x);
  }
}

// An operand of wgmma in shared memory. Rows of `swizzle` bytes along the contiguous direction, eight of them an atom:
// stride_bytes from one atom to the next. Where the rows run along K, leading_bytes is read without swizzle only (from
// one 16-byte column to the next); where they run along M or N, stride_bytes steps along K and leading_bytes from one
// row's end to its continuation.
NONET_DEVICE uint64_t matrix_descriptor(const void* shared, int leading_bytes, int stride_bytes, Swizzle swizzle) {
  const uint64_t layout = swizzle == Swizzle::bytes128  ? 1
                          : swizzle == Swizzle::bytes64 ? 2
                          : swizzle == Swizzle::bytes32 ? 3
                                                        : 0;
  return static_cast<uint64_t>((shared_address(shared) & 0x3ffff) >> 4) |
         static_cast<uint64_t>((leading_bytes >> 4) & 0x3fff) << 16 |
         static_cast<uint64_t>((stride_bytes >> 4) & 0x3fff) << 32 | layout << 62;
}
NONET_DEVICE uint64_t advance_descriptor(uint64_t descriptor, int bytes) {
  return descriptor + static_cast<uint64_t>(bytes >> 4);
}

// body(i) for every i < n, the grid's threads side by side; any one-dimensional grid will do.
template <class Body>
NONET_DEVICE void for_grid(int64_t n, const Body& body) {
  const int64_t step = static_cast<int64_t>(grid_size().x) * block_size().x;
  for (int64_t i = static_cast<int64_t>(block_index().x) * block_size().x + thread_index().x; i < n; i += step) body(i);
}

}  // namespace nonet::NONET_CUDA_NS
