// Activations: unary maps, each one pass forward and one backward. Numbers a, b, c of each as listed.
//
//   relu         max(x, 0)                                                        Nair & Hinton 2010
//   leaky_relu   x > 0 ? x : a x                                                  Maas et al. 2013
//   elu          x > 0 ? b x : a b (e^(c x) - 1)                                  Clevert et al. 2016
//                elu: b = c = 1; celu (Barron 2017): a = 1/c, b = 1; selu (Klambauer et al. 2017): c = 1
//   gelu         x Phi(x), Phi the normal distribution                            Hendrycks & Gimpel 2016
//   gelu_tanh    x sigmoid(2 sqrt(2/pi) (x + 0.044715 x^3)), the same as x (1 + tanh(…)) / 2
//   silu         x sigmoid(x)                                                     Elfwing et al. 2018
//   mish         x tanh(log(1 + e^x))                                             Misra 2019
//   softplus     a x > b ? x : log(1 + e^(a x)) / a
//   softsign     x / (1 + |x|)
//   tanhshrink   x - tanh x
//   logsigmoid   -log(1 + e^-x)
//   hardtanh     x limited to [a, b]; flat at the limits
//   hardsigmoid  x / 6 + 1/2 limited to [0, 1]
//   hardswish    x hardsigmoid(x)                                                 Howard et al. 2019
//   hardshrink   |x| <= a ? 0 : x
//   softshrink   x moved by a towards 0, |x| <= a to 0
//   threshold    x > a ? x : b
//
// and two maps of a pair:
//
//   prelu        x > 0 ? x : w x, w one number or one per channel (axis 1)        He et al. 2015
//   glu          x sigmoid(z), x and z the halves of the input along an axis      Dauphin et al. 2017
//
// float32 or bfloat16, arithmetic in float32; NaN gives NaN; formats are kept (glu: plain). Saved for the backward
// pass: the output where the gradient is a function of it, else the input.
#pragma once

#include "ops/elementwise/elementwise.h"

namespace nonet {

enum class Activation : int {
  relu,         // saved: y
  leaky_relu,   // y if a >= 0, else x
  elu,          // y; wants a > 0
  gelu,         // x
  gelu_tanh,    // x
  silu,         // x
  mish,         // x
  softplus,     // x
  softsign,     // x
  tanhshrink,   // x
  logsigmoid,   // y
  hardtanh,     // y; x if bfloat16, where a rounded limit may lie inside
  hardsigmoid,  // y
  hardswish,    // x
  hardshrink,   // y
  softshrink,   // y
  threshold,    // x
  count
};

struct ActivationKernels {
  UnaryKernel op[static_cast<int>(Activation::count)];
};
NONET_KERNELS(ActivationKernels, activation_kernels);

// float32 and bfloat16; n elements each, outputs may be inputs.
struct ActivationDevice {
  static constexpr const char* name = "activation";

  void (*map)(Stream, Activation op, DType dtype, const void* x, void* y, int64_t n, MapNumbers numbers);
  void (*gradient)(Stream, Activation op, DType dtype, const void* dy, const void* s, void* dx, int64_t n,
                   MapNumbers numbers);
  // x, dx: rows of two halves of `half` elements each; y, dy: [outer, half].
  void (*glu)(Stream, DType dtype, const void* x, void* y, int64_t outer, int64_t half);
  void (*glu_gradient)(Stream, DType dtype, const void* dy, const void* x, void* dx, int64_t outer, int64_t half);
};

const char* name(Activation op);

// Errors: TypeError unless x is floating.
Array activation(Activation op, const Array& x, MapNumbers numbers = {});
Array activation_gradient(Activation op, const Array& dy, const Array& saved, MapNumbers numbers = {});

// x: [N, C, …] or any shape if w has one element; w: [1] or [C], or x's shape (a slope per element).
// Errors: TypeError unless floating, ValueError for another shape of w.
Array prelu(const Array& x, const Array& w);
Array prelu_input_gradient(const Array& dy, const Array& x, const Array& w);
Array prelu_weight_gradient(const Array& dy, const Array& x, const Array& w);

// x: [outer, 2n, inner] around axis -> [outer, n, inner]. Errors: ValueError for an odd size or rank 0.
Array glu(const Array& x, int64_t axis);
Array glu_gradient(const Array& dy, const Array& x, int64_t axis);

}  // namespace nonet
