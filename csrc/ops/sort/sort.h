// Sorting along one axis, and the k largest or smallest.
//
// x: [outer, n, inner] with the axis in the middle, any dtype. Stable: equal elements keep their order, also when
// descending. NaN counts as larger than any number; -0 and 0 are equal. Every element is copied, so the gradient goes
// back to where its value came from: dx[o, positions[o, k, i], i] = dy[o, k, i], zero elsewhere.
#pragma once

#include <cstdint>

#include "array/array.h"

namespace nonet {

struct Sorted {
  Array values;     // [outer, k, inner], x's dtype
  Array positions;  // int64
};

// The first k of each slice in order, k = n sorting all. Errors: IndexError for the axis, ValueError unless 0 <= k <=
// n.
Sorted sort(const Array& x, int64_t axis, int64_t k, bool descending, const char* op);
// Zeros of a shape with dy at positions[o, k, i] of the axis; dy and positions: [outer, k, inner] in any shape.
Array place_along(const Array& dy, const Array& positions, const Shape& shape, int64_t axis);

}  // namespace nonet
