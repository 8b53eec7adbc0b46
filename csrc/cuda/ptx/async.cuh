// The GPU's side of prim.cuh: copies beside the threads, barriers in shared memory, TMA, clusters. Documented there.
#pragma once

#include "cuda/ptx/simt.cuh"
#include "cuda/tensor_map.h"

namespace nonet::cuda {

// Code of a higher architecture than the one compiled for is only reached by a wrong choice of kernel.
#define NONET_ASM_FROM(lowest, ...) \
  do {                              \
    if constexpr (arch >= lowest) { \
      asm volatile(__VA_ARGS__);    \
    } else {                        \
      __trap();                     \
    }                               \
  } while (false)

// ---- cp.async

template <int bytes>
NONET_DEVICE void copy_async(void* shared, const void* global, int valid = bytes) {
  static_assert(bytes == 4 || bytes == 8 || bytes == 16);
  if constexpr (arch < 80) {
    uint32_t words[bytes / 4] = {};
    for (int i = 0; i < valid; ++i) {
      reinterpret_cast<unsigned char*>(words)[i] = static_cast<const unsigned char*>(global)[i];
    }
    memcpy(shared, words, bytes);
  } else if constexpr (bytes == 16) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)), "l"(global), "r"(valid)
                 : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(shared_address(shared)), "l"(global), "n"(bytes),
                 "r"(valid)
                 : "memory");
  }
}
NONET_DEVICE void copy_async_commit() {
  if constexpr (arch >= 80) asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int n>
NONET_DEVICE void copy_async_wait() {
  if constexpr (arch >= 80) asm volatile("cp.async.wait_group %0;" ::"n"(n) : "memory");
}
NONET_DEVICE void copy_async_arrive(Mbarrier* b) {
  NONET_ASM_FROM(90, "cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(shared_address(b)) : "memory");
}

// ---- barriers in shared memory

NONET_DEVICE void mbarrier_init(Mbarrier* b, int arrivals) {
  NONET_ASM_FROM(90, "mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(b)), "r"(arrivals) : "memory");
}
NONET_DEVICE void fence_mbarrier_init() {
  NONET_ASM_FROM(90, "fence.mbarrier_init.release.cluster;" :: : "memory");
}
NONET_DEVICE void fence_proxy_async() {
  NONET_ASM_FROM(90, "fence.proxy.async.shared::cta;" :: : "memory");
}
NONET_DEVICE void mbarrier_arrive(Mbarrier* b) {
  NONET_ASM_FROM(90, "mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(b)) : "memory");
}
NONET_DEVICE void mbarrier_expect(Mbarrier* b, int bytes) {
  NONET_ASM_FROM(90, "mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [%0], %1;" ::"r"(shared_address(b)),
                 "r"(bytes) : "memory");
}
NONET_DEVICE void mbarrier_arrive_expect(Mbarrier* b, int bytes) {
  NONET_ASM_FROM(90, "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(b)),
                 "r"(bytes) : "memory");
}
// Orders what this block sees: .release.cluster, the default, becomes a fence of the whole device, which took longer
// than a step of a product. For more, as of results left in distributed shared memory, there is cluster_sync().
NONET_DEVICE void mbarrier_arrive_remote(Mbarrier* b, int rank) {
  NONET_ASM_FROM(90,
                 "{\n.reg .b32 remote;\n"
                 "mapa.shared::cluster.u32 remote, %0, %1;\n"
                 "mbarrier.arrive.release.cta.shared::cluster.b64 _, [remote];\n}" ::"r"(shared_address(b)),
                 "r"(rank) : "memory");
}
NONET_DEVICE bool mbarrier_test(Mbarrier* b, int parity) {
  uint32_t done = 0;
  NONET_ASM_FROM(90,
                 "{\n.reg .pred done;\n"
                 "mbarrier.try_wait.parity.shared::cta.b64 done, [%1], %2;\n"
                 "selp.u32 %0, 1, 0, done;\n}" : "=r"(done) : "r"(shared_address(b)),
                 "r"(parity) : "memory");
  return done != 0;
}
NONET_DEVICE void mbarrier_wait(Mbarrier* b, int parity) {
  while (!mbarrier_test(b, parity)) {
  }
}

// ---- TMA

NONET_DEVICE void prefetch_tensor_map(const TensorMap* map) {
  NONET_ASM_FROM(90, "prefetch.tensormap [%0];" ::"l"(map) : "memory");
}

// The coordinates as operands of the instruction, after `first` others.
#define NONET_TMA_LOAD(dims, coordinates, options, tail, ...)                                                \
  NONET_ASM_FROM(90,                                                                                         \
                 "cp.async.bulk.tensor." dims ".shared::cluster.global.mbarrier::complete_tx::bytes" options \
                 " [%0], [%1, " coordinates "], [%2]" tail ";" ::"r"(shared_address(shared)),                \
                 "l"(map), "r"(shared_address(b)), __VA_ARGS__ : "memory")
#define NONET_TMA_STORE(operation, dims, coordinates, ...)                                           \
  NONET_ASM_FROM(90,                                                                                 \
                 operation ".async.bulk.tensor." dims ".global.shared::cta" NONET_TMA_REDUCTION      \
                           ".bulk_group [%1, " coordinates "], [%0];" ::"r"(shared_address(shared)), \
                 "l"(map), __VA_ARGS__ : "memory")

template <class... C>
NONET_DEVICE void tma_load(void* shared, const TensorMap* map, Mbarrier* b, C... coordinates) {
  constexpr int rank = sizeof...(C);
  const int c[] = {static_cast<int>(coordinates)...};
  static_assert(rank >= 1 && rank <= 5);
  if constexpr (rank == 1) NONET_TMA_LOAD("1d", "{%3}", "", "", "r"(c[0]));
  if constexpr (rank == 2) NONET_TMA_LOAD("2d", "{%3, %4}", "", "", "r"(c[0]), "r"(c[1]));
  if constexpr (rank == 3) NONET_TMA_LOAD("3d", "{%3, %4, %5}", "", "", "r"(c[0]), "r"(c[1]), "r"(c[2]));
  if constexpr (rank == 4) {
    NONET_TMA_LOAD("4d", "{%3, %4, %5, %6}", "", "", "r"(c[0]), "r"(c[1]), "r"(c[2]), "r"(c[3]));
  }
  if constexpr (rank == 5) {
    NONET_TMA_LOAD("5d", "{%3, %4, %5, %6, %7}", "", "", "r"(c[0]), "r"(c[1]), "r"(c[2]), "r"(c[3]), "r"(c[4]));
  }
}

template <class... C>
NONET_DEVICE void tma_load_multicast(void* shared, const TensorMap* map, Mbarrier* b, uint32_t blocks,
                                     C... coordinates) {
  constexpr int rank = sizeof...(C);
  const int c[] = {static_cast<int>(coordinates)...};
  const auto mask = static_cast<uint16_t>(blocks);
  static_assert(rank >= 2 && rank <= 5);
  if constexpr (rank == 2) {
    NONET_TMA_LOAD("2d", "{%4, %5}", ".multicast::cluster", ", %3", "h"(mask), "r"(c[0]), "r"(c[1]));
  }
  if constexpr (rank == 3) {
    NONET_TMA_LOAD("3d", "{%4, %5, %6}", ".multicast::cluster", ", %3", "h"(mask), "r"(c[0]), "r"(c[1]), "r"(c[2]));
  }
  if constexpr (rank == 4) {
    NONET_TMA_LOAD("4d", "{%4, %5, %6, %7}", ".multicast::cluster", ", %3", "h"(mask), "r"(c[0]), "r"(c[1]), "r"(c[2]),
                   "r"(c[3]));
  }
  if constexpr (rank == 5) {
    NONET_TMA_LOAD("5d", "{%4, %5, %6, %7, %8}", ".multicast::cluster", ", %3", "h"(mask), "r"(c[0]), "r"(c[1]),
                   "r"(c[2]), "r"(c[3]), "r"(c[4]));
  }
}

#define NONET_TMA_STORES(operation)                                                                                  \
  constexpr int rank = sizeof...(C);                                                                                 \
  const int c[] = {static_cast<int>(coordinates)...};                                                                \
  static_assert(rank >= 1 && rank <= 5);                                                                             \
  if constexpr (rank == 1) NONET_TMA_STORE(operation, "1d", "{%2}", "r"(c[0]));                                      \
  if constexpr (rank == 2) NONET_TMA_STORE(operation, "2d", "{%2, %3}", "r"(c[0]), "r"(c[1]));                       \
  if constexpr (rank == 3) {                                                                                         \
    NONET_TMA_STORE(operation, "3d", "{%2, %3, %4}", "r"(c[0]), "r"(c[1]), "r"(c[2]));                               \
  }                                                                                                                  \
  if constexpr (rank == 4) {                                                                                         \
    NONET_TMA_STORE(operation, "4d", "{%2, %3, %4, %5}", "r"(c[0]), "r"(c[1]), "r"(c[2]), "r"(c[3]));                \
  }                                                                                                                  \
  if constexpr (rank == 5) {                                                                                         \
    NONET_TMA_STORE(operation, "5d", "{%2, %3, %4, %5, %6}", "r"(c[0]), "r"(c[1]), "r"(c[2]), "r"(c[3]), "r"(c[4])); \
  }

#define NONET_TMA_REDUCTION
template <class... C>
NONET_DEVICE void tma_store(const TensorMap* map, const void* shared, C... coordinates){NONET_TMA_STORES("cp")}
#undef NONET_TMA_REDUCTION
#define NONET_TMA_REDUCTION ".add"
template <class... C>
NONET_DEVICE
    void tma_reduce_add(const TensorMap* map, const void* shared, C... coordinates){NONET_TMA_STORES("cp.reduce")}
#undef NONET_TMA_REDUCTION
#undef NONET_TMA_STORES
#undef NONET_TMA_STORE
#undef NONET_TMA_LOAD

NONET_DEVICE void bulk_load(void* shared, const void* global, int bytes, Mbarrier* b) {
  NONET_ASM_FROM(90,
                 "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                     shared_address(shared)),
                 "l"(global), "r"(bytes), "r"(shared_address(b)) : "memory");
}
NONET_DEVICE void bulk_store(void* global, const void* shared, int bytes) {
  NONET_ASM_FROM(90, "cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(global),
                 "r"(shared_address(shared)), "r"(bytes) : "memory");
}
NONET_DEVICE void bulk_commit() {
  NONET_ASM_FROM(90, "cp.async.bulk.commit_group;" :: : "memory");
}
template <int n>
NONET_DEVICE void bulk_wait() {
  NONET_ASM_FROM(90, "cp.async.bulk.wait_group %0;" ::"n"(n) : "memory");
}
template <int n>
NONET_DEVICE void bulk_wait_read() {
  NONET_ASM_FROM(90, "cp.async.bulk.wait_group.read %0;" ::"n"(n) : "memory");
}

// ---- clusters

NONET_DEVICE int cluster_rank() {
  int rank = 0;
  NONET_ASM_FROM(90, "mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}
NONET_DEVICE int cluster_blocks() {
  int blocks = 1;
  NONET_ASM_FROM(90, "mov.u32 %0, %%cluster_nctarank;" : "=r"(blocks));
  return blocks;
}
NONET_DEVICE void cluster_arrive() {
  NONET_ASM_FROM(90, "barrier.cluster.arrive.release.aligned;" :: : "memory");
}
NONET_DEVICE void cluster_wait() {
  NONET_ASM_FROM(90, "barrier.cluster.wait.acquire.aligned;" :: : "memory");
}
NONET_DEVICE void cluster_sync() {
  cluster_arrive();
  cluster_wait();
}
template <class T>
NONET_DEVICE T* map_shared(T* p, int rank) {
  uint64_t mapped = 0;
  NONET_ASM_FROM(90, "mapa.u64 %0, %1, %2;" : "=l"(mapped) : "l"(p), "r"(rank));
  return reinterpret_cast<T*>(mapped);
}

NONET_DEVICE void dependency_wait() {
  if constexpr (arch >= 90) asm volatile("griddepcontrol.wait;" ::: "memory");
}
NONET_DEVICE void dependency_launch() {
  if constexpr (arch >= 90) asm volatile("griddepcontrol.launch_dependents;");
}

}  // namespace nonet::cuda
