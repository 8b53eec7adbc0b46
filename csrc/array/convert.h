// The kernels of arrays themselves: conversions, constants, copies.
#pragma once

#include "base/kernel.h"

namespace nonet {

// On the CPU only float32 -> bfloat16, the conversion that networks spend time in.
struct ConvertKernels {
  // n elements, rounded to nearest even; NaN stays NaN.
  void (*to_bfloat16)(const float* x, bfloat16* y, int64_t n);
};
NONET_KERNELS(ConvertKernels, convert_kernels);

// The axes of a copy between elements at regular distances, outer to inner, strides in elements.
struct CopyAxis {
  int64_t n;
  int64_t from;
  int64_t to;
};
struct CopyAxes {
  CopyAxis axes[8];
  int rank;  // >= 1
};

struct ConvertDevice {
  static constexpr const char* name = "convert";

  // y_i = x_i in another dtype, as Array::to describes it.
  void (*convert)(Stream, const void* x, DType from, void* y, DType to, int64_t n);
  // n elements of `size` bytes (1, 2, 4, 8), each the lowest bytes of `bits`.
  void (*fill)(Stream, void* y, int size, uint64_t bits, int64_t n);
  // Elements of `size` bytes.
  void (*copy)(Stream, const void* from, void* to, int size, const CopyAxes& axes);
};

}  // namespace nonet
