// Ops that move elements and compute nothing: any dtype, bit for bit.
//
// Arrays are contiguous, so a reshape and a slice of leading axes share memory and everything else is one copy by
// array/strided.h. The gradient of a move is the move back; where one element goes to several places (expand, repeat)
// it is their sum (sum_to of the element-wise family). nhwc images: cat, split and narrow keep the format, the others
// give plain arrays and read the images where they lie.
#pragma once

#include <vector>

#include "array/strided.h"

namespace nonet {

// At most one size may be -1: what remains. Shares the memory. Errors: ValueError.
Array reshape(const Array& x, Shape shape, const char* op);
// y.shape[i] = x.shape[dims[i]]. Errors: ValueError unless dims is a permutation, IndexError for an axis.
Array permute(const Array& x, const Shape& dims);
// NumPy's broadcasting to a larger shape; -1 keeps a size. Errors: ValueError.
Array expand(const Array& x, const Shape& shape);
// x copied counts[axis] times along each axis; more counts than axes add leading axes. Errors: ValueError.
Array repeat(const Array& x, const Shape& counts);

// Errors: ValueError for an empty list or sizes that differ off the axis, TypeError for dtypes that differ.
Array cat(const std::vector<Array>& xs, int64_t axis);
// Pieces of the given sizes along an axis. Errors: ValueError unless they add up to its size.
std::vector<Array> split(const Array& x, const std::vector<int64_t>& sizes, int64_t axis);
// The gradient of split: cat of the pieces, a missing one (undefined) being zeros.
Array split_backward(const std::vector<Array>& pieces, const std::vector<int64_t>& sizes, int64_t axis,
                     const Shape& shape, DType dtype);

// Elements [start, start + length) of an axis. Errors: IndexError.
Array narrow(const Array& x, int64_t axis, int64_t start, int64_t length);
// dy where `view` of an array of this shape lies, 0 elsewhere: the gradient of a slice.
Array slice_backward(const Array& dy, const Shape& shape, const Strided& view);

Array flip(const Array& x, const Shape& dims);
// Elements move shifts[i] places along dims[i] and re-enter on the other side; without dims along the flattened array.
Array roll(const Array& x, const Shape& shifts, const Shape& dims);
// The matrices of the last two axes with 0 above (lower) or below diagonal k. Errors: ValueError for rank < 2.
Array triangle(const Array& x, int64_t k, bool lower);
// Diagonal number k of the matrices of two axes, as the last axis. Errors: IndexError.
Strided diagonal_view(const Shape& shape, int64_t k, int64_t axis1, int64_t axis2);

}  // namespace nonet
