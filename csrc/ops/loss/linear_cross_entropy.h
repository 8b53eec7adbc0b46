// Cross-entropy of logits that are a linear map of the input, without the logits ever standing in memory.
//
//   z[n, c, k] = sum_f x[n, f] w[c, k, f] + b[c, k],   loss = cross_entropy(z, target)
//
// x: [N, F] or [F]; w: [C, k…, F]; b: [C, k…]; target as for logits of shape [N, C, k…] or [C]. Rows of x are taken in
// chunks: logits, loss and the gradient of the logits of one chunk, which goes at once into dx, dw and db. So the extra
// memory is that of one chunk (Wijmans et al., Cut your losses in large-vocabulary language models, 2025, go further
// and keep it on chip). For mean and sum the forward pass computes the gradients for an incoming gradient of 1 and
// these are saved; for none the backward pass computes the logits anew and x, w, b are saved. Operands are float32 or
// bfloat16, products of the given precision, logits and losses float32 inside. On a device the products are those of
// arrays (matmul.h), and no class is checked (cross_entropy.h).
#pragma once

#include "array/array.h"
#include "ops/loss/reduction.h"
#include "ops/matmul/matmul.h"

namespace nonet {

struct LinearCrossEntropy {
  const Array* class_weight = nullptr;
  int64_t ignore = -100;
  double smoothing = 0;
  Reduction reduction = Reduction::mean;
  int64_t chunk = 0;  // rows of x at a time, 0: chosen by the shapes
  Numerics numerics;  // mixed: x, w and b may be of different floating dtypes, and the loss is float32
};

struct LinearWants {
  bool x = false;
  bool weight = false;
  bool bias = false;
  bool target = false;
  bool any() const { return x || weight || bias || target; }
};

struct LinearGradients {
  Array loss;
  Array x, weight, bias, target;  // undefined where not wanted
};

// bias: undefined if absent. Errors: TypeError for dtypes, ValueError for shapes, IndexError for a class out of range.
LinearGradients linear_cross_entropy_forward(const LinearCrossEntropy& options, const Array& x, const Array& weight,
                                             const Array& target, const Array& bias, const LinearWants& wants);
// For reduction none; loss is undefined.
LinearGradients linear_cross_entropy_backward(const LinearCrossEntropy& options, const Array& dloss, const Array& x,
                                              const Array& weight, const Array& target, const Array& bias,
                                              const LinearWants& wants);

}  // namespace nonet
