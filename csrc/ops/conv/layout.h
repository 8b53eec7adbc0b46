// Memory movement around the convolution kernels: padded nhwc images, weights in panels. No arithmetic.
#pragma once

#include "array/array.h"
#include "ops/conv/conv.h"

namespace nonet {

// The sizes of one convolution. An image of a sequence has height 1.
struct ConvSizes {
  int64_t n, c, h, w;
  int64_t o, kh, kw, oh, ow;
  int64_t groups;
  int64_t in, out;  // channels per group

  int64_t positions() const { return kh * kw; }
  int64_t weights() const { return o * positions() * in; }
  bool depthwise() const { return in == 1 && out == 1 && groups > 1; }
};

// A window on a batch of images: rows [-top, height - top), likewise columns, zero outside the image; `pixel` floats
// per pixel, zero beyond the channels.
struct Window {
  int64_t top, left, height, width, pixel;
};

// Images [first, first + count) of x (float32, rank 4) as the window shows them: x itself where it is stored so, else
// a copy, which `memory` keeps.
Pixels<const float> windowed(const Array& x, int64_t first, int64_t count, const Window& window, Array& memory);
// Whether windowed() copies.
bool copies(const Array& x, const Window& window);
// So many that what windowed() copies stays small: all of them if it does not.
int64_t images_at_a_time(const Array& x, const Window& window);

// What a path reads instead of W [O, C/G, kh, kw]: panels of 32 columns, or transforms of them (winograd.h).
enum class Weights {
  forward,   // [G][out / 32][kh][kw][in][32]
  backward,  // [G][in / 32][kh][kw from last to first][out][32], for the gradient of the input
  forward_pairs,
  backward_pairs,  // the same in pairs of bfloat16
  // matrices of tiles, of O and C, or of C and O with kernels turned about; then the same in pairs of bfloat16, and all
  // four for kernels with stride 2
  tiles,
  rotated,
  tile_pairs,
  rotated_pairs,
  strided_tiles,
  strided_rotated,
  strided_tile_pairs,
  strided_rotated_pairs,
};
// keep: for the next call, if W is a parameter that stays what it is (packed.h).
Array prepared(const Array& weight, const ConvSizes& s, Weights form, bool keep);
void pack_forward(const float* weight, const ConvSizes& s, float* to);
void pack_backward(const float* weight, const ConvSizes& s, float* to);
// W [O, C, kh, kw] -> [kh][kw C / 32][O][32], columns in the order [kw][C].
Array pack_spread(const Array& weight, const ConvSizes& s);
// W [C, 1, kh, kw] -> [kh][kw][C], kw from last to first if reversed.
Array pack_depthwise(const Array& weight, const ConvSizes& s, bool reversed);
// [G][kh][kw][in][out] (depthwise: [kh][kw][C]) -> W.
void unpack_gradient(const float* packed, const Array& weight, const ConvSizes& s);

}  // namespace nonet
