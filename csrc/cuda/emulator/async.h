// The emulator's side of prim.cuh: copies beside the threads, barriers in shared memory, TMA, clusters. Documented
// there.
#pragma once

#include <initializer_list>

#include "cuda/emulator/machine.h"
#include "cuda/tensor_map.h"

namespace nonet::emulator {

namespace machine {
void copy_async(void* shared, const void* global, int bytes, int valid);
void copy_async_wait(int groups);
void tma_load(void* shared, const TensorMap* map, Mbarrier* b, uint32_t blocks, std::initializer_list<int> at,
              Site site);
void tma_store(const TensorMap* map, const void* shared, bool add, std::initializer_list<int> at, Site site);
void bulk_wait(int groups);
void* map_shared(void* p, int rank);

// For the scheduler.
void begin_async();                               // the resident blocks start
std::string describe_wait(const Thread& thread);  // what more a deadlock report says
void thread_ends();                               // the running one
}  // namespace machine

template <int bytes>
inline void copy_async(void* shared, const void* global, int valid = bytes) {
  static_assert(bytes == 4 || bytes == 8 || bytes == 16);
  machine::copy_async(shared, global, bytes, valid);
}
void copy_async_commit();
template <int n>
inline void copy_async_wait() {
  machine::copy_async_wait(n);
}
void copy_async_arrive(Mbarrier* b, Site site = Site::current());

void mbarrier_init(Mbarrier* b, int arrivals, Site site = Site::current());
void fence_mbarrier_init();
void fence_proxy_async();
void mbarrier_arrive(Mbarrier* b, Site site = Site::current());
void mbarrier_expect(Mbarrier* b, int bytes, Site site = Site::current());
void mbarrier_arrive_expect(Mbarrier* b, int bytes, Site site = Site::current());
void mbarrier_arrive_remote(Mbarrier* b, int rank, Site site = Site::current());
bool mbarrier_test(Mbarrier* b, int parity, Site site = Site::current());
void mbarrier_wait(Mbarrier* b, int parity, Site site = Site::current());

inline void prefetch_tensor_map(const TensorMap*) {}
// The coordinates are followed by nothing: a default argument for the site would be one of them.
template <class... C>
inline void tma_load(void* shared, const TensorMap* map, Mbarrier* b, C... coordinates) {
  machine::tma_load(shared, map, b, 0, {static_cast<int>(coordinates)...}, Site::current());
}
template <class... C>
inline void tma_load_multicast(void* shared, const TensorMap* map, Mbarrier* b, uint32_t blocks, C... coordinates) {
  machine::tma_load(shared, map, b, blocks, {static_cast<int>(coordinates)...}, Site::current());
}
template <class... C>
inline void tma_store(const TensorMap* map, const void* shared, C... coordinates) {
  machine::tma_store(map, shared, false, {static_cast<int>(coordinates)...}, Site::current());
}
template <class... C>
inline void tma_reduce_add(const TensorMap* map, const void* shared, C... coordinates) {
  machine::tma_store(map, shared, true, {static_cast<int>(coordinates)...}, Site::current());
}
void bulk_load(void* shared, const void* global, int bytes, Mbarrier* b, Site site = Site::current());
void bulk_store(void* global, const void* shared, int bytes);
void bulk_commit();
template <int n>
inline void bulk_wait() {
  machine::bulk_wait(n);
}
template <int n>
inline void bulk_wait_read() {
  machine::bulk_wait(n);
}

int cluster_rank();
int cluster_blocks();
void cluster_arrive(Site site = Site::current());
void cluster_wait(Site site = Site::current());
inline void cluster_sync(Site site = Site::current()) {
  cluster_arrive(site);
  cluster_wait(site);
}
template <class T>
inline T* map_shared(T* p, int rank) {
  return static_cast<T*>(machine::map_shared(p, rank));
}

inline void dependency_wait() {}
inline void dependency_launch() {}

}  // namespace nonet::emulator
