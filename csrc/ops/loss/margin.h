// Hinge losses over a class axis.
//
//   multi_margin             loss = w_t / C sum_{c != t} max(0, margin - x_t + x_c)^p,   p = 1 or 2     Crammer &
//   Singer, 2001 multilabel_margin        loss = 1 / C sum_{j in T} sum_{i not in T} max(0, 1 - x_j + x_i)
//
// x: [N, C] or [C], float32 or bfloat16, arithmetic in float32. t: class indices [N] or []. T: the classes before the
// first -1 of a row of targets, [N, C] or [C]. A hinge at 0 has slope 0. As with cross_entropy, the forward pass
// computes the gradient for an incoming gradient of 1, which is all that is saved; class_loss_backward scales it.
#pragma once

#include "base/kernel.h"
#include "ops/loss/reduction.h"

namespace nonet {

class Array;
struct ClassLoss;

struct MarginTerms {
  const float* weight;  // [C] or null
  float margin;
  int p;
  float scale;  // factor of the gradient, not of the loss
};

// loss: [rows]; dx: [rows, n] or null.
struct MarginLossKernels {
  void (*multi_margin)(const float* x, const int64_t* target, const MarginTerms& terms, float* loss, float* dx,
                       int64_t rows, int64_t n);
  // inside: [rows, n], overwritten with 1 for the classes of a row's targets, else 0.
  void (*multilabel_margin)(const float* x, const int64_t* target, float scale, float* inside, float* loss, float* dx,
                            int64_t rows, int64_t n);
};
NONET_KERNELS(MarginLossKernels, margin_loss_kernels);

struct ReducePlan;  // ops/reduce/reduce.h

// On a device. x and dx: float32 or bfloat16, dx may be null. A row with a class out of range has a loss and gradients
// of NaN.
struct MarginLossDevice {
  static constexpr const char* name = "margin_loss";

  // plan: of the rows; scratch: slice_scratch() of it with no registers (ops/reduce/device.h).
  void (*multi_margin)(Stream, DType dtype, const void* x, const int64_t* target, const float* weight, float margin,
                       int p, float scale, float* loss, void* dx, const ReducePlan& plan, void* scratch);
  // inside: scratch of a byte per element of x.
  void (*multilabel_margin)(Stream, DType dtype, const void* x, const int64_t* target, float scale, uint8_t* inside,
                            float* loss, void* dx, int64_t rows, int64_t n);
};

// Errors: TypeError for dtypes, ValueError for shapes and p, on the CPU IndexError for a class out of range.
ClassLoss multi_margin_forward(const Array& x, const Array& target, int64_t p, double margin, const Array* weight,
                               Reduction reduction, bool want_dx);
ClassLoss multilabel_margin_forward(const Array& x, const Array& target, Reduction reduction, bool want_dx);

}  // namespace nonet
