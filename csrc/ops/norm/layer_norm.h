// Layer normalisation (Ba, Kiros & Hinton, "Layer normalization", 2016) and its form without a mean (Zhang & Sennrich,
// "Root mean square layer normalization", 2019).
//
// x: N rows of C numbers; gamma, beta: [C], each may be absent.
//
//   centred:  m = mean(x), r = 1 / sqrt(mean((x - m)^2) + eps), h = (x - m) r, y = h gamma + beta
//   RMS:      m = 0,       r = 1 / sqrt(mean(x^2) + eps),       h = x r,       y = h gamma
//
//   g = dy gamma,  dx = r (g - [mean(g)] - h mean(g h)), the bracket only if centred
//   dgamma = sum over rows of dy h,  dbeta = sum over rows of dy
//
// float32 or bfloat16 in memory, float32 arithmetic. Saved for the backward pass: x, m, r. dgamma and dbeta are summed
// within blocks of layer_norm_block rows and then by the tree of reduce.h, whatever the number of threads.
//
// With a residual x is the sum of two arrays, which is a result too: its own gradient is added to dx.
#pragma once

#include "base/kernel.h"

namespace nonet {

constexpr int64_t layer_norm_block = 64;  // rows

struct LayerNormKernels {
  // y, x: [rows, n] of the dtype (y may be x); gamma, beta: [n] or null; mean (null: RMS), rstd: [rows]. residual: like
  // x, or null; with it sum = x + residual, which is what is normalised.
  void (*forward)(DType dtype, const void* x, const void* residual, void* sum, const float* gamma, const float* beta,
                  void* y, float* mean, float* rstd, int64_t rows, int64_t n, float eps);
  // dx: [rows, n], may be dy; dsum: what is added to it, or null; dgamma, dbeta: [ceil(rows / layer_norm_block), n],
  // one partial sum per block. Each may be null if it is not wanted; mean is null for RMS.
  void (*backward)(DType dtype, const void* dy, const void* x, const void* dsum, const float* gamma, const float* mean,
                   const float* rstd, void* dx, float* dgamma, float* dbeta, int64_t rows, int64_t n);
};
NONET_KERNELS(LayerNormKernels, layer_norm_kernels);

struct ReducePlan;  // ops/reduce/reduce.h

// On a device. x, y, dy, dx: float32 or bfloat16, [rows, n]; the others float32. gamma and beta may be null, and so may
// mean, for RMS. plan: of the rows (outer rows, n, inner 1); scratch: slice_scratch() of it (ops/reduce/device.h).
struct LayerNormDevice {
  static constexpr const char* name = "layer_norm";

  // Rows of up to this many elements are held in registers: forwards, and backwards.
  static constexpr int64_t registers = 16384;
  static constexpr int64_t registers_backward = 4096;
  // Backwards these are dealt out to so many blocks, or less: three for each multiprocessor of a large GPU.
  static constexpr int64_t blocks = 396;

  // y may be x.
  void (*forward)(Stream, DType dtype, const void* x, const float* gamma, const float* beta, void* y, float* mean,
                  float* rstd, float eps, const ReducePlan& plan, void* scratch);
  // n <= registers_backward: dx, and per block its sums of dgamma (parts[b, 0]) and dbeta (parts[b, 1]), parts [blocks,
  // 2, n]. Either may be null.
  void (*backward)(Stream, DType dtype, const void* dy, const void* x, const float* gamma, const float* mean,
                   const float* rstd, void* dx, float* parts, int64_t rows, int64_t n);
  // Longer rows: dx, and sums [2, n] of dgamma and dbeta; column_plan: of outer 1, rows, inner n, with its parts.
  void (*backward_input)(Stream, DType dtype, const void* dy, const void* x, const float* gamma, const float* mean,
                         const float* rstd, void* dx, const ReducePlan& plan, void* scratch);
  void (*backward_parameters)(Stream, DType dtype, const void* dy, const void* x, const float* mean, const float* rstd,
                              float* sums, const ReducePlan& column_plan, void* parts);
};

}  // namespace nonet
