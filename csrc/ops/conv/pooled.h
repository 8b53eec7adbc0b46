// A convolution and the max-pooling of its result as one op, which keeps the pooled image and where the maxima were,
// but no image of the size of the convolution's:
//
//   P = max over windows of f(conv(X)),  f: relu or nothing. Saved: X, W, P if f, indices as of max_pool.
//
// Shapes, dtypes, devices and errors are those of the two ops.
#pragma once

#include "array/array.h"
#include "ops/conv/conv.h"
#include "ops/pool/pooling.h"

namespace nonet {

struct PooledConv {
  ConvOptions conv;  // activation: none or relu
  PoolSpec pool;
  const char* pool_op;
};

Pooled pooled_conv_forward(const Array& x, const Array& weight, const Array& bias, const PooledConv& o,
                           bool keep_index);

// dy, y and index: like the pooled image; y may be undefined if there is no activation.
void pooled_conv_backward(const Array& dy, const Array& x, const Array& weight, const Array& y, const Array& index,
                          const PooledConv& o, const LayerGradients& out);

}  // namespace nonet
