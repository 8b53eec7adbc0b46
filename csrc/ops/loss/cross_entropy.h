// Softmax and cross-entropy in one: from logits x to the loss and its gradient.
//
//   lp_c = x_c - m - log sum_j exp(x_j - m),   m = max_j x_j
//   class index t     loss = (1 - s) w_t (-lp_t) + s / C sum_c w_c (-lp_c)
//   probabilities q   loss = sum_c w_c q'_c (-lp_c),   q' = (1 - s) q + s / C
//   gradient          dx_c = A p_c - b_c,   where loss = sum_c b_c (-lp_c), A = sum_c b_c and p = softmax(x)
//
// x: [N, C, d…] or [C], float32 or bfloat16, arithmetic in float32; s: label smoothing in [0, 1]; w: [C] or absent (1).
// target: class indices, integers [N, d…] or [], where positions equal to ignore_index give 0; or probabilities, of the
// shape of x. mean divides by the sum of w_t over the positions that are not ignored, for probabilities by their
// number; the mean of nothing is NaN. A term whose factor b_c is 0 is 0 even where lp_c is -inf.
//
// The forward pass already computes the gradient for an incoming gradient of 1 (that costs one more write, and x need
// not be kept); saved is that alone. Label smoothing: Szegedy et al., Rethinking the Inception Architecture for
// Computer Vision, 2016, section 7.
//
// nll_loss is the index form on log-probabilities: loss = -w_t x_t, dx_t = -w_t. Saved: target, weight.
#pragma once

#include "base/kernel.h"
#include "ops/loss/reduction.h"

namespace nonet {

class Array;
class Shape;
struct ClassLoss;
struct ReducePlan;  // ops/reduce/reduce.h

// Element c of position (o, i) lies at [(o * classes + c) * inner + i].
struct ClassAxis {
  int64_t outer;
  int64_t classes;
  int64_t inner;
};

struct ClassTerms {
  const float* weight;  // [C] or null
  float weight_sum;     // sum_c w_c
  float smoothing;
  float scale;  // factor of the gradients, not of the loss
};

// What the product that made the logits has found: of parts of each position's classes, the largest logit and the sum
// of exp(x - largest), [outer, parts] each (Milakov & Gimelshein, "Online normalizer calculation for softmax", 2018).
struct PartialSoftmax {
  const float* largest = nullptr;  // null: nothing is known
  const float* sum = nullptr;
  int64_t parts = 0;
};

// loss: [outer, inner]; dx, dq: like x, or null. All are overwritten.
struct CrossEntropyKernels {
  // Where partial is known (inner = 1), dx may be x.
  void (*index)(const float* x, const int64_t* target, int64_t ignore, const ClassTerms& terms,
                const PartialSoftmax& partial, float* loss, float* dx, const ClassAxis& axis);
  // inner = 1
  void (*probability)(const float* x, const float* target, const ClassTerms& terms, float* loss, float* dx, float* dq,
                      const ClassAxis& axis);
  // d[o, c, i] *= scale[o, i], or scale[0] throughout if uniform.
  void (*scale)(float* d, const float* scale, bool uniform, const ClassAxis& axis);
};
NONET_KERNELS(CrossEntropyKernels, cross_entropy_kernels);

// On a device. x and dx: float32 or bfloat16 (dx may be x or null); the rest float32 but for the targets. A class that
// is neither in [0, C) nor to be ignored gives a loss of NaN and gradients of NaN. weight: [C] or null; gradients are
// divided by *divisor (null: 1). plan: of [outer, classes, inner]; scratch: slice_scratch() of it
// (ops/reduce/device.h).
struct CrossEntropyDevice {
  static constexpr const char* name = "cross_entropy";

  // Rows of up to this many classes are held in registers: index, and probability.
  static constexpr int64_t registers = 16384;
  static constexpr int64_t registers_probability = 8192;

  // weight_sum: [1], or null for C.
  void (*index)(Stream, DType dtype, const void* x, const int64_t* target, int64_t ignore, const float* weight,
                const float* weight_sum, float smoothing, const double* divisor, float* loss, void* dx,
                const ReducePlan& plan, void* scratch);
  // x and dx: float32.
  void (*probability)(Stream, const float* x, const float* target, const float* weight, float smoothing, float scale,
                      float* loss, float* dx, float* dq, const ReducePlan& plan, void* scratch);
};

// The same for what needs no softmax.
struct ClassLossDevice {
  static constexpr const char* name = "class_loss";

  // d of `dtype` times scale, as above; where that is one number and 1, nothing is read or written.
  void (*scale)(Stream, DType dtype, void* d, const float* scale, bool uniform, ClassAxis axis);
  // dx is zero at first, dloss one number if `uniform`.
  void (*nll)(Stream, DType dtype, const void* x, const int64_t* target, int64_t ignore, const float* weight,
              float* loss, ClassAxis axis);
  void (*nll_gradient)(Stream, DType dtype, const float* dloss, bool uniform, const int64_t* target, int64_t ignore,
                       const float* weight, const double* divisor, void* dx, ClassAxis axis);
};

// The gradients are computed where they are wanted, in float32 or, on a device beside class indices, in x's dtype.
// Errors: TypeError for dtypes, ValueError for shapes, smoothing and an ignore_index beside probabilities, on the CPU
// IndexError for a class out of range.
ClassLoss cross_entropy_forward(const Array& x, const Array& target, const Array* weight, int64_t ignore,
                                double smoothing, Reduction reduction, bool want_dx, bool want_dtarget);
// d of the forward pass times the incoming gradient; overwrites d.
Array class_loss_backward(const Array& dy, const Array& d);

Array nll_loss_forward(const Array& x, const Array& target, const Array* weight, int64_t ignore, Reduction reduction);
Array nll_loss_backward(const Array& dy, const Shape& shape, const Array& target, const Array* weight, int64_t ignore,
                        Reduction reduction);

}  // namespace nonet
