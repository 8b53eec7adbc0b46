// Sorting of arrays. For ordinary sources.
#pragma once

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

// Positions grouped by number: those of equal numbers follow each other, in increasing order.
struct Ordered {
  Array
      sorted;  // int64 [n]: the numbers in order; those outside [0, bound), and those equal to skip, are last, as bound
  Array order;  // int64 [n]: their positions
};
// numbers: int64, plain, on a device that is not the CPU.
Ordered order(const Array& numbers, int64_t bound, int64_t skip, const char* op);

}  // namespace nonet
