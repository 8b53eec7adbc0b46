// Sorting along one axis, and the k largest or smallest.
//
// x: [outer, n, inner] with the axis in the middle, any dtype. Stable: equal elements keep their order, also when
// descending. NaN counts as larger than any number; -0 and 0 are equal. Every element is copied, so the gradient goes
// back to where its value came from: dx[o, positions[o, k, i], i] = dy[o, k, i], zero elsewhere.
#pragma once

#include "base/kernel.h"

namespace nonet {

// Rows of n elements, n < 2^32. scratch: the bytes of sort_plan() (plan.h).
struct SortDevice {
  static constexpr const char* name = "sort";

  // The first k of each row: values [rows, k], positions [rows, k]. Any dtype.
  void (*sort)(Stream, DType dtype, const void* x, void* values, int64_t* positions, int64_t rows, int64_t n, int64_t k,
               bool descending, void* scratch);
  // The positions 0 … n - 1 of numbers [n] in the order of the numbers, and the numbers in that order. Those outside
  // [0, bound), and those equal to skip, are last, as `bound`. scratch for one row of n, keys of 4 bytes if
  // bound < 2^32, else 8.
  void (*order)(Stream, const int64_t* numbers, int64_t n, int64_t bound, int64_t skip, int64_t* sorted, int64_t* order,
                void* scratch);
  // dx [outer, n, inner], which is zero before, gets dy [outer, k, inner] at the positions. Elements of `size` bytes.
  void (*place)(Stream, int size, const void* dy, const int64_t* positions, void* dx, int64_t outer, int64_t k,
                int64_t n, int64_t inner);
};

}  // namespace nonet
