// Padding: y[…, o, …] = x[…, s(o), …] along every axis, with o = 0 … n + low + high - 1 and i = o - low:
//
//   constant   s = i, the value where i falls outside [0, n)
//   reflect    mirrored at the first and the last element, which are not repeated; low, high < n
//   replicate  the nearest element
//   circular   i mod n; low, high <= n
//
// Negative low or high crop. Any dtype; nhwc images keep their format. The gradient of constant padding is the opposite
// padding, that of the others adds dy[o] to dx[s(o)] in the order of o.
#pragma once

#include <string>
#include <vector>

#include "array/array.h"

namespace nonet {

enum class PadMode { constant, reflect, replicate, circular };
// Errors: ValueError for another name.
PadMode pad_mode(const std::string& name);

// pads: low and high of the last axis, then of the one before it, … Errors: ValueError for an odd count, more axes than
// x has, or a padding that the mode does not allow.
Array pad_forward(const Array& x, const std::vector<int64_t>& pads, PadMode mode, double value);
Array pad_backward(const Array& dy, const Shape& shape, const std::vector<int64_t>& pads, PadMode mode);

}  // namespace nonet
