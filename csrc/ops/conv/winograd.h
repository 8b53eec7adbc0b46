// Convolutions with fewer multiplications than the definition has (Winograd's algorithms; Lavin & Gray, "Fast
// Algorithms for Convolutional Neural Networks", CVPR 2016). The output is cut into tiles of 2 x 2 pixels; for the
// tile d of input pixels under one and a kernel g,
//
//   y = A^T [(G g G^T) * (B^T d B)] A      summed over channels inside the brackets, so that they are products of
//                                          matrices [tiles, in] [in, out]
//   dg = G^T [sum over tiles (A dy A^T) * (B^T d B)] G
//
// where each axis has the matrices of its taps, the elements of the kernel along it:
//
//   three  B^T = 1  0 -1  0    G = 1   0   0    A^T = 1  1  1  0    F(2, 3): 4 multiplications for 6
//                0  1  1  0        .5  .5  .5         0  1 -1 -1
//                0 -1  1  0        .5 -.5  .5
//                0  1  0 -1        0   0   1
//   two    B^T = 1 -1  0       G = 1 0          A^T = 1 1 0         F(2, 2): 3 for 4
//                0  1  0           1 1                0 1 1
//                0 -1  1           0 1
//   one    B^T = 1 0           G = 1            A^T = 1 . 0         2 for 2: the places of two's first and last
//                0 1               1                  0 . 1
//
// 3 x 3 kernels without stride take 16 multiplications for 36. Kernels of 3 or 4 elements and stride 2 fall apart by
// the parity of the pixels they meet: 4 elements into two and two, 3 into two and one. In the result the parities are
// sources that are added before A^T, in the gradient of the image they are images of their own: 36 multiplications for
// 64 (4 x 4), 25 for 36 (3 x 3).
//
// Sums are shorter than those of the definition, and on inputs of one scale their errors are smaller: they are of the
// size of eps times the norms of a kernel and of a tile, no longer of a kernel and the pixels under it. An infinity or
// NaN of one pixel would be seen in all four outputs, so a result that is not finite is refused.
#pragma once

#include "ops/conv/conv.h"

namespace nonet {

// One of the images that are added, and its taps along both axes: 3 and 3, else 1 or 2.
struct WinogradSource {
  int64_t offset;  // of its first pixel, in floats
  int rows, cols;
};
inline constexpr int64_t most_sources = 4;

// The matrices of one source; calls for all of them have W in common. Elements 'row * width + col' of every kernel of W
// [O, C, size].
struct WinogradWeights {
  const float* weight;
  int64_t out, in;
  bool rotated;  // depth O and columns C
  int64_t size, width;
  int64_t rows, cols;  // taps
  int64_t row[3], col[3];
  int64_t first, matrices;  // number of the first of them, and of all that a panel has
  float* to;
};

// Y = f(bias + the sum of the sources' convolutions) of all images.
struct Winograd {
  int64_t images, rows, cols;  // of Y
  Pixels<const float> in;      // padded: as many pixels more than tiles cover as the kernel has beyond one
  Pixels<float> out;
  int64_t depth, channels;  // of a source and of Y
  int64_t chain;            // values summed at a time, a multiple of 32
  int64_t sources;
  WinogradSource source[most_sources];
  const float* weights;  // [channels / 32 rounded up][matrices][matrix_floats(depth)]: G g G^T, [depth][32] each
  const WinogradWeights* kernels;  // of the sources, if weights is null, for calls with a workspace
  const float* bias;               // [channels] or null
  FusedActivation activation;
};

// dW of all images; what earlier calls left in `sums` is kept if `accumulate`.
struct WinogradGradient {
  int64_t images, rows, cols;  // of dY
  Pixels<const float> in;      // X, padded like above
  Pixels<const float> out;     // dY
  int64_t depth, channels;
  int64_t sources;
  WinogradSource source[most_sources];
  float* sums;       // [matrices][depth][channels]
  float* workspace;  // gradient_workspace() floats
  bool accumulate;
};

struct WinogradKernels {
  int64_t (*matrix_floats)(int64_t depth);
  // Floats that forward() wants for these calls, at most most_sources; may be 0.
  int64_t (*forward_workspace)(const Winograd* calls, int64_t count);
  // workspace: null for 0 floats. False if a sum is not finite: Y is then of no use.
  bool (*forward)(const Winograd* calls, int64_t count, float* workspace);
  // G g G^T of W's kernels, of at most 16 elements.
  void (*weights)(const WinogradWeights* calls, int64_t count);
  int64_t (*gradient_workspace)(const WinogradGradient& g);
  void (*gradient)(const WinogradGradient& g);
  // Sums [matrices][in][out] -> dW, `to`. False as above.
  bool (*gradient_weights)(const float* sums, const WinogradWeights* calls, int64_t count);
};
NONET_KERNELS(WinogradKernels, winograd_kernels);

// The same on products of bfloat16 pairs.
#if defined(__x86_64__)
namespace avx512 {
extern const WinogradKernels winograd_pair_kernels;
}
#endif

}  // namespace nonet
