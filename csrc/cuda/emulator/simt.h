// The emulator's side of prim.cuh: indices, barriers, shuffles, atomics, memory. Documented there.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <typeinfo>

#include "cuda/emulator/machine.h"

namespace nonet::emulator {

using machine::Site;

inline constexpr int arch = 90;

Dim3 thread_index();
Dim3 block_index();
Dim3 block_size();
Dim3 grid_size();
int thread_rank();
int lane_index();
int warp_index();
inline int fresh(int x) {
  return x;
}

unsigned char* shared_bytes();
template <class T>
inline T* shared_memory(int byte_offset = 0) {
  return reinterpret_cast<T*>(shared_bytes() + byte_offset);
}
uint32_t shared_address(const void* p);

void block_sync(Site site = Site::current());
void barrier_sync(int id, int threads, Site site = Site::current());
void barrier_arrive(int id, int threads, Site site = Site::current());
void warp_sync(uint32_t mask = full_warp, Site site = Site::current());

uint32_t ballot(bool predicate, uint32_t mask = full_warp, Site site = Site::current());
inline bool any_of_warp(bool predicate, uint32_t mask = full_warp, Site site = Site::current()) {
  return ballot(predicate, mask, site) != 0;
}
bool all_of_warp(bool predicate, uint32_t mask = full_warp, Site site = Site::current());

namespace machine {
enum class Shuffle { index, up, down, exclusive_or };
uint64_t shuffle(uint64_t bits, int operand, int width, Shuffle kind, uint32_t mask, Site site);

template <class T>
inline T shuffle_value(T value, int operand, int width, Shuffle kind, uint32_t mask, Site site) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8, "shuffles move 4 or 8 bytes");
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  bits = shuffle(bits, operand, width, kind, mask, site);
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

void check_aligned(const void* p, size_t bytes);
void atomic_access(const void* p, size_t bytes);
// Not watched itself: what it reads and writes would look like an ordinary access beside the atomic one.
template <class T, class Update>
__attribute__((no_sanitize("thread"), noinline)) T atomic_update(T* p, const Update& update) {
  atomic_access(p, sizeof(T));
  T old;
  __builtin_memcpy(&old, p, sizeof(T));
  const T changed = update(old);
  __builtin_memcpy(p, &changed, sizeof(T));
  return old;
}
}  // namespace machine

template <class T>
inline T shuffle(T value, int source_lane, int width = 32, uint32_t mask = full_warp, Site site = Site::current()) {
  return machine::shuffle_value(value, source_lane, width, machine::Shuffle::index, mask, site);
}
template <class T>
inline T shuffle_xor(T value, int lane_mask, int width = 32, uint32_t mask = full_warp, Site site = Site::current()) {
  return machine::shuffle_value(value, lane_mask, width, machine::Shuffle::exclusive_or, mask, site);
}
template <class T>
inline T shuffle_up(T value, int delta, int width = 32, uint32_t mask = full_warp, Site site = Site::current()) {
  return machine::shuffle_value(value, delta, width, machine::Shuffle::up, mask, site);
}
template <class T>
inline T shuffle_down(T value, int delta, int width = 32, uint32_t mask = full_warp, Site site = Site::current()) {
  return machine::shuffle_value(value, delta, width, machine::Shuffle::down, mask, site);
}

template <class T>
inline T atomic_add(T* p, T value) {
  return machine::atomic_update(p, [&](T old) { return static_cast<T>(old + value); });
}
template <class T>
inline T atomic_max(T* p, T value) {
  return machine::atomic_update(p, [&](T old) { return old < value ? value : old; });
}
template <class T>
inline T atomic_min(T* p, T value) {
  return machine::atomic_update(p, [&](T old) { return value < old ? value : old; });
}
template <class T>
inline T atomic_exchange(T* p, T value) {
  return machine::atomic_update(p, [&](T) { return value; });
}
template <class T>
inline T atomic_compare_exchange(T* p, T expected, T desired, Site site = Site::current()) {
  const T old = machine::atomic_update(p, [&](T o) { return o == expected ? desired : o; });
  if (old != expected) machine::poll("atomic_compare_exchange", site);  // whoever holds the lock must run
  return old;
}

inline void fence_block() {}
inline void fence_device() {}

uint32_t load_acquire(const uint32_t* p, Site site = Site::current());
void store_release(uint32_t* p, uint32_t value);
inline void pause(Site site = Site::current()) {
  machine::poll("pause", site);
}

template <class V>
inline V load(const V* p) {
  machine::check_aligned(p, sizeof(V));
  return *p;
}
template <class V>
inline V load_readonly(const V* p) {
  return load(p);
}
template <class V>
inline V load_streaming(const V* p) {
  return load(p);
}
template <class V>
inline void store(V* p, const V& value) {
  machine::check_aligned(p, sizeof(V));
  *p = value;
}
template <class V>
inline void store_streaming(V* p, const V& value) {
  store(p, value);
}

template <class To, class From>
inline To bits_as(From x) {
  static_assert(sizeof(To) == sizeof(From));
  return std::bit_cast<To>(x);
}

inline uint16_t bf16_bits(float x) {
  const auto bits = bits_as<uint32_t>(x);
  if (x != x) return 0x7fff;  // the hardware's only one
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}
inline uint32_t pack_bf16(float low, float high) {
  return bf16_bits(low) | static_cast<uint32_t>(bf16_bits(high)) << 16;
}

inline float rsqrtf(float x) {
  return 1.f / std::sqrt(x);
}
inline float fast_exp(float x) {
  return std::exp(x);
}
inline float fast_exp2(float x) {
  return std::exp2(x);
}
inline float fast_log(float x) {
  return std::log(x);
}
inline float fast_divide(float x, float y) {
  return x / y;
}
inline float fast_reciprocal(float x) {
  return 1.f / x;
}
inline float fast_tanh(float x) {
  return std::tanh(x);
}
inline uint32_t multiply_high(uint32_t a, uint32_t b) {
  return static_cast<uint32_t>(static_cast<uint64_t>(a) * b >> 32);
}
inline int count_bits(uint32_t x) {
  return std::popcount(x);
}

template <class Kernel, class... Args>
Status launch(const LaunchConfig& config, const Kernel& kernel, const Args&... args) {
  const auto call = [&] { kernel(args...); };
  return machine::run(
      config, typeid(Kernel).name(), max_threads_of<Kernel>,
      [](const void* context) { (*static_cast<const decltype(call)*>(context))(); }, &call);
}

// Device memory of the emulator. It is NaN at first, starts 16-byte aligned and ends at a page that cannot be accessed.
inline void* emulator_allocate(size_t bytes) {
  return machine::allocate(bytes);
}
inline void emulator_free(void* p) {
  machine::deallocate(p);
}
// The launches from now on draw their order from this seed.
inline void emulator_seed(uint64_t seed) {
  machine::set_seed(seed);
}
// Whether the order of accesses to shared memory is watched (it is, unless this or NONET_EMULATOR_RACES=0 says
// otherwise).
void emulator_check_races(bool on);

}  // namespace nonet::emulator
