// Patches of images side by side (im2col), and their sum back into images (col2im):
//
//   unfold  y[n, (c, i, j), (p, q)] = x[n, c, p sh + i dh - ph, q sw + j dw - pw], 0 outside the image
//   fold    x[n, c, y, x] = the sum of all y[n, (c, i, j), (p, q)] that unfold takes from there, in the order of (i, j)
//
// x [N, C, H, W], y [N, C kh kw, OH OW]; kernel (kh, kw), stride s, dilation d, padding p, OH = (H + 2 ph - dh (kh - 1)
// - 1) / sh + 1, likewise OW. Each is the other's gradient. float32 or bfloat16, sums in float32. Plain arrays.
#pragma once

#include "base/kernel.h"

namespace nonet {

class Array;
class Shape;

struct FoldShape {
  int64_t planes;  // N C
  int64_t h, w;
  int64_t kh, kw;
  int64_t oh, ow;
  int64_t stride[2], padding[2], dilation[2];  // height, width
};

struct FoldKernels {
  void (*unfold)(const float* x, float* y, const FoldShape& s);
  void (*fold)(const float* y, float* x, const FoldShape& s);
};
NONET_KERNELS(FoldKernels, fold_kernels);

struct FoldDevice {
  static constexpr const char* name = "fold";

  void (*unfold)(Stream, DType dtype, const void* x, void* y, const FoldShape& s);
  void (*fold)(Stream, DType dtype, const void* y, void* x, const FoldShape& s);
};

// Pairs are (height, width).
struct FoldOptions {
  int64_t kernel[2], stride[2], padding[2], dilation[2];
};

// x: [N, C, H, W] or [C, H, W]. Errors: ValueError for shapes and sizes, TypeError for the dtype.
Array unfold(const Array& x, const FoldOptions& options);
// y: [N, C kh kw, L] or that without N; size: (H, W).
Array fold(const Array& y, int64_t height, int64_t width, const FoldOptions& options);

}  // namespace nonet
