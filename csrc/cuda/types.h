// What a launch is described by: the part of prim.cuh that knows neither CUDA nor the emulator.
//
// NONET_DEVICE functions are part of their callers; a NONET_DEVICE_CALL is not: for long code at many places that
// seldom runs. NONET_CUDA_NS is the namespace of everything a .cu file defines: `cuda` where nvcc compiles it for the
// GPU, `emulator` where g++ compiles the very same file for the CPU model of the tests.
#pragma once

#include <cstdint>
#include <string>

#if defined(__CUDACC__)
#define NONET_CUDA_NS cuda
#define NONET_DEVICE __device__ __forceinline__
#define NONET_DEVICE_CALL __device__ __noinline__
#define NONET_UNROLL _Pragma("unroll")
#define NONET_ROLLED _Pragma("unroll 1")
#else
#define NONET_CUDA_NS emulator
#define NONET_DEVICE inline
#define NONET_DEVICE_CALL inline
#define NONET_UNROLL
#define NONET_ROLLED
#endif

namespace nonet::NONET_CUDA_NS {

struct Dim3 {
  int x = 1, y = 1, z = 1;
};

// How a launch, or the encoding of a tensor map, went. Under the emulator a launch is over when it returns, and the
// text says what a kernel did wrong, and where.
struct Status {
  int code = 0;  // cudaError_t; 0 is success
  std::string text;
  bool ok() const { return code == 0; }
};

struct LaunchConfig {
  Dim3 grid{};
  Dim3 block{};
  int shared_bytes = 0;           // dynamic shared memory per block; there is no other kind
  Dim3 cluster{};                 // blocks per cluster (sm_90); divides the grid
  bool cooperative = false;       // all blocks resident at once, so that they may wait for each other
  bool overlap_previous = false;  // starts before its predecessor ends, which it waits for with dependency_wait()
  void* stream = nullptr;         // cudaStream_t
};

// How rows of shared memory are permuted, 16 bytes at a time, so that columns of them are read without bank conflicts:
// address bits 4… are xored with the bits from 7 on.
enum class Swizzle { none, bytes32, bytes64, bytes128 };

}  // namespace nonet::NONET_CUDA_NS
