// What the two halves of the CPU's side share: arrays read by pixels (pixel_norm.cpp) or by slices (channel_norm.cpp).
#pragma once

#include "ops/norm/channel_norm_arrays.h"

namespace nonet {

// x as [N, C, S].
struct ImageSizes {
  int64_t n, c, s;
};
inline ImageSizes image_sizes(const Array& x) {
  return {x.dim(0), x.dim(1), x.shape().product(2, x.rank())};
}

inline float* floats(const Array& x) {
  return x.defined() ? x.data<float>() : nullptr;
}
inline void* address(const Array& x) {
  return x.defined() ? x.address() : nullptr;
}
inline Array as_float(const Array& x) {
  return x.defined() ? x.plain().to(DType::float32) : x;
}

// Arguments are checked; gamma and beta are float32, residual, dy and y of x's dtype and format, x is not empty.
struct NormForward {
  const ChannelNormInputs& in;
  const ChannelNormOptions& o;
  const Array& y;
  const Array& mean;  // mean and variance are inputs if they are given
  const Array& variance;
  const Array& rstd;
};
struct NormBackward {
  const ChannelNormInputs& in;
  const ChannelNormOptions& o;
  const Array& dy;
  const Array& y;
  const Array& mean;
  const Array& rstd;
  bool sums;  // are wanted, for whatever
};

// Whether x is read by pixels: channels side by side, or a batch of images so small that they serve as such.
bool reads_pixels(const Array& x, int64_t groups);
void pixels_forward(const NormForward& f);
// Writes out.dx and out.dresidual where they are defined, and makes the others.
void pixels_backward(const NormBackward& b, ChannelNormGradients& out);

}  // namespace nonet
