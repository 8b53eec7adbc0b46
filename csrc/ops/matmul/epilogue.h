// What a product does to sums that are complete and still in cache: scale, bias, residual, activation, the form C is
// stored in, statistics of its rows. *.simd.cpp only.
#pragma once

#include "ops/matmul/brgemm.h"
#include "simd/math.h"
//
#include "ops/matmul/map_fused.h"

namespace nonet::NONET_NS {

// [rows, cols] of sums on their way to C, which they may lie in.
template <class T>
struct Finish {
  const float* sums;
  int64_t sums_row;  // distance of rows
  T* c;
  int64_t c_row;
  int64_t rows, cols;
  float scale = 1;
  const float* bias = nullptr;  // of these columns
  const T* residual = nullptr;  // rows like C's
  T* before = nullptr;          // the same
};

template <class T, class Function>
static void finish_rows(const Finish<T>& f, int64_t rows, int64_t cols, const Function& function) {
  for (int64_t r = 0; r < rows; ++r) {
    const float* sums = f.sums + r * f.sums_row;
    const int64_t at = r * f.c_row;
    for_vectors(cols, [&](int64_t i, int64_t lanes) {
      F z = load_lanes(sums + i, lanes) * f.scale;
      if (f.bias != nullptr) z += load_lanes(f.bias + i, lanes);
      if (f.residual != nullptr) z += load_lanes(f.residual + at + i, lanes);
      if (f.before != nullptr) store_lanes(f.before + at + i, z, lanes);
      store_lanes(f.c + at + i, function(z), lanes);
    });
  }
}

// f is never copied: a copy's vectors would wait for the stores of its members, and those for all stores before them,
// which are sums on their way to memory.
template <class T>
static void finish(const Finish<T>& f, FusedActivation activation) {
  const bool plain = f.scale == 1.f && f.bias == nullptr && f.residual == nullptr && f.before == nullptr;
  if (activation == FusedActivation::none && plain && (const void*)f.sums == (const void*)f.c) return;
  const bool one = plain && f.sums_row == f.cols && f.c_row == f.cols;  // one long row
  visit_fused(activation, [&](auto map) {
    finish_rows(f, one ? 1 : f.rows, one ? f.rows * f.cols : f.cols, [](F z) { return decltype(map)::forward(z); });
  });
}

// c = f(c + bias, if given) on [rows, cols].
static inline void finish_in_place(float* c, int64_t row, int64_t rows, int64_t cols, const float* bias,
                                   FusedActivation activation) {
  if (activation == FusedActivation::none && bias == nullptr) return;
  Finish<float> f{c, row, c, row, rows, cols};
  f.bias = bias;
  finish(f, activation);
}

// Of each row of C [rows, cols], whose 32 columns a panel is: the largest value, and the sum of exp(c - largest).
static inline void row_statistics(const float* c, int64_t c_row, int64_t rows, int64_t cols, float* row_max,
                                  float* row_sum, int64_t panels) {
  for (int64_t r = 0; r < rows; ++r, c += c_row, row_max += panels) {
    for (int64_t j = 0, panel = 0; j < cols; j += panel_columns, ++panel) {
      const int64_t n = minimum(panel_columns, cols - j);
      F most = broadcast(-__builtin_inff());
      for_vectors(n, [&](int64_t i, int64_t lanes) {
        most = maximum(keep_lanes(load_lanes(c + j + i, lanes), lanes, -__builtin_inff()), most);
      });
      row_max[panel] = maximum(most);
      if (row_sum == nullptr) continue;
      F sums{};
      for_vectors(n, [&](int64_t i, int64_t lanes) {
        sums += keep_lanes(exp(load_lanes(c + j + i, lanes) - row_max[panel]), lanes, 0.f);
      });
      row_sum[panel] = sum(sums);
    }
    if (row_sum != nullptr) row_sum += panels;
  }
}

// ---------------------------------------------------------------- the same, for a part of a Gemm
// One entry of a batch: elements from the beginning of a, b and c.
struct Entry {
  int64_t a, b, c;
};
static inline Entry entry_of(const Gemm& g, int64_t i) {
  if (g.offsets == nullptr) return {0, 0, 0};
  const int64_t* o = g.offsets + 3 * i;
  return {o[0], o[1], o[2]};
}

// A part of an entry's C.
struct Region {
  int64_t row, rows, column, cols;
};

// Where the sums of a region gather: in C itself, or in other memory if C is bfloat16.
struct Sums {
  float* data;
  int64_t row;  // distance of rows
};
NONET_INLINE Sums sums_in_c(const Gemm& g, const Entry& e, const Region& r) {
  return {(float*)g.c + e.c + r.row * g.n + r.column, g.n};
}

// What a product adds while it writes sums for the first time: the bias, unless the scale comes before it.
NONET_INLINE const float* early_bias(const Gemm& g, int64_t column) {
  return g.bias == nullptr || g.scale != 1.f ? nullptr : g.bias + column;
}

template <class T>
static void finish_as(const Gemm& g, const Entry& e, const Region& r, const Sums& sums, bool took_bias) {
  const int64_t at = e.c + r.row * g.n + r.column;
  Finish<T> f{sums.data, sums.row, (T*)g.c + at, g.n, r.rows, r.cols, g.scale};
  if (g.bias != nullptr && !(took_bias && g.scale == 1.f)) f.bias = g.bias + r.column;
  if (g.residual != nullptr) f.residual = (const T*)g.residual + at;
  if (g.before != nullptr) f.before = (T*)g.before + at;
  finish(f, g.activation);
}
// The end of a region; took_bias: the sums began with early_bias().
static inline void finish(const Gemm& g, const Entry& e, const Region& r, const Sums& sums, bool took_bias) {
  if (g.accumulate) return;
  if (g.c_is_bfloat16) return finish_as<bfloat16>(g, e, r, sums, took_bias);
  finish_as<float>(g, e, r, sums, took_bias);
  if (g.row_max == nullptr) return;
  const int64_t panels = divide_up(g.n, panel_columns);
  const int64_t at = r.row * panels + r.column / panel_columns;
  const float* c = (const float*)g.c + r.row * g.n + r.column;
  row_statistics(c, g.n, r.rows, r.cols, g.row_max + at, g.row_sum == nullptr ? nullptr : g.row_sum + at, panels);
}

}  // namespace nonet::NONET_NS
