#include "ops/elementwise/map.h"

namespace nonet::NONET_NS {

namespace {

struct Add {
  NONET_INLINE F apply(F x, F z) { return x + z; }
};
struct Sub {
  NONET_INLINE F apply(F x, F z) { return x - z; }
};
struct Mul {
  NONET_INLINE F apply(F x, F z) { return x * z; }
};
struct Div {
  NONET_INLINE F apply(F x, F z) { return x / z; }
};
struct Pow {
  NONET_INLINE F apply(F x, F z) { return each_lane(x, z, __builtin_powf); }
};
struct Maximum {
  NONET_INLINE F apply(F x, F z) { return maximum(x, z); }
};
struct Minimum {
  NONET_INLINE F apply(F x, F z) { return minimum(x, z); }
};

float remainder(float x, float z) {
  const float r = __builtin_fmodf(x, z);
  return r != 0 && (r < 0) != (z < 0) ? r + z : r;
}
struct Remainder {
  NONET_INLINE F apply(F x, F z) { return each_lane(x, z, remainder); }
};
// The quotient is taken after the remainder is removed, so that it is whole but for rounding; x / z alone could round
// up to the next whole number.
float floor_divide(float x, float z) {
  if (z == 0) return x / z;
  const float r = __builtin_fmodf(x, z);  // finite for an infinite z, unlike the remainder
  const float q = (x - r) / z - (r != 0 && (r < 0) != (z < 0) ? 1.f : 0.f);
  const float whole = __builtin_floorf(q);
  return q - whole > 0.5f ? whole + 1 : whole;
}
struct FloorDivide {
  NONET_INLINE F apply(F x, F z) { return each_lane(x, z, floor_divide); }
};

struct Prelu {
  NONET_INLINE F apply(F x, F z) { return x < 0.f ? z * x : x; }
};
struct Gate {
  NONET_INLINE F apply(F x, F z) { return x * sigmoid(z); }
};

struct Equal {
  NONET_INLINE I apply(F x, F z) { return x == z; }
};
struct NotEqual {
  NONET_INLINE I apply(F x, F z) { return x != z; }
};
struct Less {
  NONET_INLINE I apply(F x, F z) { return x < z; }
};
struct LessEqual {
  NONET_INLINE I apply(F x, F z) { return x <= z; }
};
struct Greater {
  NONET_INLINE I apply(F x, F z) { return x > z; }
};
struct GreaterEqual {
  NONET_INLINE I apply(F x, F z) { return x >= z; }
};
struct And {
  NONET_INLINE I apply(F x, F z) { return (x != 0.f) & (z != 0.f); }
};
struct Or {
  NONET_INLINE I apply(F x, F z) { return (x != 0.f) | (z != 0.f); }
};
struct Xor {
  NONET_INLINE I apply(F x, F z) { return (x != 0.f) ^ (z != 0.f); }
};

struct PowBase {  // z x^(z-1)
  NONET_INLINE F apply(F dy, F x, F z) { return z == 0.f ? F{} : dy * z * each_lane(x, z - 1.f, __builtin_powf); }
};
struct PowExponent {  // x^z log x; at x = 0 the function is flat for z > 0
  NONET_INLINE F apply(F dy, F x, F z) {
    return (x == 0.f) & (z >= 0.f) ? F{} : dy * each_lane(x, z, __builtin_powf) * log(x);
  }
};
struct DivDivisor {
  NONET_INLINE F apply(F dy, F x, F z) { return -dy * ((x / z) / z); }
};
struct MaximumFirst {
  NONET_INLINE F apply(F dy, F x, F z) { return x == z ? 0.5f * dy : (x < z ? F{} : dy); }
};
struct MinimumFirst {
  NONET_INLINE F apply(F dy, F x, F z) { return x == z ? 0.5f * dy : (x > z ? F{} : dy); }
};
struct PreluInput {
  NONET_INLINE F apply(F dy, F x, F z) { return x > 0.f ? dy : z * dy; }
};
struct PreluSlope {
  NONET_INLINE F apply(F dy, F x, F) { return x > 0.f ? F{} : dy * x; }
};
struct GateGate {
  NONET_INLINE F apply(F dy, F x, F z) {
    const F s = sigmoid(z);
    return dy * x * (s * (1.f - s));
  }
};

template <class Op>
constexpr BinaryKernel arithmetic = {binary_run<Op, float, float, float>, binary_run<Op, bfloat16, bfloat16, bfloat16>,
                                     binary_run<Op, bfloat16, float, bfloat16>,
                                     binary_run<Op, float, bfloat16, bfloat16>};
template <class Op>
constexpr BinaryKernel comparison = {binary_run<Op, float, float, bool>, binary_run<Op, bfloat16, bfloat16, bool>,
                                     binary_run<Op, bfloat16, float, bool>, binary_run<Op, float, bfloat16, bool>};

constexpr BinaryKernels table() {
  BinaryKernels out{};
  const auto put = [&](Binary op, const BinaryKernel& kernel) { out.op[static_cast<int>(op)] = kernel; };
  put(Binary::add, arithmetic<Add>);
  put(Binary::sub, arithmetic<Sub>);
  put(Binary::mul, arithmetic<Mul>);
  put(Binary::div, arithmetic<Div>);
  put(Binary::pow, arithmetic<Pow>);
  put(Binary::maximum, arithmetic<Maximum>);
  put(Binary::minimum, arithmetic<Minimum>);
  put(Binary::remainder, arithmetic<Remainder>);
  put(Binary::floor_divide, arithmetic<FloorDivide>);
  put(Binary::prelu, arithmetic<Prelu>);
  put(Binary::gate, arithmetic<Gate>);
  put(Binary::eq, comparison<Equal>);
  put(Binary::ne, comparison<NotEqual>);
  put(Binary::lt, comparison<Less>);
  put(Binary::le, comparison<LessEqual>);
  put(Binary::gt, comparison<Greater>);
  put(Binary::ge, comparison<GreaterEqual>);
  put(Binary::logical_and, comparison<And>);
  put(Binary::logical_or, comparison<Or>);
  put(Binary::logical_xor, comparison<Xor>);
  const auto put_partial = [&](Partial partial, PartialMap map) { out.partial[static_cast<int>(partial)] = map; };
  put_partial(Partial::pow_base, partial_run<PowBase>);
  put_partial(Partial::pow_exponent, partial_run<PowExponent>);
  put_partial(Partial::div_divisor, partial_run<DivDivisor>);
  put_partial(Partial::maximum, partial_run<MaximumFirst>);
  put_partial(Partial::minimum, partial_run<MinimumFirst>);
  put_partial(Partial::prelu, partial_run<PreluInput>);
  put_partial(Partial::prelu_slope, partial_run<PreluSlope>);
  put_partial(Partial::gate, partial_run<GateGate>);
  return out;
}

}  // namespace

constinit const BinaryKernels binary_kernels = table();

}  // namespace nonet::NONET_NS
