// What the losses share above the kernels: results, checks, class weights and indices, reductions.
#pragma once

#include <string_view>

#include "array/array.h"
#include "ops/loss/cross_entropy.h"
#include "ops/loss/pair.h"

namespace nonet {

// "none", "mean", "sum". Errors: ValueError naming op.
Reduction reduction_from_name(std::string_view name, const char* op);

struct ClassLoss {
  Array loss;
  Array dx;       // undefined unless wanted
  Array dtarget;  // likewise
};

// A cross-entropy with its arguments checked: what does not depend on which rows are computed.
struct CrossEntropyTask {
  Array target;  // int64 indices or float32 probabilities
  Array weight;  // float32 [C] or undefined
  bool probabilities = false;
  int64_t ignore = 0;
  double smoothing = 0;
  double divisor = 1;    // of the mean
  Array device_divisor;  // where it depends on values that are on a device: one float64 there
};

// Errors: as of cross_entropy_forward.
CrossEntropyTask cross_entropy_task(const Shape& logits, const Array& target, const Array* weight, int64_t ignore,
                                    double smoothing, Reduction reduction);
// The losses per position, and the gradients for an incoming gradient of 1, of some rows of logits (float32) and the
// same rows of the task's target. partial: known for [N, C] and class indices only; dx then overwrites the logits. On a
// device logits may be bfloat16, and dx overwrites them if `in_place`.
ClassLoss cross_entropy_losses(const CrossEntropyTask& task, const Array& logits, const Array& target, bool want_dx,
                               bool want_dtarget, const PartialSoftmax& partial = {}, bool in_place = false);

struct PairArrays {
  Array x;
  Array y;
  Array a;
};

// The class axis is 1, or 0 of a single position.
inline int class_axis_of(const Shape& x) {
  return x.rank() == 1 ? 0 : 1;
}
// Errors: ValueError for rank 0.
ClassAxis class_axis(const Shape& x, const char* op);
// The shape of x without its class axis.
Shape position_shape(const Shape& x);

// Class weights as float32 [C]; undefined if absent. Errors: ValueError for the shape, TypeError for the dtype.
Array class_weights(const Array* weight, int64_t classes, const char* op);

// Class indices as int64, checked. Errors: TypeError, ValueError for the shape, on the CPU IndexError naming the value.
Array class_indices(const Array& target, const Shape& x, int64_t ignore, const char* op);
// Sum of the weights (undefined: ones) of the positions that are not ignored.
double target_weight(const Array& target, const Array& weight, int64_t ignore);
// The same on a device: one float64 there.
Array device_target_weight(const Array& target, const Array& weight, int64_t ignore, int64_t classes, const char* op);

// Scratch for sums of n numbers on a device.
Array loss_parts(int64_t n, Device device);
// A sum in double over fixed blocks, so that it does not depend on the number of threads.
double total(const float* values, int64_t n);
// Losses per position -> [] or the positions' shape, in the wanted dtype.
Array reduce_losses(const Array& losses, Reduction reduction, double divisor, DType dtype);
// On a device; the divisor is multiplied by one float64 there, unless that is undefined.
Array device_reduce_losses(const Array& losses, Reduction reduction, double divisor, const Array& device_divisor,
                           DType dtype, const char* op);

}  // namespace nonet
