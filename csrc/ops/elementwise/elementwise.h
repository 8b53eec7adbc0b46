// Element-wise ops: maps of one array, of two arrays under NumPy's broadcasting, and choices between two arrays.
//
//   unary    y_i = f(x_i; a, b)                      dx_i = f'(s_i; a, b) dy_i,   s = x or y, as listed below
//   binary   y_i = f(x_i, z_i)                       comparisons and logic give bool
//   where    y_i = c_i ? x_i : z_i
//
// dtypes: float32 and bfloat16 compute in float32. Of two dtypes the first in float32, bfloat16, int64, int32, uint8,
// bool is the common one; a Python number takes the array's dtype, except that a float beside integers gives float32
// and an int beside bool gives int64. `div` and every map that has no meaning on integers turn those into float32.
// Integer arithmetic wraps around; bool adds as "or" and multiplies as "and".
//
// Formats: a map keeps the format of its array; of two arrays of one shape the second is converted to the first's. An
// nhwc array that meets a broadcast one is converted to plain, unless that one has a single element.
//
// Saved for the backward pass of a unary map: the output where f' is a function of it, since the next op usually keeps
// that array anyway; else the input.
#pragma once

#include "base/kernel.h"

namespace nonet {

class Array;
class Shape;

enum class Unary : int {
  neg,         // saved: nothing (any array of the shape)
  abs,         // x
  exp,         // y
  expm1,       // y
  log,         // x
  log1p,       // x
  log2,        // x
  sqrt,        // y
  rsqrt,       // y
  square,      // x
  reciprocal,  // y
  sin,         // x
  cos,         // x
  tanh,        // y
  sigmoid,     // y
  erf,         // x
  clamp,       // x; a <= x <= b passes the gradient
  floor,       // the rest is flat: no gradient
  ceil,
  round,  // half to even
  trunc,
  sign,
  count
};

enum class Binary : int {
  add,
  sub,
  mul,
  div,
  pow,
  maximum,  // NaN if either is
  minimum,
  remainder,     // sign of the divisor
  floor_divide,  // rounds towards -inf
  prelu,         // x < 0 ? z x : x
  gate,          // x sigmoid(z)
  eq,
  ne,
  lt,
  le,
  gt,
  ge,
  logical_and,
  logical_or,
  logical_xor,
  bitwise_and,  // the bitwise ones take integers and bool only
  bitwise_or,
  bitwise_xor,
  count
};
constexpr bool gives_bool(Binary op) {
  return op >= Binary::eq && op <= Binary::logical_xor;
}

// Gradients of binary maps that need both operands: d_i = dy_i · (partial derivative at x_i, z_i).
enum class Partial : int {
  pow_base,
  pow_exponent,
  div_divisor,
  maximum,  // with respect to the first operand; a tie gives half to each
  minimum,
  prelu,        // with respect to x
  prelu_slope,  // with respect to z
  gate,         // with respect to z
  count
};

// The numbers a map is made with: slopes, bounds, thresholds.
struct MapNumbers {
  float a = 0;
  float b = 0;
  float c = 0;
};

// n elements each, contiguous; y may be x.
using UnaryMap = void (*)(const void* x, void* y, int64_t n, const MapNumbers& numbers);
// dx = f'(s) dy; dx may be dy.
using UnaryGradient = void (*)(const void* dy, const void* s, void* dx, int64_t n, const MapNumbers& numbers);

struct UnaryKernel {
  UnaryMap map[2];            // float32, bfloat16
  UnaryGradient gradient[2];  // null for flat maps
};
struct UnaryKernels {
  UnaryKernel op[static_cast<int>(Unary::count)];
};
NONET_KERNELS(UnaryKernels, unary_kernels);

// y[i] = f(x[i * x_step], z[i * z_step]), steps 0 or 1; an operand with step 0 is max_width equal floats, whatever its
// dtype. y may be x or z. y is bool (one byte) where gives_bool(op).
using BinaryMap = void (*)(const void* x, int64_t x_step, const void* z, int64_t z_step, void* y, int64_t n);
// All float32.
using PartialMap = void (*)(const float* dy, const float* x, int64_t x_step, const float* z, int64_t z_step, float* d,
                            int64_t n);

inline constexpr int max_width = 16;

struct BinaryKernel {
  BinaryMap float32;
  BinaryMap bfloat16;        // both operands step
  BinaryMap bfloat16_float;  // the second operand is repeated
  BinaryMap float_bfloat16;  // the first operand is repeated
};
struct BinaryKernels {
  BinaryKernel op[static_cast<int>(Binary::count)];  // empty for the bitwise ones
  PartialMap partial[static_cast<int>(Partial::count)];
};
NONET_KERNELS(BinaryKernels, binary_kernels);

// An array, or a Python number, which has no dtype of its own.
struct Operand {
  enum class Kind : uint8_t { array, boolean, integer, floating };
  Operand() = default;
  Operand(const Array& x) : array(&x) {}  // NOLINT: implicit on purpose

  const Array* array = nullptr;
  Kind kind = Kind::array;
  double value = 0;     // of any number
  int64_t integer = 0;  // of a boolean or an integer
};

const char* name(Unary op);
const char* name(Binary op);

// The dtype in which two operands meet. `compares`: a number that the dtype of integers cannot hold widens it.
// Errors: TypeError for two numbers.
DType common_dtype(const Operand& x, const Operand& z, bool compares, const char* op);
// The operand in that dtype, a number as an array of rank 0; beside bfloat16 a number stays float32.
Array operand_array(const Operand& x, DType dtype);

// One pass over a floating array, forward and backward, for any family of unary maps.
Array map_array(const UnaryKernel& kernel, const Array& x, const MapNumbers& numbers);
// Errors: ValueError naming op if dy has another shape than what was saved.
Array map_gradient(const UnaryKernel& kernel, const Array& dy, const Array& saved, const MapNumbers& numbers,
                   const char* op);

// y of x. Integers: neg, abs, square, sign and the roundings keep the dtype, the rest give float32.
Array unary(Unary op, const Array& x, MapNumbers numbers = {});
// dx of dy and what was saved.
Array unary_gradient(Unary op, const Array& dy, const Array& saved, MapNumbers numbers = {});

// Errors: ValueError if the shapes do not broadcast or an integer division is by zero, TypeError for dtypes the op is
// not defined on, RuntimeError for arrays on two devices.
Array binary(Binary op, const Operand& x, const Operand& z);
// dy has the broadcast shape; so has the result.
Array binary_gradient(Partial partial, const Array& dy, const Operand& x, const Operand& z);
Array add(const Array& x, const Array& z);
Array mul(const Array& x, const Array& z);
// x += z in place; same shape, z is converted to the dtype and format of x. Errors: ValueError for another shape.
void add_into(const Array& x, const Array& z);

// c: bool (any dtype; not 0 is true). The dtypes of x and z are promoted as in binary.
Array where(const Array& c, const Operand& x, const Operand& z);
// bool. Integers are finite numbers.
Array is_nan(const Array& x);
Array is_inf(const Array& x);
Array is_finite(const Array& x);
Array logical_not(const Array& x);
// Errors: TypeError for floats. Bool gives logical_not.
Array bitwise_not(const Array& x);

// The gradient of broadcasting: dy summed over the axes in which `shape` has size 1 or none. Errors: ValueError if
// `shape` does not broadcast to dy's.
Array sum_to(const Array& dy, const Shape& shape);
// Whether x and z have the same shape and dtype (a number is like anything): nothing was broadcast or promoted.
bool alike(const Operand& x, const Operand& z);

}  // namespace nonet
