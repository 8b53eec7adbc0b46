// float32 -> bfloat16, the conversion that networks spend time in.
#pragma once

#include "base/kernel.h"

namespace nonet {

struct ConvertKernels {
  // n elements, rounded to nearest even; NaN stays NaN.
  void (*to_bfloat16)(const float* x, bfloat16* y, int64_t n);
};
NONET_KERNELS(ConvertKernels, convert_kernels);

}  // namespace nonet
