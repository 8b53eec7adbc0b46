// Ops along one axis work on rows; these bring any axis to the end and back. Both are free when it is the last one.
#pragma once

#include "array/array.h"

namespace nonet {

// x seen as [outer, n, inner] around an axis.
struct AxisView {
  int64_t outer;
  int64_t n;
  int64_t inner;
};
inline AxisView around(const Shape& shape, int axis) {
  return {shape.product(0, axis), shape[axis], shape.product(axis + 1, shape.rank())};
}

// [outer, n, inner] -> [outer * inner, n].
Array axis_last(const Array& x, int axis);
// The inverse: rows [outer * inner, n] -> shape, where shape[axis] = n.
Array axis_back(const Array& rows, const Shape& shape, int axis);

}  // namespace nonet
