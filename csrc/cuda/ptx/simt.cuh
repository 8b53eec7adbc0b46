// The GPU's side of prim.cuh: indices, barriers, shuffles, atomics, memory, launches. Documented there.
#pragma once

#include <cuda_runtime.h>

namespace nonet::cuda {

#if defined(__CUDA_ARCH__)
inline constexpr int arch = __CUDA_ARCH__ / 10;
#else
inline constexpr int arch = 0;  // host code
#endif

NONET_DEVICE Dim3 thread_index() {
  return {static_cast<int>(threadIdx.x), static_cast<int>(threadIdx.y), static_cast<int>(threadIdx.z)};
}
NONET_DEVICE Dim3 block_index() {
  return {static_cast<int>(blockIdx.x), static_cast<int>(blockIdx.y), static_cast<int>(blockIdx.z)};
}
NONET_DEVICE Dim3 block_size() {
  return {static_cast<int>(blockDim.x), static_cast<int>(blockDim.y), static_cast<int>(blockDim.z)};
}
NONET_DEVICE Dim3 grid_size() {
  return {static_cast<int>(gridDim.x), static_cast<int>(gridDim.y), static_cast<int>(gridDim.z)};
}
NONET_DEVICE int thread_rank() {
  return static_cast<int>(threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z));
}
NONET_DEVICE int lane_index() {
  return thread_rank() % 32;
}
NONET_DEVICE int warp_index() {
  return thread_rank() / 32;
}

NONET_DEVICE int fresh(int x) {
  asm volatile("" : "+r"(x));
  return x;
}

template <class T>
NONET_DEVICE T* shared_memory(int byte_offset = 0) {
  extern __shared__ __align__(1024) unsigned char nonet_shared_memory[];
  return reinterpret_cast<T*>(nonet_shared_memory + byte_offset);
}
NONET_DEVICE uint32_t shared_address(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

NONET_DEVICE void block_sync() {
  __syncthreads();
}
NONET_DEVICE void barrier_sync(int id, int threads) {
  asm volatile("barrier.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
NONET_DEVICE void barrier_arrive(int id, int threads) {
  asm volatile("barrier.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
NONET_DEVICE void warp_sync(uint32_t mask = full_warp) {
  __syncwarp(mask);
}

NONET_DEVICE uint32_t ballot(bool predicate, uint32_t mask = full_warp) {
  return __ballot_sync(mask, predicate);
}
NONET_DEVICE bool any_of_warp(bool predicate, uint32_t mask = full_warp) {
  return __any_sync(mask, predicate);
}
NONET_DEVICE bool all_of_warp(bool predicate, uint32_t mask = full_warp) {
  return __all_sync(mask, predicate);
}

template <class T>
NONET_DEVICE T shuffle(T value, int source_lane, int width = 32, uint32_t mask = full_warp) {
  return __shfl_sync(mask, value, source_lane, width);
}
template <class T>
NONET_DEVICE T shuffle_xor(T value, int lane_mask, int width = 32, uint32_t mask = full_warp) {
  return __shfl_xor_sync(mask, value, lane_mask, width);
}
template <class T>
NONET_DEVICE T shuffle_up(T value, int delta, int width = 32, uint32_t mask = full_warp) {
  return __shfl_up_sync(mask, value, delta, width);
}
template <class T>
NONET_DEVICE T shuffle_down(T value, int delta, int width = 32, uint32_t mask = full_warp) {
  return __shfl_down_sync(mask, value, delta, width);
}

namespace detail {
// CUDA's atomics know unsigned long long, not uint64_t.
template <class T>
NONET_DEVICE auto* atomic_pointer(T* p) {
  if constexpr (sizeof(T) == 8 && static_cast<T>(-1) > T(0) && static_cast<T>(0.5) == T(0)) {
    return reinterpret_cast<unsigned long long*>(p);
  } else if constexpr (sizeof(T) == 8 && static_cast<T>(0.5) == T(0)) {
    return reinterpret_cast<long long*>(p);
  } else {
    return p;
  }
}
}  // namespace detail

template <class T>
NONET_DEVICE T atomic_add(T* p, T value) {
  if constexpr (sizeof(T) == 8 && static_cast<T>(0.5) == T(0)) {  // two's complement: the sign does not matter
    return static_cast<T>(atomicAdd(reinterpret_cast<unsigned long long*>(p), static_cast<unsigned long long>(value)));
  } else {
    return atomicAdd(p, value);
  }
}
template <class T>
NONET_DEVICE T atomic_max(T* p, T value) {
  auto* q = detail::atomic_pointer(p);
  return static_cast<T>(atomicMax(q, static_cast<std::remove_pointer_t<decltype(q)>>(value)));
}
template <class T>
NONET_DEVICE T atomic_min(T* p, T value) {
  auto* q = detail::atomic_pointer(p);
  return static_cast<T>(atomicMin(q, static_cast<std::remove_pointer_t<decltype(q)>>(value)));
}
template <class T>
NONET_DEVICE T atomic_exchange(T* p, T value) {
  return atomicExch(p, value);
}
template <class T>
NONET_DEVICE T atomic_compare_exchange(T* p, T expected, T desired) {
  return atomicCAS(p, expected, desired);
}

NONET_DEVICE void fence_block() {
  __threadfence_block();
}
NONET_DEVICE void fence_device() {
  __threadfence();
}
NONET_DEVICE uint32_t load_acquire(const uint32_t* p) {
  uint32_t value;
  asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(value) : "l"(p) : "memory");
  return value;
}
NONET_DEVICE void store_release(uint32_t* p, uint32_t value) {
  asm volatile("st.release.gpu.global.u32 [%0], %1;" ::"l"(p), "r"(value) : "memory");
}
NONET_DEVICE void pause() {
  __nanosleep(20);
}

namespace detail {
template <int bytes>
struct Word;
template <>
struct Word<1> {
  using type = unsigned char;
};
template <>
struct Word<2> {
  using type = unsigned short;
};
template <>
struct Word<4> {
  using type = unsigned int;
};
template <>
struct Word<8> {
  using type = uint2;
};
template <>
struct Word<16> {
  using type = uint4;
};
template <class V>
using WordOf = typename Word<sizeof(V)>::type;

// By value: a memcpy straight from memory would become loads of single bytes.
template <class To, class From>
NONET_DEVICE To same_bits(From x) {
  static_assert(sizeof(To) == sizeof(From));
  To out;
  memcpy(&out, &x, sizeof(To));
  return out;
}
}  // namespace detail

template <class V>
NONET_DEVICE V load(const V* p) {
  return detail::same_bits<V>(*reinterpret_cast<const detail::WordOf<V>*>(p));
}
template <class V>
NONET_DEVICE V load_readonly(const V* p) {
  return detail::same_bits<V>(__ldg(reinterpret_cast<const detail::WordOf<V>*>(p)));
}
template <class V>
NONET_DEVICE V load_streaming(const V* p) {
  return detail::same_bits<V>(__ldcs(reinterpret_cast<const detail::WordOf<V>*>(p)));
}
template <class V>
NONET_DEVICE void store(V* p, const V& value) {
  *reinterpret_cast<detail::WordOf<V>*>(p) = detail::same_bits<detail::WordOf<V>>(value);
}
template <class V>
NONET_DEVICE void store_streaming(V* p, const V& value) {
  __stcs(reinterpret_cast<detail::WordOf<V>*>(p), detail::same_bits<detail::WordOf<V>>(value));
}

template <class To, class From>
NONET_DEVICE To bits_as(From x) {
  return detail::same_bits<To>(x);
}

// Rounded to nearest even.
NONET_DEVICE uint16_t bf16_bits(float x) {
  if constexpr (arch >= 80) {
    uint16_t out;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(out) : "f"(x));
    return out;
  } else {
    const auto bits = bits_as<uint32_t>(x);
    if (x != x) return static_cast<uint16_t>((bits >> 16) | 0x40);
    return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
  }
}
// The low bits first.
NONET_DEVICE uint32_t pack_bf16(float low, float high) {
  if constexpr (arch >= 80) {
    uint32_t out;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(out) : "f"(high), "f"(low));
    return out;
  } else {
    return bf16_bits(low) | static_cast<uint32_t>(bf16_bits(high)) << 16;
  }
}

NONET_DEVICE float fast_exp(float x) {
  return __expf(x);
}
NONET_DEVICE float fast_exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
NONET_DEVICE float fast_log(float x) {
  return __logf(x);
}
NONET_DEVICE float fast_divide(float x, float y) {
  return __fdividef(x, y);
}
NONET_DEVICE float fast_reciprocal(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
NONET_DEVICE float fast_tanh(float x) {
  float y;
  asm("tanh.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
NONET_DEVICE uint32_t multiply_high(uint32_t a, uint32_t b) {
  return __umulhi(a, b);
}
NONET_DEVICE int count_bits(uint32_t x) {
  return __popc(x);
}

template <class Kernel, class... Args>
__global__ void __launch_bounds__(max_threads_of<Kernel>, min_blocks_of<Kernel>)
    kernel_entry(const __grid_constant__ Kernel kernel, const __grid_constant__ Args... args) {
  kernel(args...);
}

namespace detail {
inline Status status(cudaError_t code) {
  if (code == cudaSuccess) return {};
  return {static_cast<int>(code), std::string(cudaGetErrorName(code)) + ": " + cudaGetErrorString(code)};
}

// What all launches share: once in the program, not once per kernel.
[[gnu::noinline]] inline Status launch_entry(const LaunchConfig& config, const void* entry, void** pointers) {
  if (config.shared_bytes > 48 << 10) {  // above, a kernel must ask for it
    const cudaError_t code =
        cudaFuncSetAttribute(entry, cudaFuncAttributeMaxDynamicSharedMemorySize, config.shared_bytes);
    if (code != cudaSuccess) return cudaGetLastError(), detail::status(code);
  }
  const auto dim3_of = [](Dim3 d) {
    return dim3(static_cast<unsigned>(d.x), static_cast<unsigned>(d.y), static_cast<unsigned>(d.z));
  };
  cudaLaunchConfig_t launch_config{};
  launch_config.gridDim = dim3_of(config.grid);
  launch_config.blockDim = dim3_of(config.block);
  launch_config.dynamicSmemBytes = static_cast<size_t>(config.shared_bytes);
  launch_config.stream = static_cast<cudaStream_t>(config.stream);
  cudaLaunchAttribute attributes[3];
  int count = 0;
  if (config.cluster.x * config.cluster.y * config.cluster.z > 1) {
    attributes[count].id = cudaLaunchAttributeClusterDimension;
    attributes[count].val.clusterDim.x = static_cast<unsigned>(config.cluster.x);
    attributes[count].val.clusterDim.y = static_cast<unsigned>(config.cluster.y);
    attributes[count++].val.clusterDim.z = static_cast<unsigned>(config.cluster.z);
  }
  if (config.cooperative) {
    attributes[count].id = cudaLaunchAttributeCooperative;
    attributes[count++].val.cooperative = 1;
  }
  if (config.overlap_previous) {
    attributes[count].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[count++].val.programmaticStreamSerializationAllowed = 1;
  }
  launch_config.attrs = attributes;
  launch_config.numAttrs = static_cast<unsigned>(count);
  const cudaError_t code = cudaLaunchKernelExC(&launch_config, entry, pointers);
  if (code != cudaSuccess) cudaGetLastError();  // the error is told once, here
  return status(code);
}
}  // namespace detail

template <class Kernel, class... Args>
Status launch(const LaunchConfig& config, const Kernel& kernel, const Args&... args) {
  void* pointers[] = {const_cast<Kernel*>(&kernel), const_cast<Args*>(&args)...};
  return detail::launch_entry(config, reinterpret_cast<const void*>(&kernel_entry<Kernel, Args...>), pointers);
}

}  // namespace nonet::cuda
