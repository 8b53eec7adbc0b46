#include "ops/activation/activation.h"

#include "ops/elementwise/map.h"
//
#include "ops/activation/map_activation.h"

namespace nonet::NONET_NS {

namespace {

constexpr ActivationKernels table() {
  ActivationKernels out{};
  const auto put = [&](Activation op, const UnaryKernel& kernel) { out.op[static_cast<int>(op)] = kernel; };
  put(Activation::relu, smooth<Relu>);
  put(Activation::leaky_relu, smooth<LeakyRelu>);
  put(Activation::elu, smooth<Elu>);
  put(Activation::gelu, smooth<Gelu>);
  put(Activation::gelu_tanh, smooth<GeluTanh>);
  put(Activation::silu, smooth<Silu>);
  put(Activation::mish, smooth<Mish>);
  put(Activation::softplus, smooth<Softplus>);
  put(Activation::softsign, smooth<Softsign>);
  put(Activation::tanhshrink, smooth<Tanhshrink>);
  put(Activation::logsigmoid, smooth<Logsigmoid>);
  put(Activation::hardtanh, smooth<Hardtanh>);
  put(Activation::hardsigmoid, smooth<Hardsigmoid>);
  put(Activation::hardswish, smooth<Hardswish>);
  put(Activation::hardshrink, smooth<Hardshrink>);
  put(Activation::softshrink, smooth<Softshrink>);
  put(Activation::threshold, smooth<Threshold>);
  return out;
}

}  // namespace

constinit const ActivationKernels activation_kernels = table();

}  // namespace nonet::NONET_NS
