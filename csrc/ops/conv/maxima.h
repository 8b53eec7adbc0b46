// Gradients of a convolution whose result was max-pooled, from those of the pooled image. All but one element of every
// window of dY are 0, so that sums over dY are sums over pooled pixels:
//
//   dW[o]                         += dP[n, p, o] X[n, the patch under the maximum of (p, o)]
//   dX[n, that patch]             += dP[n, p, o] W[o]
//
// which for windows of 2 x 2 is a quarter of the products of the definition. Patches are rows of a padded nhwc image,
// kw C floats each; they are worked on in blocks of up to most_rows rows and two vectors, whose sums stay in registers.
#pragma once

#include "ops/conv/conv.h"

namespace nonet {

struct Patch {
  int64_t rows, row_floats;  // kernel rows; floats of one: kw depth
  int64_t depth;             // channels of the image
  int64_t row_step;          // between kernel rows in the image
};

// Pooled gradients, [images, pixels, channels], and the flat positions in an image of dY that they belong to.
struct Maxima {
  int64_t images, pixels, channels;
  const float* gradients;
  const int32_t* index;
  const int32_t* offset;  // of a position: where its patch begins in an image
  const uint8_t* place;   // of a position: its number in its window, below `places`
  int64_t places;
};

struct MaximaWeight {
  Maxima maxima;
  Patch patch;
  const float* images;  // padded; a vector may be read behind any patch of all images but the last
  int64_t image_floats;
  const float* last_image;  // in memory where it may be read so too
  float* partial;           // [slices][floats of weights()], overwritten; slice s has images [N s / slices, …)
  int64_t slices;
};

struct MaximaInput {
  Maxima maxima;
  Patch patch;
  const float* weights;  // as weights() has them
  int64_t image_floats;  // of a padded image
  float* dx;             // [images, height, width, channels], overwritten
  int64_t height, width, channels;
  int64_t top, left, row;  // where it lies in a padded image, whose rows have `row` floats
};

struct MaximaKernels {
  // Floats of all blocks of all channels.
  int64_t (*weight_floats)(const Patch& patch, int64_t channels);
  // W [channels, depth, kh, kw] <-> blocks, zeros where they have more columns.
  void (*to_blocks)(const float* weights, const Patch& patch, int64_t channels, float* blocks);
  void (*from_blocks)(const float* blocks, const Patch& patch, int64_t channels, float* weights);
  void (*weight)(const MaximaWeight& m);
  void (*input)(const MaximaInput& m);
  // x = max(x, 0), NaN stays.
  void (*relu)(float* x, int64_t n);
};
NONET_KERNELS(MaximaKernels, maxima_kernels);

}  // namespace nonet
