// The three passes of a convolution on images [N, C, H, W], which the transposed convolution runs the other way round:
// its forward pass is the gradient of an input, and the gradient of its input a forward pass. For ordinary sources.
#pragma once

#include <vector>

#include "array/array.h"
#include "ops/conv/conv.h"
#include "ops/conv/layout.h"

namespace nonet {

// A sequence or an unbatched image as a batch of images, kernels of a sequence as those of images of height 1.
Array as_images(const Array& x, int rank, bool batched);
Array as_kernels(const Array& weight);
// [N, O, OH, OW] as the rank of the input x, which has `rank` axes of pixels.
Array like_input(const Array& y, const Array& x, int rank);

// The sizes of a convolution, everything checked; x may lack the batch axis. Errors: ValueError, TypeError for dtypes,
// RuntimeError for devices.
ConvSizes conv_sizes(const Array& x, const Array& weight, const Array& bias, const ConvOptions& o);
// Stride, dilation, padding, groups and activation. Errors: ValueError.
void check_options(const ConvOptions& options);
// Of input, weight and bias. Errors: TypeError for dtypes, RuntimeError for devices.
void check_dtypes(const Array& x, const Array& weight, const Array& bias, const ConvOptions& options);

// On the CPU, in float32; y, dx and dweight are written whole, the images nhwc, and are not empty. bias may be null.
// y = f(bias + conv(x))
void pass_forward(const Array& x, const Array& weight, const float* bias, const ConvSizes& s, const ConvOptions& o,
                  const Array& y);
// dx = f(bias + the gradient of conv's input), f being o.activation
void pass_input(const Array& dy, const Array& weight, const float* bias, const ConvSizes& s, const ConvOptions& o,
                const Array& dx);
void pass_weight(const Array& dy, const Array& x, const ConvSizes& s, const ConvOptions& o, const Array& dweight);

// The same by Winograd's algorithm (winograd.h). False if it does not apply, or met a sum that is not finite: nothing
// is computed then.
bool winograd_forward(const Array& x, const Array& weight, const float* bias, const ConvSizes& s, const ConvOptions& o,
                      const Array& y);
bool winograd_input(const Array& dy, const Array& weight, const float* bias, const ConvSizes& s, const ConvOptions& o,
                    const Array& dx);
bool winograd_weight(const Array& dy, const Array& x, const ConvSizes& s, const ConvOptions& o, const Array& dweight);
// The matrices that it reads (layout.h), and their size.
int64_t winograd_floats(const ConvSizes& s, int64_t stride, bool rotated, bool pairs);
void winograd_weights(const float* weight, const ConvSizes& s, int64_t stride, bool rotated, bool pairs, float* to);

// The same as products of matrices (products.cpp). False if that does not apply.
bool gemm_forward(const Array& x, const Array& weight, const float* bias, const ConvSizes& s, const ConvOptions& o,
                  const Array& y);
bool gemm_input(const Array& dy, const Array& weight, const float* bias, const ConvSizes& s, const ConvOptions& o,
                const Array& dx);
bool gemm_weight(const Array& dy, const Array& x, const ConvSizes& s, const ConvOptions& o, const Array& dweight);
// Whether products are those of bfloat16 terms, faster than multiply-adds.
bool multiplies_terms(Precision precision);
// Whether they are dot products of pairs, which other paths have too.
bool multiplies_pairs(Precision precision);
// Whether they are faster than Winograd's algorithm.
bool prefers_gemm(const ConvOptions& o);

// Whether sums over `depth` channels of a group are those of bfloat16 pairs, read from the pixels.
bool sums_pairs(const ConvSizes& s, int64_t depth, const ConvOptions& o);
// Images as pairs: rounded, two channels to a float. `memory` keeps them.
Pixels<const float> paired(const Pixels<const float>& in, int64_t images, Array& memory);
// The correlation on pairs, which c.in and c.weights hold already; its sizes still count channels.
void run_pairs(Correlation c, std::vector<Tap> taps);

// The gradient of an image of few channels. False if that is not faster.
bool spread_input(const Array& dy, const Array& weight, const float* bias, const ConvSizes& s, const ConvOptions& o,
                  const Array& dx);

// dY f'(Z) of images from Y = f(Z), in float32 and nhwc.
Array pass_activation(const Array& dy, const Array& y, FusedActivation activation);

}  // namespace nonet
