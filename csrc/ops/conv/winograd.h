// Convolutions of 3 x 3 kernels, stride 1 and dilation 1, with 16 multiplications where the definition has 36
// (Winograd's F(2 x 2, 3 x 3); Lavin & Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016). The
// output is cut into tiles of 2 x 2 pixels; for a tile d of 4 x 4 input pixels and a kernel g,
//
//   y = A^T [(G g G^T) * (B^T d B)] A      summed over channels inside the brackets, so that they are 16 products of
//                                          matrices [tiles, in] [in, out]
//   dg = G^T [sum over tiles (A dy A^T) * (B^T d B)] G
//
//   B^T = 1  0 -1  0    G = 1   0   0    A^T = 1  1  1  0
//         0  1  1  0        .5  .5  .5         0  1 -1 -1
//         0 -1  1  0        .5 -.5  .5
//         0  1  0 -1        0   0   1
//
// Sums are shorter than those of the definition, and on inputs of one scale their errors are smaller: they are of the
// size of eps times the norms of a kernel and of a tile, no longer of a kernel and the pixels under it. An infinity or
// NaN of one pixel would be seen in all four outputs, so a result that is not finite is refused.
#pragma once

#include "ops/conv/conv.h"

namespace nonet {

// Y = f(bias + conv(X)) of all images.
struct Winograd {
  int64_t images, rows, cols;  // of Y
  Pixels<const float> in;      // X, padded: 2 more rows and columns than tiles cover
  Pixels<float> out;
  int64_t depth, channels;  // of X and Y
  const float* weights;     // [16][channels / 32 rounded up][depth][32]: G g G^T
  const float* bias;        // [channels] or null
  FusedActivation activation;
};

// The same algorithm for 2 x 2 kernels, with 9 multiplications for 16: F(2 x 2, 2 x 2), on tiles of 3 x 3 input pixels,
//
//   B^T = 1 -1  0    G = 1 0    A^T = 1 1 0
//         0  1  0        1 1          0 1 1
//         0 -1  1        0 1
//
// which is what kernels of 4 x 4 with stride 2 are made of: the gradient of their image is four of them, one for each
// parity of rows and columns, and the result is one whose input has the four parities side by side as channels.
struct WinogradPairs {
  int64_t images, rows, cols;  // of Y
  Pixels<const float> in;      // a source: 1 more row and column than tiles cover
  Pixels<float> out;
  int64_t depth;  // channels of a source
  int64_t sources;
  int64_t source[4];  // offset of each, in floats
  int64_t channels;
  const float* weights;  // [9][channels / 32 rounded up][sources depth][32]
  const float* bias;
  FusedActivation activation;
};

// dW of all images; what earlier calls left in `sums` is kept if `accumulate`.
struct WinogradGradient {
  int64_t images, rows, cols;  // of dY
  Pixels<const float> in;      // X, padded like above
  Pixels<const float> out;     // dY
  int64_t depth, channels;
  float* sums;       // [16][depth][channels]
  float* workspace;  // gradient_workspace() floats
  bool accumulate;
};

struct WinogradKernels {
  // False if a sum is not finite: Y is then of no use.
  bool (*forward)(const Winograd& w);
  // W [O, C, 3, 3] -> [16][O / 32][C][32], or, rotated, with O and C changed about.
  void (*weights)(const float* weight, int64_t out, int64_t in, bool rotated, float* to);
  bool (*pairs)(const WinogradPairs& w);
  // W [O, C, 4, 4] -> rows [first, first + depth) of [9][columns / 32][total][32], from kernel elements 4 row[i] +
  // col[j] for i, j < 2; columns are O, or, rotated, C.
  void (*pairs_weights)(const float* weight, int64_t out, int64_t in, bool rotated, const int64_t (&row)[2],
                        const int64_t (&col)[2], int64_t first, int64_t total, float* to);
  int64_t (*gradient_workspace)(const WinogradGradient& g);
  void (*gradient)(const WinogradGradient& g);
  // [16][in][out] -> dW [O, C, 3, 3]. False as above.
  bool (*gradient_weights)(const float* sums, int64_t out, int64_t in, float* dweight);
};
NONET_KERNELS(WinogradKernels, winograd_kernels);

}  // namespace nonet
