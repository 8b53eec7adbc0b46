// Copies between elements at regular distances: what transposing, slicing, joining and padding are made of.
#pragma once

#include "array/array.h"

namespace nonet {

// Elements of a storage, from `offset` on, `strides` elements apart along each axis of `shape` (any sign; 0 repeats).
struct Strided {
  Shape shape;
  Shape strides;
  int64_t offset = 0;

  // The same elements with the axes in another order: axis i of the result is axis order[i].
  Strided permuted(const Shape& order) const;
  // Every step-th element of an axis from `begin` on, `size` of them.
  Strided sliced(int axis, int64_t begin, int64_t size, int64_t step = 1) const;
};

// Where the elements of a plain array of this shape lie.
Strided strided(const Shape& shape);
// Where the elements of x lie, in the order of its logical shape, whatever its format.
Strided strided(const Array& x);

// The elements of x's storage at `from` as a plain array; it shares the memory where they lie side by side.
Array read_strided(const Array& x, const Strided& from);
// Stores y, in the order of its logical shape, into out's storage at `to`. The shapes are equal.
void write_strided(const Array& out, const Strided& to, const Array& y);

// An nhwc array as the plain array [N, H, W, C] that its memory is, others as they are; and back.
Array as_stored(const Array& x);
Array from_stored(const Array& stored, Format format);
// The axis of as_stored(x) that holds a logical axis.
int stored_axis(Format format, int axis);

}  // namespace nonet
