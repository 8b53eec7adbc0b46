// What a kernel file (*.simd.cpp) may know of the rest: plain types and how it is chosen at run time.
//
// Kernel files are compiled once per instruction set. No inline function and no library header may enter them from
// here: the linker could keep a copy that was compiled for AVX-512 and run it on a machine that has none.
#pragma once

#include <cstddef>
#include <cstdint>

namespace nonet {

struct bfloat16 {
  uint16_t bits;
};

// Order matters nowhere but in names[] of dtype.cpp.
enum class DType : uint8_t { float32, bfloat16, int64, int32, uint8, boolean };

// avx512_bf16 is avx512 with dot products of bfloat16 pairs, amx with matrix tiles too: only what multiplies most has
// kernels of its own for them.
enum class Isa : int { scalar, avx2, avx512, avx512_bf16, amx };

// The instruction set in use: the best one of this machine, or a lower one forced by NONET_ISA or set_isa().
Isa isa();

// What a draw of random numbers is a function of (see array/generator.h and simd/philox.h).
struct PhiloxKey {
  uint64_t seed;
  uint64_t offset;  // the first counter of this draw
};

// The queue of a GPU that a launcher puts its kernels into (cudaStream_t).
using Stream = void*;

using BlockFunction = void (*)(void* context, int64_t block);

// Memory of the calling thread, 64-byte aligned, for the length of a block: the next call may move it.
void* thread_scratch(int64_t bytes);

// Runs function(context, b) for b in [0, blocks) on the thread pool; returns when all are done. The split into blocks
// belongs to the caller and must not depend on the number of threads. Called from inside another region, or while a
// second thread holds the pool, it runs serially.
void run_blocks(int64_t blocks, BlockFunction function, void* context);

template <class Body>
static inline void parallel_blocks(int64_t blocks, const Body& body) {
  if (blocks == 1) return body(0);
  run_blocks(
      blocks, [](void* context, int64_t block) { (*static_cast<const Body*>(context))(block); },
      const_cast<void*>(static_cast<const void*>(&body)));
}

// Threads that run at the same time and may wait for each other: function(context, rank, size) for the ranks below
// size, which is at most `most` and 1 wherever run_blocks() would run serially. What a rank does may depend on size;
// the numbers that come out must not.
using TeamFunction = void (*)(void* context, int64_t rank, int64_t size);
void run_team(int64_t most, TeamFunction function, void* context);

template <class Body>
static inline void parallel_team(int64_t most, const Body& body) {
  run_team(
      most, [](void* context, int64_t rank, int64_t size) { (*static_cast<const Body*>(context))(rank, size); },
      const_cast<void*>(static_cast<const void*>(&body)));
}

// Where the threads of a team wait for each other. Zero at first, and ready for the next time behind each one.
struct alignas(64) Barrier {
  uint32_t arrived = 0;
  alignas(64) uint32_t round = 0;
};
// Returns when `size` threads have called it; what they wrote before is then visible to all of them.
void wait(Barrier& barrier, int64_t size);

// Splits [0, n) into ranges of `grain` items: body(begin, end).
template <class Body>
static inline void parallel_for(int64_t n, int64_t grain, const Body& body) {
  if (n <= 0) return;
  if (n <= grain) return body(static_cast<int64_t>(0), n);
  parallel_blocks((n + grain - 1) / grain, [&](int64_t block) {
    const int64_t begin = block * grain;
    body(begin, begin + grain < n ? begin + grain : n);
  });
}

}  // namespace nonet

// NONET_KERNELS(SoftmaxKernels, softmax_kernels) declares one constant table of function pointers per instruction set
// (each `*.simd.cpp` defines its own) and softmax_kernels(), which returns the one in use.
#if defined(__x86_64__)
#define NONET_KERNELS(Table, name) \
  namespace scalar {               \
  extern const Table name;         \
  }                                \
  namespace avx2 {                 \
  extern const Table name;         \
  }                                \
  namespace avx512 {               \
  extern const Table name;         \
  }                                \
  inline const Table& name() {     \
    switch (isa()) {               \
      case Isa::amx:               \
      case Isa::avx512_bf16:       \
      case Isa::avx512:            \
        return avx512::name;       \
      case Isa::avx2:              \
        return avx2::name;         \
      default:                     \
        return scalar::name;       \
    }                              \
  }                                \
  static_assert(true, "a semicolon")
#else
#define NONET_KERNELS(Table, name) \
  namespace scalar {               \
  extern const Table name;         \
  }                                \
  inline const Table& name() {     \
    return scalar::name;           \
  }                                \
  static_assert(true, "a semicolon")
#endif
