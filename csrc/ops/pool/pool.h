// Max and average pooling over one or two axes.
//
//   max    y[o] = max over the window of o; its index is the first maximum in row-major order (of several NaN the last)
//   avg    y[o] = sum over the window of o / count(o)
//
// The window of output o holds i = o * stride - padding + k * dilation for 0 <= k < kernel, as far as 0 <= i < n; in
// adaptive pooling floor(o n / m) <= i < ceil((o + 1) n / m) for m outputs. count(o) is the number of elements, with
// count_include_pad that of the unclipped window as far as it lies within the padding, or a divisor given.
//
//   unpool y[index[o]] = x[o], the last o in row-major order where several have one index; 0 where none has
//
// x: [N, C, H, W], [C, H, W] or with L in place of H, W; float32 or bfloat16, arithmetic in float32; nhwc images stay
// nhwc. Saved: max: the flat index in H * W (int32) per output; avg: nothing. Gradients of overlapping windows are
// added in the order of the outputs; a plane, or some channels of an nhwc image, belongs to one thread.
#pragma once

#include "base/kernel.h"

namespace nonet {

// Where the window of one output begins and ends (inside the input), and how many elements it counts.
struct PoolWindow {
  int64_t begin;
  int64_t end;
  float count;
};

struct PoolGeometry {
  int64_t h, w;               // input
  int64_t out_h, out_w;       // output
  const PoolWindow* rows;     // [out_h]
  const PoolWindow* columns;  // [out_w]
  int64_t step_h, step_w;     // dilation
  // Columns of a regular window, for the plain max kernel.
  int64_t kernel_w, stride_w, padding_w;
};

// plain: x [planes, h, w], y and index [planes, out_h, out_w]. nhwc: x [images, h, w, c], y and index likewise; they
// work on channels [begin, end). index may be null. All run in the calling thread.
struct PoolKernels {
  // scratch: max_scratch(geometry) floats.
  void (*max_plain)(const float* x, float* y, int32_t* index, int64_t planes, const PoolGeometry& g, float* scratch);
  void (*max_nhwc)(const float* x, float* y, int32_t* index, int64_t c, const PoolGeometry& g, int64_t row);
  // scratch: w floats.
  void (*avg_plain)(const float* x, float* y, int64_t planes, const PoolGeometry& g, float* scratch);
  void (*avg_plain_backward)(const float* dy, float* dx, int64_t planes, const PoolGeometry& g, float* scratch);
  void (*avg_nhwc)(const float* x, float* y, int64_t c, const PoolGeometry& g, int64_t row);
  // One image each; dx is overwritten.
  void (*max_nhwc_backward)(const float* dy, const int32_t* index, float* dx, int64_t c, int64_t begin, int64_t end,
                            const PoolGeometry& g);
  void (*avg_nhwc_backward)(const float* dy, float* dx, int64_t c, int64_t begin, int64_t end, const PoolGeometry& g);
};
NONET_KERNELS(PoolKernels, pool_kernels);

// A pooled axis of n inputs and m outputs.
struct PoolAxis {
  int64_t n, m;
  int64_t kernel, stride, padding, dilation;
  bool adaptive;
  bool include_pad;
  float divisor;  // of the sum, 0: the count
};

// Images stored as [outer, rows, columns, inner]: plain ones have outer = N C and inner = 1, nhwc ones N and C.
struct PoolImages {
  int64_t outer, inner;
  PoolAxis rows, columns;
};

// float32 or bfloat16. Gradients are gathered: every input adds what its outputs hand it, in their order. Neither side
// has `limit` elements or more in one of the outer images.
struct PoolDevice {
  static constexpr const char* name = "pool";
  static constexpr int64_t limit = int64_t{1} << 30;

  // index [outer, out rows, out columns, inner]: the flat position in rows * columns; may be null.
  void (*max)(Stream, DType dtype, const void* x, void* y, int32_t* index, const PoolImages& images);
  void (*max_backward)(Stream, DType dtype, const void* dy, const int32_t* index, void* dx, const PoolImages& images);
  void (*average)(Stream, DType dtype, const void* x, void* y, const PoolImages& images);
  void (*average_backward)(Stream, DType dtype, const void* dy, void* dx, const PoolImages& images);
};

// x and index [outer, from, inner] into y [outer, to, inner].
struct UnpoolSizes {
  int64_t outer, inner;
  int64_t from, to;
};

struct UnpoolDevice {
  static constexpr const char* name = "unpool";

  // An index outside [0, to) is ignored. winners: [outer, to, inner] of scratch.
  void (*forward)(Stream, DType dtype, const void* x, const int64_t* index, void* y, int32_t* winners,
                  const UnpoolSizes& sizes);
  void (*backward)(Stream, DType dtype, const void* dy, const int64_t* index, void* dx, const UnpoolSizes& sizes);
};

}  // namespace nonet
