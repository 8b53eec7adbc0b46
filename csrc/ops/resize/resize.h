// Resampling of images [N, C, H, W] and of sequences [N, C, L], images of height 1:
//
//   y[n, c, p, q] = sum_i sum_j R[p, i] K[q, j] x[n, c, i, j]
//
// R and K are sparse: an output takes from a few inputs around its own position, u(p) = (p + 1/2) s - 1/2 with s the
// ratio of the sizes (or 1 / scale factor), or with align_corners p (n - 1) / (m - 1):
//
//   nearest        floor(p s);  nearest-exact: floor((p + 1/2) s)
//   linear         the two neighbours of u; outside the image the edge
//   cubic          four neighbours, by the convolution kernel with a = -3/4 (Keys, "Cubic Convolution Interpolation for
//                  Digital Image Processing", 1981); positions outside are the edge
//   antialias      linear and cubic (a = -1/2) stretched by s where s > 1, normalised to a sum of 1
//
// The gradient is the same sum with R and K transposed, dx = R^T dy K, so one kernel does both. float32 or bfloat16,
// sums in float32; nhwc images keep their format. Nothing is saved.
#pragma once

#include "base/kernel.h"

namespace nonet {

class Array;
class Shape;

// A sparse matrix [m, n]: row o has the entries [first[o], first[o + 1]).
struct ResizeTaps {
  int64_t m, n;
  const int64_t* first;
  const int32_t* index;
  const float* weight;
};

// Images as they are stored, [outer, rows, columns, inner]: plain ones have inner = 1, nhwc ones outer = N.
struct ResizeGeometry {
  int64_t outer, inner;
  ResizeTaps rows, columns;
  bool copies_rows, copies_columns;  // every output is one input: nothing is computed
  // The columns again, tap k of output o at [k m + o]; beyond an output's own taps weight 0 of element n, which is 0.
  int64_t most;
  const int32_t* padded_index;
  const float* padded_weight;
};

struct ResizeKernels {
  // x [outer, rows.n, columns.n, inner], y [outer, rows.m, columns.m, inner].
  void (*resize)(const float* x, float* y, const ResizeGeometry& g);
};
NONET_KERNELS(ResizeKernels, resize_kernels);

struct ResizeDevice {
  static constexpr const char* name = "resize";

  // As above; the matrices lie in the device's memory.
  void (*resize)(Stream, DType dtype, const void* x, void* y, int64_t outer, int64_t inner, const ResizeTaps& rows,
                 const ResizeTaps& columns);
};

enum class ResizeMode : int { nearest, nearest_exact, linear, cubic };

struct ResizeOptions {
  ResizeMode mode = ResizeMode::nearest;
  bool align_corners = false;
  bool antialias = false;  // linear and cubic
  // The ratio of sizes per axis as the caller gave it (output over input), 0: from the sizes.
  double scale[2] = {0, 0};
  const char* op = "interpolate";
};

// size: of the resampled axes, (L) or (H, W). Errors: ValueError for shapes, TypeError for the dtype.
Array resize_forward(const Array& x, const Shape& size, const ResizeOptions& options);
Array resize_backward(const Array& dy, const Shape& shape, const ResizeOptions& options);

}  // namespace nonet
