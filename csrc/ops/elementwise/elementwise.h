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

// ---- maps of one array

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

enum class Test : int { is_nan, is_inf, is_finite, is_zero };

// n elements each; outputs may be inputs.
struct UnaryDevice {
  static constexpr const char* name = "unary";

  // float32 and bfloat16.
  void (*map)(Stream, Unary op, DType dtype, const void* x, void* y, int64_t n, MapNumbers numbers);
  void (*gradient)(Stream, Unary op, DType dtype, const void* dy, const void* s, void* dx, int64_t n,
                   MapNumbers numbers);
  // The other dtypes but bool; neg, abs, square and sign.
  void (*map_integers)(Stream, Unary op, DType dtype, const void* x, void* y, int64_t n);
  // y: bool. All dtypes.
  void (*test)(Stream, Test test, DType dtype, const void* x, void* y, int64_t n);
  void (*invert)(Stream, const void* x, void* y, int64_t bytes);
};

// ---- maps of two arrays

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

// The loops of a broadcast op, inner to outer, with the operands' strides in elements. levels >= 1, and strides of
// level 0 are 0 or 1.
template <int operands>
struct Loops {
  int levels;
  int64_t size[8];
  int64_t stride[8][operands];
};

// What a device kernel reads: an array, or a number, for which data is null.
struct DeviceOperand {
  const void* data = nullptr;
  double value = 0;     // for floating dtypes
  int64_t integer = 0;  // for the others
};

struct BinaryDevice {
  static constexpr const char* name = "binary";

  // y_i = f(x_i, z_i) for the n elements of y, contiguous, of `dtype` as the operands are, or bool where
  // gives_bool(op). y may be an operand that is not broadcast.
  void (*map)(Stream, Binary op, DType dtype, DeviceOperand x, DeviceOperand z, void* y, int64_t n,
              const Loops<2>& loops);
  // All float32. d may be dy.
  void (*partial)(Stream, Partial partial, const float* dy, DeviceOperand x, DeviceOperand z, float* d, int64_t n,
                  const Loops<2>& loops);
  // y_i = c_i ? x_i : z_i, elements of `size` bytes; numbers as the bits of an element in `integer`. c: bool.
  void (*where)(Stream, const void* c, DeviceOperand x, DeviceOperand z, void* y, int size, int64_t n,
                const Loops<3>& loops);
};

struct SumToDevice {
  static constexpr const char* name = "sum_to";

  // y[o, s, i] = sum of x[o, n, i] over the s-th `span` of the n, in an order that depends on the sizes only.
  void (*sum_spans)(Stream, const float* x, float* y, int64_t outer, int64_t n, int64_t inner, int64_t span);
};

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
// The operand in that dtype, a number as an array of rank 0, on the CPU whatever the device of the other one; beside
// bfloat16 a number stays float32.
Array operand_array(const Operand& x, DType dtype);
// What a device kernel is given for operand_array().
DeviceOperand device_operand(const Array& x);

// One pass over a floating array, forward and backward, for any family of unary maps; on the CPU, RuntimeError naming
// op elsewhere.
Array map_array(const UnaryKernel& kernel, const Array& x, const MapNumbers& numbers, const char* op);
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
