// How the tiles of a product walk through A. *.simd.cpp and *.avx512_bf16.cpp only.
#pragma once

#include "ops/matmul/brgemm.h"

namespace nonet::NONET_NS {

// Rows of A three to a pointer: base, base + lda and base + 2 lda are addressing modes of their own.
template <Order order, int R>
struct Rows {
  const float* base[order == Order::rows ? (R + 2) / 3 : 1];
  int64_t lda;

  __attribute__((always_inline)) Rows(const float* a, int64_t lda) : lda(lda) {
#pragma GCC unroll 10
    for (int i = 0; i < (int)(sizeof base / sizeof *base); ++i) base[i] = a + 3 * i * lda;
  }
  __attribute__((always_inline)) const float& operator[](int r) const {
    return order == Order::rows ? base[r / 3][r % 3 * lda] : base[0][r];
  }
  __attribute__((always_inline)) void next() {
#pragma GCC unroll 10
    for (auto& p : base) p += order == Order::rows ? 1 : lda;
  }
};

}  // namespace nonet::NONET_NS
