// Local response normalisation (Krizhevsky, Sutskever & Hinton, "ImageNet classification with deep convolutional neural
// networks", 2012): each value over a power of the squares around it, along the channels.
//
// x: [N, C, S] or, channels last, [N, S, C]; channels outside [0, C) count as 0.
//
//   d_c = k + alpha / size * sum of x_j^2 over c - size / 2 <= j <= c + (size - 1) / 2,   y_c = x_c d_c^-beta
//   dx_c = dy_c d_c^-beta - 2 alpha beta / size * x_c * sum of dy_j x_j d_j^(-beta - 1) over the j whose sums x_c is in
//
// float32 or bfloat16 in memory, float32 arithmetic. Saved: x.
#pragma once

#include "base/kernel.h"

namespace nonet {

struct ResponseNorm {
  int64_t outer, channels, inner;  // [outer, channels, inner] in memory: inner = 1 for channels last
  int64_t size;
  float alpha, beta, k;
};

struct ResponseNormKernels {
  void (*forward)(DType dtype, const void* x, void* y, const ResponseNorm& r);
  void (*backward)(DType dtype, const void* dy, const void* x, void* dx, const ResponseNorm& r);
};
NONET_KERNELS(ResponseNormKernels, response_norm_kernels);

// On a device. terms: scratch of float32, of x's shape.
struct ResponseNormDevice {
  static constexpr const char* name = "response_norm";

  void (*forward)(Stream, DType dtype, const void* x, void* y, const ResponseNorm& r);
  void (*backward)(Stream, DType dtype, const void* dy, const void* x, float* terms, void* dx, const ResponseNorm& r);
};

class Array;

// Errors: TypeError unless x is floating, ValueError unless it has at least three axes and size > 0.
Array response_norm_forward(const Array& x, int64_t size, float alpha, float beta, float k);
Array response_norm_backward(const Array& dy, const Array& x, int64_t size, float alpha, float beta, float k);

}  // namespace nonet
