#include "ops/elementwise/map.h"
#include "ops/elementwise/map_unary.h"

namespace nonet::NONET_NS {

namespace {

constexpr UnaryKernels table() {
  UnaryKernels out{};
  const auto put = [&](Unary op, const UnaryKernel& kernel) { out.op[static_cast<int>(op)] = kernel; };
  put(Unary::neg, smooth<Neg>);
  put(Unary::abs, smooth<Abs>);
  put(Unary::exp, smooth<Exp>);
  put(Unary::expm1, smooth<Expm1>);
  put(Unary::log, smooth<Log>);
  put(Unary::log1p, smooth<Log1p>);
  put(Unary::log2, smooth<Log2>);
  put(Unary::sqrt, smooth<Sqrt>);
  put(Unary::rsqrt, smooth<Rsqrt>);
  put(Unary::square, smooth<Square>);
  put(Unary::reciprocal, smooth<Reciprocal>);
  put(Unary::sin, smooth<Sin>);
  put(Unary::cos, smooth<Cos>);
  put(Unary::tanh, smooth<Tanh>);
  put(Unary::sigmoid, smooth<Sigmoid>);
  put(Unary::erf, smooth<Erf>);
  put(Unary::clamp, smooth<Clamp>);
  put(Unary::floor, flat<Floor>);
  put(Unary::ceil, flat<Ceil>);
  put(Unary::round, flat<Round>);
  put(Unary::trunc, flat<Trunc>);
  put(Unary::sign, flat<Sign>);
  return out;
}

}  // namespace

constinit const UnaryKernels unary_kernels = table();

}  // namespace nonet::NONET_NS
