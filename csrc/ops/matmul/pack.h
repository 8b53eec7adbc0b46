// Packing of B, float32 or bfloat16, into the panels that brgemm.h reads: float32 [k][32], zeros in columns that the
// matrix lacks. *.simd.cpp only.
#pragma once

#include "ops/matmul/brgemm.h"
#include "simd/transpose.h"

namespace nonet::NONET_NS {

// From B [k, cols] with rows ldb apart.
template <class B>
static void pack_panel(const B* b, int64_t ldb, int64_t k, int64_t cols, float* panel) {
  for (int64_t i = 0; i < k; ++i, b += ldb, panel += panel_columns) {
    for (int64_t j = 0; j < panel_columns; j += width) {
      const int64_t lanes = cols - j < width ? cols - j : width;
      store(panel + j, lanes <= 0 ? F{} : load_lanes(b + j, lanes));
    }
  }
}

// From B^T [cols, k] with rows ldb apart.
template <class B>
static void pack_panel_transposed(const B* b, int64_t ldb, int64_t k, int64_t cols, float* panel) {
  for (int64_t j = 0; j < panel_columns; j += width) {
    for (int64_t i = 0; i < k; i += width) {
      const int64_t lanes = k - i < width ? k - i : width;
      F block[width];
#pragma GCC unroll 16
      for (int r = 0; r < width; ++r) block[r] = j + r < cols ? load_lanes(b + (j + r) * ldb + i, lanes) : F{};
      transpose(block);
      float* to = panel + i * panel_columns + j;
#pragma GCC unroll 16
      for (int r = 0; r < width; ++r) {
        if (r < lanes) store(to + r * panel_columns, block[r]);
      }
    }
  }
}

}  // namespace nonet::NONET_NS
