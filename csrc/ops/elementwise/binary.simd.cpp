#include "ops/elementwise/map.h"
#include "ops/elementwise/map_binary.h"

namespace nonet::NONET_NS {

namespace {

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
