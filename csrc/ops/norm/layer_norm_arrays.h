// The ops on arrays; the contract is in layer_norm.h.
#pragma once

#include "array/array.h"
#include "ops/norm/layer_norm.h"

namespace nonet {

struct LayerNormOutput {
  Array y;
  Array mean;  // undefined for RMS
  Array rstd;
  Array sum;  // of x and the residual; undefined without one
};
// Undefined where not wanted. dx has x's dtype, the others are float32.
struct LayerNormGradients {
  Array dx, dgamma, dbeta;
};

// shape: the last axes of x, which are normalised together. gamma and beta: undefined, or of that shape. residual:
// undefined, or of x's shape, dtype and device. Errors: TypeError unless all are floating, ValueError for a shape.
LayerNormOutput layer_norm_forward(const Array& x, const Array& residual, const Shape& shape, const Array& gamma,
                                   const Array& beta, float eps, bool centred);
// x: what was normalised; dsum: undefined, or what is added to dx.
LayerNormGradients layer_norm_backward(const Array& dy, const Array& x, const Array& dsum, const Shape& shape,
                                       const Array& gamma, const Array& mean, const Array& rstd, bool want_x,
                                       bool want_gamma, bool want_beta);

}  // namespace nonet
