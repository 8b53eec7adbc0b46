// Axis-aligned boxes (x1, y1, x2, y2), x1 <= x2, y1 <= y2, as detectors use them:
//
//   I  area of the intersection     U = |a| + |b| - I     C  area of the smallest box around both
//   iou          I / (U + e)                              (0 / 0 is NaN for e = 0 and two empty boxes)
//   generalized  iou - (C - U) / (C + e)                  Rezatofighi et al., "Generalized Intersection over Union",
//   2019 distance     iou - d^2 / (c^2 + e), d between the centers, c the diagonal of that smallest box
//                                                         Zheng et al., "Distance-IoU Loss", 2020
//
// For pairs a[i], b[i], or for every a[i] with every b[j]. The gradient of a minimum or maximum is shared between equal
// operands, and that of an empty intersection is 0. float32 (bfloat16 by way of it).
//
// Non-maximum suppression: in the order of falling scores (stable), a box is kept unless its iou (e = 0) with one that
// was kept before, of the same class, exceeds the threshold.
#pragma once

#include "base/kernel.h"

namespace nonet {

class Array;

enum class Overlap : int { iou, generalized, distance };

// Boxes as four rows of numbers, x1 [n], y1 [n], x2 [n], y2 [n], `row` apart.
struct BoxRows {
  const float* data;
  int64_t row;
};

struct BoxKernels {
  // y [n] of pairs.
  void (*pairs)(Overlap kind, float e, BoxRows a, BoxRows b, float* y, int64_t n);
  // da, db: [4, n].
  void (*pairs_backward)(Overlap kind, float e, BoxRows a, BoxRows b, const float* dy, float* da, float* db, int64_t n);
  // y [n, m] of every box of a with every box of b.
  void (*matrix)(Overlap kind, float e, BoxRows a, BoxRows b, float* y, int64_t n, int64_t m);
  // da [4, n], db [4, m].
  void (*matrix_backward)(Overlap kind, float e, BoxRows a, BoxRows b, const float* dy, float* da, float* db, int64_t n,
                          int64_t m);
  // Boxes in the order of their scores; classes [n] may be null. kept [n] becomes 1 or 0.
  void (*nms)(BoxRows boxes, const int32_t* classes, float threshold, int32_t* kept, int64_t n);
};
NONET_KERNELS(BoxKernels, box_kernels);

// The same on a device, where boxes are [n, 4].
struct BoxDevice {
  static constexpr const char* name = "boxes";

  void (*pairs)(Stream, Overlap kind, float e, const float* a, const float* b, float* y, int64_t n);
  void (*pairs_backward)(Stream, Overlap kind, float e, const float* a, const float* b, const float* dy, float* da,
                         float* db, int64_t n);
  void (*matrix)(Stream, Overlap kind, float e, const float* a, const float* b, float* y, int64_t n, int64_t m);
  void (*matrix_backward)(Stream, Overlap kind, float e, const float* a, const float* b, const float* dy, float* da,
                          float* db, int64_t n, int64_t m);
  // masks: [n, (n + 63) / 64] words of scratch.
  void (*nms)(Stream, const float* boxes, const int32_t* classes, float threshold, int32_t* kept, uint64_t* masks,
              int64_t n);
};

// a, b: [..., 4] of one shape -> [...]. Errors: ValueError for shapes, TypeError for dtypes.
Array box_overlap(const Array& a, const Array& b, Overlap kind, double e);
// da, db: null if not wanted.
void box_overlap_backward(const Array& dy, const Array& a, const Array& b, Overlap kind, double e, Array* da,
                          Array* db);
// a: [N, 4], b: [M, 4] -> [N, M].
Array box_overlap_matrix(const Array& a, const Array& b, Overlap kind, double e);
void box_overlap_matrix_backward(const Array& dy, const Array& a, const Array& b, Overlap kind, double e, Array* da,
                                 Array* db);

// boxes: [N, 4], scores: [N], classes: int64 [N] or undefined -> int64 indices of the boxes kept, by falling score.
// Errors: ValueError for shapes, TypeError for dtypes.
Array nms(const Array& boxes, const Array& scores, const Array& classes, double threshold);

}  // namespace nonet
