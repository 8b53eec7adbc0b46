// Rotary positions (Su et al., "RoFormer: enhanced transformer with rotary position embedding", 2021, equation 34).
//
//   (y_p, y_q) = (x_p c - x_q s, x_q c + x_p s) for pair i of a head at place t, c = cos[t, i], s = sin[t, i]
//
// x, y: [outer, T, heads, E], float32 or bfloat16, arithmetic in float32; cos, sin: [T, half] float32, 2 half <= E.
// Pair i is (i, half + i), or (2 i, 2 i + 1) if interleaved; elements from 2 half on stay as they are. The gradient is
// the rotation back: the same with -s.
#pragma once

#include "base/kernel.h"

namespace nonet {

class Array;

struct Rotation {
  int64_t outer, places, heads, size, half;
  const float* cos;
  const float* sin;
  bool interleaved;
  bool back;
};

struct RotaryKernels {
  // y may be x.
  void (*rotate)(const Rotation& r, const float* x, float* y);
  void (*rotate_bfloat16)(const Rotation& r, const bfloat16* x, bfloat16* y);
};
NONET_KERNELS(RotaryKernels, rotary_kernels);

struct RotaryDevice {
  static constexpr const char* name = "rotary";

  // y may be x.
  void (*rotate)(Stream, DType dtype, const Rotation& r, const void* x, void* y);
};

// x: [..., T, heads E]. Errors: TypeError unless floating, ValueError for shapes.
Array rotary(const Array& x, const Array& cos, const Array& sin, int64_t heads, bool interleaved, bool back);

}  // namespace nonet
