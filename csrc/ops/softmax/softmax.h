// Softmax and log-softmax over one axis.
//
//   softmax      y_i = exp(x_i - m) / sum_j exp(x_j - m),   m = max_j x_j      dx_i = y_i (dy_i - sum_j dy_j y_j)
//   log-softmax  y_i = x_i - m - log sum_j exp(x_j - m)                        dx_i = dy_i - exp(y_i) sum_j dy_j
//
// x, y, dy, dx: [outer, n, inner] with the axis in the middle; float32 or bfloat16, arithmetic in float32. A slice that
// is -inf throughout gives NaN, as in the definition (attention has its own rule). Saved for the backward pass: y.
#pragma once

#include "base/kernel.h"

namespace nonet {

class Array;
struct ReducePlan;  // ops/reduce/reduce.h

// Rows of n floats, contiguous. y may be x; dx may be dy.
struct SoftmaxKernels {
  void (*forward)(const float* x, float* y, int64_t rows, int64_t n, bool log);
  void (*backward)(const float* dy, const float* y, float* dx, int64_t rows, int64_t n, bool log);
};
NONET_KERNELS(SoftmaxKernels, softmax_kernels);

// On a device: slices in the middle of [outer, n, inner], float32 or bfloat16 throughout.
struct SoftmaxDevice {
  static constexpr const char* name = "softmax";

  // Rows of up to this many elements are held in registers.
  static constexpr int64_t registers = 16384;

  // y may be x; dx may be dy. plan: one of which columns_fit(); scratch: slice_scratch() of rows (ops/reduce/device.h).
  void (*forward)(Stream, DType dtype, const void* x, void* y, bool log, const ReducePlan& plan, void* scratch);
  void (*backward)(Stream, DType dtype, const void* dy, const void* y, void* dx, bool log, const ReducePlan& plan,
                   void* scratch);
};

// Errors: TypeError unless x is floating, IndexError for the axis.
Array softmax_forward(const Array& x, int64_t axis, bool log);
Array softmax_backward(const Array& dy, const Array& y, int64_t axis, bool log);

}  // namespace nonet
