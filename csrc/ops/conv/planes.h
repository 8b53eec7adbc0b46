// Convolution, ReLU and max-pooling over windows of 2 x 2 of plain images, for few output channels: vectors hold
// neighbouring pooled pixels instead of channels, which would fill a part of one. The four results that a pooled pixel
// is the maximum of are sums of their own in registers, and nothing but the maximum and its place is stored.
//
//   Y[n, y, x, o] = f(b[o] + max over dy, dx < 2 of sum_{c, i, j} W[o, c, i, j] X[n, c, 2 y + dy + i - top, 2 x + dx +
//   j - left])
#pragma once

#include "base/kernel.h"

namespace nonet {

struct Planes {
  int64_t images, channels, height, width;  // X, plain
  const float* x;
  int64_t top, left;  // rows and columns of zeros ahead of it
  int64_t kernel[2];
  int64_t out;
  const float* weights;  // [out, channels, kh, kw]
  const float* bias;     // [out] or null
  bool relu;
  int64_t rows, cols;  // of Y
  int64_t full_cols;   // of the image that is pooled: index = row * full_cols + column
  float* y;            // [images, rows, cols, out]
  int32_t* index;      // like y, or null
};

struct PlanesKernels {
  void (*forward)(const Planes& p);
};
NONET_KERNELS(PlanesKernels, planes_kernels);

}  // namespace nonet
