#include "ops/activation/activation.h"
#include "ops/elementwise/map.cuh"
//
#include "ops/activation/map_activation.h"
#include "ops/elementwise/map_binary.h"

namespace nonet::NONET_CUDA_NS {

namespace {

// Calls body with the map of op.
template <class Body>
void visit_map(Activation op, const Body& body) {
  switch (op) {
    case Activation::relu:
      return body(Relu{});
    case Activation::leaky_relu:
      return body(LeakyRelu{});
    case Activation::elu:
      return body(Elu{});
    case Activation::gelu:
      return body(Gelu{});
    case Activation::gelu_tanh:
      return body(GeluTanh{});
    case Activation::silu:
      return body(Silu{});
    case Activation::mish:
      return body(Mish{});
    case Activation::softplus:
      return body(Softplus{});
    case Activation::softsign:
      return body(Softsign{});
    case Activation::tanhshrink:
      return body(Tanhshrink{});
    case Activation::logsigmoid:
      return body(Logsigmoid{});
    case Activation::hardtanh:
      return body(Hardtanh{});
    case Activation::hardsigmoid:
      return body(Hardsigmoid{});
    case Activation::hardswish:
      return body(Hardswish{});
    case Activation::hardshrink:
      return body(Hardshrink{});
    case Activation::softshrink:
      return body(Softshrink{});
    default:
      return body(Threshold{});
  }
}

void map(Stream stream, Activation op, DType dtype, const void* x, void* y, int64_t n, MapNumbers numbers) {
  visit_map(op, [&](auto f) { run_forward<decltype(f)>(stream, dtype, x, y, n, numbers); });
}

void gradient(Stream stream, Activation op, DType dtype, const void* dy, const void* s, void* dx, int64_t n,
              MapNumbers numbers) {
  visit_map(op, [&](auto f) { run_backward<decltype(f)>(stream, dtype, dy, s, dx, n, numbers); });
}

// body(first, last, i, Count) for packs of y's elements: `first` and `last` are the offsets of their operands in x.
template <int pack, class Body>
NONET_DEVICE void for_halves(int64_t outer, int64_t half, bool aligned, const Body& body) {
  for_packs<pack>(outer * half, aligned && half % pack == 0, [&](int64_t i, auto count) {
    const int64_t first = i + i / half * half;
    body(first, first + half, i, count);
  });
}

template <class T>
struct Glu {
  NONET_DEVICE void operator()(const T* x, T* y, int64_t outer, int64_t half) const {
    constexpr int pack = pack_size<T>();
    const auto f = [](T a, T z) { return from_float<T>(Gate::apply(as_float(a), as_float(z))); };
    for_halves<pack>(outer, half, is_aligned<pack>(x) && is_aligned<pack>(y),
                     [&](int64_t first, int64_t last, int64_t i, auto count) {
                       constexpr int size = decltype(count)::value;
                       map_pack<size>(f, y + i, load_pack<size>(x + first), load_pack<size>(x + last));
                     });
  }
};

void glu(Stream stream, DType dtype, const void* x, void* y, int64_t outer, int64_t half) {
  visit_floating(dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    run_elements(stream, outer * half, Glu<T>{}, static_cast<const T*>(x), static_cast<T*>(y), outer, half);
  });
}

template <class T>
struct GluGradient {
  NONET_DEVICE void operator()(const T* dy, const T* x, T* dx, int64_t outer, int64_t half) const {
    constexpr int pack = pack_size<T>();
    const auto first_half = [](T g, T z) { return from_float<T>(Gate::apply(as_float(g), as_float(z))); };
    const auto last_half = [](T g, T a, T z) {
      return from_float<T>(GateGate::apply(as_float(g), as_float(a), as_float(z)));
    };
    for_halves<pack>(outer, half, is_aligned<pack>(dy) && is_aligned<pack>(x) && is_aligned<pack>(dx),
                     [&](int64_t first, int64_t last, int64_t i, auto count) {
                       constexpr int size = decltype(count)::value;
                       const auto g = load_pack<size>(dy + i);
                       const auto a = load_pack<size>(x + first);
                       const auto z = load_pack<size>(x + last);
                       map_pack<size>(first_half, dx + first, g, z);
                       map_pack<size>(last_half, dx + last, g, a, z);
                     });
  }
};

void glu_gradient(Stream stream, DType dtype, const void* dy, const void* x, void* dx, int64_t outer, int64_t half) {
  visit_floating(dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    run_elements(stream, outer * half, GluGradient<T>{}, static_cast<const T*>(dy), static_cast<const T*>(x),
                 static_cast<T*>(dx), outer, half);
  });
}

}  // namespace

NONET_DEVICE_TABLE(ActivationDevice, simt, {map, gradient, glu, glu_gradient});

}  // namespace nonet::NONET_CUDA_NS
