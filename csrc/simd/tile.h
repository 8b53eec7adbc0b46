// The matrix tiles of AMX: eight registers of 16 rows of 64 bytes each. Included by *.amx.cpp only.
//
// Inline assembly, because GCC 12's own _tile_loadconfig tells the optimizer of 8 of its 64 bytes, and its tile loads
// and stores of no memory at all. Builds that emulate AVX-512 emulate the tiles too, bit for bit as the manual defines
// TDPBF16PS (Intel Architecture Instruction Set Extensions, "TDPBF16PS"): that is how the driver above is tested where
// no processor has them.
#pragma once

#include "simd/vec.h"

namespace nonet::NONET_NS {

inline constexpr int64_t tile_line = 64;  // bytes of a row

#if defined(__AMX_TILE__) && defined(__AMX_BF16__)

// All eight tiles at full size, until tile_release().
NONET_INLINE void tile_configure() {
  struct alignas(64) Config {
    uint8_t palette = 1;
    uint8_t start_row = 0;
    uint8_t reserved[14] = {};
    uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  } const config;
  asm volatile("ldtilecfg %0" ::"m"(config));
}
NONET_INLINE void tile_release() {
  asm volatile("tilerelease" ::: "memory");
}
template <int t>
NONET_INLINE void tile_zero() {
  asm volatile("tilezero %%tmm%c[t]" ::[t] "i"(t));
}
// Rows `stride` bytes apart.
template <int t>
NONET_INLINE void tile_load(const void* p, int64_t stride) {
  asm volatile("tileloadd (%[p],%[stride],1), %%tmm%c[t]" ::[p] "r"(p), [stride] "r"(stride), [t] "i"(t) : "memory");
}
template <int t>
NONET_INLINE void tile_store(void* p, int64_t stride) {
  asm volatile("tilestored %%tmm%c[t], (%[p],%[stride],1)" ::[p] "r"(p), [stride] "r"(stride), [t] "i"(t) : "memory");
}
// C[16, 16] += A[16, 32] B[32, 16] of bfloat16, B with the two rows of a pair interleaved.
template <int c, int a, int b>
NONET_INLINE void tile_dot() {
  asm volatile("tdpbf16ps %%tmm%c[b], %%tmm%c[a], %%tmm%c[c]" ::[c] "i"(c), [a] "i"(a), [b] "i"(b));
}

#else

struct alignas(64) EmulatedTile {
  uint32_t row[16][16];
};
static thread_local EmulatedTile emulated_tiles[8];

NONET_INLINE void tile_configure() {}
// What a thread must not rely on: the contents are gone.
NONET_INLINE void tile_release() {
  for (auto& tile : emulated_tiles) {
    for (auto& row : tile.row) {
      for (uint32_t& x : row) x = 0x7fc00000;
    }
  }
}
template <int t>
NONET_INLINE void tile_zero() {
  emulated_tiles[t] = {};
}
template <int t>
NONET_INLINE void tile_load(const void* p, int64_t stride) {
  for (int r = 0; r < 16; ++r) __builtin_memcpy(emulated_tiles[t].row[r], (const char*)p + r * stride, tile_line);
}
template <int t>
NONET_INLINE void tile_store(void* p, int64_t stride) {
  for (int r = 0; r < 16; ++r) __builtin_memcpy((char*)p + r * stride, emulated_tiles[t].row[r], tile_line);
}

// Numbers below 2^-126 count as 0, on the way in and out.
NONET_INLINE F flush(F x) {
  return abs(x) < 1.17549435e-38f ? F{} : x;
}
template <int c, int a, int b>
NONET_INLINE void tile_dot() {
  const EmulatedTile& A = emulated_tiles[a];
  const EmulatedTile& B = emulated_tiles[b];
  for (int m = 0; m < 16; ++m) {
    F even{};
    F odd{};
    for (int k = 0; k < 16; ++k) {
      const uint32_t pair = A.row[m][k];
      U bits;
      __builtin_memcpy(&bits, B.row[k], sizeof bits);
      const F low = flush((F)(bits << 16));
      const F high = flush((F)(bits & 0xffff0000u));
      even = flush(even + flush(flush((F)(U{} + (pair << 16))) * low));
      odd = flush(odd + flush(flush((F)(U{} + (pair & 0xffff0000u))) * high));
    }
    float* to = (float*)emulated_tiles[c].row[m];
    store(to, flush(flush(load(to)) + flush(even + odd)));
  }
}

#endif

}  // namespace nonet::NONET_NS
