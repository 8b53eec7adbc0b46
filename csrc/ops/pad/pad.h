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

#include "base/kernel.h"

namespace nonet {

class Array;
class Shape;

enum class PadMode { constant, reflect, replicate, circular };

// The source of position i, or -1 where it is the constant.
template <class I>
constexpr I pad_source(I i, I n, PadMode mode) {
  switch (mode) {
    case PadMode::reflect:
      return i < 0 ? -i : (i < n ? i : 2 * (n - 1) - i);
    case PadMode::replicate:
      return i < 0 ? 0 : (i < n ? i : n - 1);
    case PadMode::circular:
      return i < 0 ? i + n : (i < n ? i : i - n);
    default:
      return i >= 0 && i < n ? i : I{-1};
  }
}

// Padded axes and whole ones between them (low = 0, size = n), outer to inner; `inner` elements lie behind each
// position of the last one.
struct PadAxis {
  int64_t n;     // positions of x
  int64_t size;  // of y
  int64_t low;
};
struct PadAxes {
  PadAxis axes[9];
  int rank;
  int64_t inner;
};

struct PadDevice {
  static constexpr const char* name = "pad";

  // Elements of `size` bytes; the constant is the lowest bytes of `bits`.
  void (*forward)(Stream, PadMode mode, const void* x, void* y, int size, uint64_t bits, const PadAxes& axes);
  // float32 or bfloat16, added in float32; any mode but constant. Overwrites dx.
  void (*backward)(Stream, PadMode mode, DType dtype, const void* dy, void* dx, const PadAxes& axes);
};

// Errors: ValueError for another name.
PadMode pad_mode(const std::string& name);

// pads: low and high of the last axis, then of the one before it, … Errors: ValueError for an odd count, more axes than
// x has, or a padding that the mode does not allow.
Array pad_forward(const Array& x, const std::vector<int64_t>& pads, PadMode mode, double value);
Array pad_backward(const Array& dy, const Shape& shape, const std::vector<int64_t>& pads, PadMode mode);

}  // namespace nonet
