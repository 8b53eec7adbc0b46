// The emulator's side of prim.cuh: ldmatrix, mma.sync, wgmma. Documented there.
#pragma once

#include "cuda/emulator/machine.h"

namespace nonet::emulator {

namespace machine {
void load_matrix(uint32_t* r, int n, bool transpose, const void* row, Site site);
void mma(float* d, const uint32_t* a, const uint32_t* b, bool tf32, Site site);

struct WgmmaForm {
  int n;
  bool tf32, transpose_a, transpose_b, a_in_registers;
  bool operator==(const WgmmaForm&) const = default;
};
void wgmma(WgmmaForm form, float* d, uint64_t a, const uint32_t* a_registers, uint64_t b, bool accumulate, Site site);
void wgmma_wait(int groups, float* const* accumulators, int count, Site site);
void begin_matrix();

template <int n>
inline constexpr bool wgmma_width =
    n == 8 || n == 16 || n == 32 || n == 64 || n == 96 || n == 128 || n == 192 || n == 256;
}  // namespace machine

template <int n, bool transpose = false>
inline void load_matrix(uint32_t (&r)[n], const void* row, Site site = Site::current()) {
  static_assert(n == 1 || n == 2 || n == 4);
  machine::load_matrix(r, n, transpose, row, site);
}
// To the nearest of 10 bits of mantissa, halves away from zero.
inline uint32_t to_tf32(float x) {
  const auto bits = bits_as<uint32_t>(x);
  return (bits & 0x7f800000) == 0x7f800000 ? bits : (bits + 0x1000) & ~0x1fffu;
}
inline void mma_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Site site = Site::current()) {
  machine::mma(d, a, b, false, site);
}
inline void mma_tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Site site = Site::current()) {
  machine::mma(d, a, b, true, site);
}

inline constexpr bool has_wgmma = true;
void wgmma_fence();
void wgmma_commit();
template <int n, class... Accumulators>
inline void wgmma_wait(Accumulators&... d) {
  float* const accumulators[] = {d..., nullptr};
  machine::wgmma_wait(n, accumulators, sizeof...(d), Site::current());
}
template <int n, bool transpose_a = false, bool transpose_b = false>
inline void wgmma_bf16(float (&d)[n / 2], uint64_t a, uint64_t b, bool accumulate, Site site = Site::current()) {
  static_assert(machine::wgmma_width<n>);
  machine::wgmma({n, false, transpose_a, transpose_b, false}, d, a, nullptr, b, accumulate, site);
}
template <int n, bool transpose_b = false>
inline void wgmma_bf16(float (&d)[n / 2], const uint32_t (&a)[4], uint64_t b, bool accumulate,
                       Site site = Site::current()) {
  static_assert(machine::wgmma_width<n>);
  machine::wgmma({n, false, false, transpose_b, true}, d, 0, a, b, accumulate, site);
}
template <int n>
inline void wgmma_tf32(float (&d)[n / 2], uint64_t a, uint64_t b, bool accumulate, Site site = Site::current()) {
  static_assert(machine::wgmma_width<n>);
  machine::wgmma({n, true, false, false, false}, d, a, nullptr, b, accumulate, site);
}
template <int n>
inline void wgmma_tf32(float (&d)[n / 2], const uint32_t (&a)[4], uint64_t b, bool accumulate,
                       Site site = Site::current()) {
  static_assert(machine::wgmma_width<n>);
  machine::wgmma({n, true, false, false, true}, d, 0, a, b, accumulate, site);
}
template <int registers>
inline void raise_registers() {
  static_assert(registers >= 24 && registers <= 256 && registers % 8 == 0);
}
template <int registers>
inline void lower_registers() {
  static_assert(registers >= 24 && registers <= 256 && registers % 8 == 0);
}

}  // namespace nonet::emulator
