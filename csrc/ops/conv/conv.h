// Convolution (cross-correlation) of images, and of sequences as images of height 1.
//
//   Y[n, o, y, x] = b[o] + sum_{c, i, j} W[o, c, i, j] X[n, g C/G + c, y sh + i dh - top, x sw + j dw - left]
//   dX is the same sum read backwards, dW[o, c, i, j] = sum_{n, y, x} dY X, db[o] = sum_{n, y, x} dY
//
// N batch, C and O channels in and out, G groups (g: the group of o), H x W image, i x j kernel positions; stride s,
// dilation d, zero padding on four sides. X [N, C, H, W], W [O, C/G, kh, kw], b [O], Y [N, O, OH, OW]; the batch axis
// may be absent, and so may H and kh (conv1d). float32, or bfloat16 by way of float32. Arrays of rank 4 are read plain
// or nhwc and written nhwc. Y = f(Y) for an activation f without saved input (relu, tanh, sigmoid). Saved: X, W, Y if
// f.
//
// The transposed convolution reads the same sum backwards, so that its forward pass is dX, and its dX the sum itself:
//
//   Y[n, o, y, x] = b[o] + sum W[c, o, i, j] X[n, c, u, v] over y = u sh + i dh - top, x = v sw + j dw - left
//
// with W [C, O/G, kh, kw] and OH = (H - 1) sh - top - bottom + dh (kh - 1) + output_padding + 1. One pixel without
// padding is a matrix product.
//
// Everything is the batch-reduce product of ops/matmul/brgemm.h over a list of kernel positions, with pixels as rows
// (Georganas et al., "Harnessing Deep Learning via a Single Building Block", IPDPS 2020): pixels of one row of a
// zero-padded nhwc image lie a fixed distance apart, so nothing is gathered. For dX with stride, the input pixels
// congruent modulo the stride form one such correlation each. dW takes pixels as the summed index. Results do not
// depend on the number of threads.
#pragma once

#include "ops/matmul/linear.h"

namespace nonet {

class Array;
class Shape;

// Where pixels of a batch lie: element (n, y, x, c) at data[n image + y row + x pixel + c].
template <class T>
struct Pixels {
  T* data;
  int64_t image, row, pixel;
};

// A kernel position: its input pixel for output pixel (0, 0), and its first row in the weights, which have one row of
// output channels per position and channel of a group.
struct Tap {
  int64_t y, x;
  int64_t weight;
};

// The pixels a correlation runs over. Steps are the distance in the input between neighbours of the output.
struct Grid {
  int64_t images, rows, cols;
  int64_t last_cols;  // of the very last row: a long list of pixels may be cut into rows
  int64_t step_y, step_x;
  int64_t groups;
  int64_t in, out;  // channels per group of the two images
};

// out(n, y, x, :) = f(bias + sum_taps in(n, y step_y + tap.y, x step_x + tap.x, :) W_tap)
struct Correlation {
  Grid grid;
  Pixels<const float> in;
  Pixels<float> out;
  const Tap* taps;
  int64_t tap_count;
  int64_t depth;         // floats per tap: channels of a group, or several pixels of all of them
  const float* weights;  // [groups][out / 32 rounded up][positions * in][32]; depthwise: [positions][channels]
  int64_t panel_floats;  // of one panel
  const float* bias;     // [groups out] or null
  FusedActivation activation;
};

// partial[slice][tap] (+)= sum over the pixels of a slice of in(…)^T out(…), [depth, out] per tap and group.
struct WeightGradient {
  Grid grid;
  Pixels<const float> in;
  Pixels<const float> out;  // dY; pixels may be read up to the next multiple of `width` channels
  const Tap* taps;
  int64_t tap_count;
  int64_t depth;
  float* partial;  // [slices][groups][positions * in][out]; depthwise: [slices][positions][channels]
  int64_t slices;
  int64_t floats;  // of one slice
  bool accumulate;
};

// The gradient of an image of few channels. dX as a correlation would leave most of a vector empty; here one product
// per row of dY and kernel row has columns (kernel column, channel) instead, which are then added where they belong.
struct Spread {
  int64_t images, rows, cols;  // of dY
  Pixels<const float> in;      // dY
  int64_t depth;               // its channels
  float* out;                  // dX [images, height, width, channels], channels <= spread_channels
  int64_t height, width, channels;
  int64_t kernel[2], stride[2], padding[2];
  int64_t dilation;      // of kernel rows
  const float* weights;  // [kernel row][kernel columns * channels / 32 rounded up][depth][32]
  const float* bias;     // [channels] or null
  FusedActivation activation;
};
inline constexpr int64_t spread_channels = 8;

struct ConvKernels {
  int64_t width;  // floats of a vector
  void (*correlate)(const Correlation& c);
  void (*correlate_depthwise)(const Correlation& c);
  void (*spread)(const Spread& s);
  void (*weight_gradient)(const WeightGradient& g);
  void (*weight_gradient_depthwise)(const WeightGradient& g);
  // Adds slices 1 … into slice 0 by a tree.
  void (*sum_slices)(float* partial, int64_t slices, int64_t floats);
};
NONET_KERNELS(ConvKernels, conv_kernels);

// The same on dot products of bfloat16 pairs (avx512_bf16): every float of image and weights holds two channels, and
// sizes count floats.
struct ConvPairKernels {
  void (*correlate)(const Correlation& c);
  // Rows of 32 columns, two by two: to [pairs][32].
  void (*pair_rows)(const float* rows, int64_t pairs, float* to);
};
#if defined(__x86_64__)
namespace avx512 {
extern const ConvPairKernels conv_pair_kernels;
}
#endif

// On a device the same sums are products whose operands are gathered while they are read, never stored: neither padded
// images nor kernel positions side by side. float32 or bfloat16, sums in float32. x: plain or nhwc; y, dy, dx: nhwc.
// Weights are float32, and bring the summed index to the front:
//   packed [groups][kh][kw][depth][columns], columns rounded up to a multiple of 4 by zeros.
struct ConvShape;  // tiles.h

struct ConvDevice {
  static constexpr const char* name = "conv";

  // depth in, columns out. bias [O], float32, may be null.
  void (*forward)(Stream, DType dtype, const void* x, bool nhwc, const float* packed, const float* bias,
                  FusedActivation activation, void* y, const ConvShape& shape);
  // depth out, columns in. bias [C] and activation: of a transposed convolution, whose forward pass this is.
  void (*backward_input)(Stream, DType dtype, const void* dy, const float* packed, const float* bias,
                         FusedActivation activation, void* dx, const ConvShape& shape);
};

struct ConvWeightDevice {
  static constexpr const char* name = "conv_weight";

  // partial [weight_slices()][O][kh][kw][in]: the sums over the pixels of a slice.
  void (*slices)(Stream, DType dtype, const void* dy, const void* x, bool nhwc, float* partial, const ConvShape& shape);
  // dweight [O][in][kh][kw] = the slices added in a fixed order; `dtype` is dweight's.
  void (*sum)(Stream, const float* partial, DType dtype, void* dweight, const ConvShape& shape);
};

// One channel in and out per group. All images are nhwc.
struct DepthwiseDevice {
  static constexpr const char* name = "conv_depthwise";

  // packed [kh][kw][C] in all three.
  void (*forward)(Stream, DType dtype, const void* x, const float* packed, const float* bias,
                  FusedActivation activation, void* y, const ConvShape& shape);
  void (*backward_input)(Stream, DType dtype, const void* dy, const float* packed, const float* bias,
                         FusedActivation activation, void* dx, const ConvShape& shape);
  // partial as above.
  void (*slices)(Stream, DType dtype, const void* dy, const void* x, float* partial, const ConvShape& shape);
};

// Pairs are (height, width); padding is top, bottom, left, right.
struct ConvOptions {
  int64_t stride[2] = {1, 1};
  int64_t padding[4] = {0, 0, 0, 0};
  int64_t dilation[2] = {1, 1};
  int64_t groups = 1;
  FusedActivation activation = FusedActivation::none;  // none, relu, tanh or sigmoid
  bool mixed = false;                                  // see Numerics
  const char* op = "conv2d";
  Precision precision = Precision::highest;
  // The form of the weights that a forward pass reads is kept for the next one: for inference, as training changes the
  // weights in between, and has better use for the memory.
  bool keeps_weights = false;
  int64_t output_padding[2] = {0, 0};  // of a transposed convolution: rows and columns more at the end
};

// Errors: TypeError for dtypes, ValueError for shapes and for a kernel larger than the padded input.
Array conv_forward(const Array& x, const Array& weight, const Array& bias, const ConvOptions& options);

void conv_backward(const Array& dy, const Array& x, const Array& weight, const Array& y, const ConvOptions& options,
                   const LayerGradients& out);

// The same errors, and ValueError for an output padding that is as large as stride and dilation.
Array conv_transpose_forward(const Array& x, const Array& weight, const Array& bias, const ConvOptions& options);
void conv_transpose_backward(const Array& dy, const Array& x, const Array& weight, const Array& y,
                             const ConvOptions& options, const LayerGradients& out);

}  // namespace nonet
