// Dropout (Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", 2014) and alpha
// dropout (Klambauer et al., "Self-normalizing neural networks", 2017).
//
//   y_i = a x_i + b where unit i / inner survives, else c          dx_i = a dy_i where it survives, else 0
//
// A unit is one element, or with inner > 1 a whole channel of inner elements. Unit u survives if the 24 high bits of
// its random word are at least p 2^24 (array/generator.h), so the mask is not stored: the backward pass draws it again
// from the same key, by calling this with dy, b = 0 and c = 0. Plain dropout: a = 1 / (1 - p), b = c = 0. What is
// dropped never reaches y, not even NaN.
//
// float32 and bfloat16. An nhwc array keeps its format; units are counted in storage order.
#pragma once

#include "base/kernel.h"

namespace nonet {

class Array;

struct Affine {
  float a, b, c;
};

struct DropoutKernels {
  // x, y: [units, inner]; y may be x.
  void (*apply)(PhiloxKey key, float p, Affine affine, const float* x, float* y, int64_t units, int64_t inner);
  void (*apply_bfloat16)(PhiloxKey key, float p, Affine affine, const bfloat16* x, bfloat16* y, int64_t units,
                         int64_t inner);
};
NONET_KERNELS(DropoutKernels, dropout_kernels);

struct DropoutDevice {
  static constexpr const char* name = "dropout";

  // x, y: [units, inner], float32 or bfloat16; y may be x.
  void (*apply)(Stream, PhiloxKey key, float p, Affine affine, DType dtype, const void* x, void* y, int64_t units,
                int64_t inner);
};

// units: x.numel(), or a divisor of it: so many groups of neighbours (then an nhwc array is converted).
// Errors: TypeError unless x is floating.
Array dropout(const Array& x, PhiloxKey key, float p, Affine affine, int64_t units);
// The same mask on dy, in the format of the forward pass's output.
Array dropout_backward(const Array& dy, PhiloxKey key, float p, float a, int64_t units, bool nhwc);

}  // namespace nonet
