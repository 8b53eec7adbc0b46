// What a product does to rows of C that are complete and still in L1: bias and activation. *.simd.cpp only.
#pragma once

#include "ops/matmul/matmul.h"
#include "simd/math.h"

namespace nonet::NONET_NS {

NONET_INLINE F relu(F z) {
  return z < 0.f ? F{} : z;  // NaN stays
}
NONET_INLINE F gelu(F z) {
  return 0.5f * z * (1.f + erf(z * 0.707106781f));
}
NONET_INLINE F gelu_tanh_argument(F z) {
  return 0.797884561f * fma(z * z * z, broadcast(0.044715f), z);
}
NONET_INLINE F gelu_tanh(F z) {
  return 0.5f * z * (1.f + tanh(gelu_tanh_argument(z)));
}

template <class Function>
NONET_INLINE void finish_rows(float* c, int64_t ldc, int64_t rows, int64_t cols, const float* bias, float* before,
                              const Function& function) {
  for (int64_t r = 0; r < rows; ++r, c += ldc) {
    for_vectors(cols, [&](int64_t i, int64_t lanes) {
      F z = load_lanes(c + i, lanes);
      if (bias != nullptr) z += load_lanes(bias + i, lanes);
      if (before != nullptr) store_lanes(before + r * ldc + i, z, lanes);
      store_lanes(c + i, function(z), lanes);
    });
  }
}

// One entry of a batch.
struct Entry {
  const float* a;
  const float* b;
  float* c;
};
static inline Entry entry_of(const Gemm& g, int64_t i) {
  if (g.offsets == nullptr) return {g.a, g.b, g.c};
  const int64_t* o = g.offsets + 3 * i;
  return {g.a + o[0], g.b + o[1], g.c + o[2]};
}

// C = f(C + bias, if given) on [rows, cols]; before (like C, or null) receives C + bias.
static inline void finish(float* c, int64_t ldc, int64_t rows, int64_t cols, const float* bias,
                          FusedActivation activation, float* before) {
  if (bias == nullptr && before == nullptr && ldc == cols) {  // one long row
    cols *= rows;
    rows = 1;
  }
  switch (activation) {
    case FusedActivation::none:
      if (bias == nullptr && before == nullptr) return;
      return finish_rows(c, ldc, rows, cols, bias, before, [](F z) { return z; });
    case FusedActivation::relu:
      return finish_rows(c, ldc, rows, cols, bias, before, [](F z) { return relu(z); });
    case FusedActivation::tanh:
      return finish_rows(c, ldc, rows, cols, bias, before, [](F z) { return tanh(z); });
    case FusedActivation::sigmoid:
      return finish_rows(c, ldc, rows, cols, bias, before, [](F z) { return sigmoid(z); });
    case FusedActivation::gelu:
      return finish_rows(c, ldc, rows, cols, bias, before, [](F z) { return gelu(z); });
    case FusedActivation::gelu_tanh:
      return finish_rows(c, ldc, rows, cols, bias, before, [](F z) { return gelu_tanh(z); });
  }
}
// The epilogue of g on rows of C that are complete; bias: where the product has not added it.
static inline void finish(const Gemm& g, float* c, int64_t rows, int64_t cols, const float* bias = nullptr) {
  finish(c, g.n, rows, cols, bias, g.activation, g.before == nullptr ? nullptr : g.before + (c - g.c));
}

}  // namespace nonet::NONET_NS
