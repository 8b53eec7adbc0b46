// Where the sums of a task gather on their way to C. *.simd.cpp only.
#pragma once

#include "ops/matmul/brgemm.h"
#include "ops/matmul/epilogue.h"
#include "ops/matmul/matmul.h"

namespace nonet::NONET_NS {

namespace {

constexpr int64_t block_flops = 400'000;  // less is not worth a second thread

// The memory of a task in which the sums of a bfloat16 C gather, of so many floats; C itself needs none.
int64_t sums_floats(const Gemm& g, int64_t rows, int64_t cols) {
  return g.c_is_bfloat16 ? rows * divide_up(cols, panel_columns) * panel_columns : 0;
}
Sums sums_of(const Gemm& g, const Entry& e, const Region& r, float* memory) {
  return g.c_is_bfloat16 ? Sums{memory, divide_up(r.cols, panel_columns) * panel_columns} : sums_in_c(g, e, r);
}
Sums task_sums(const Gemm& g, const Entry& e, const Region& r) {
  const int64_t floats = sums_floats(g, r.rows, r.cols);
  return sums_of(g, e, r, floats == 0 ? nullptr : (float*)thread_scratch(floats * (int64_t)sizeof(float)));
}

}  // namespace

}  // namespace nonet::NONET_NS
