#include "ops/elementwise/integer_maps.h"
#include "ops/elementwise/map.cuh"
#include "ops/elementwise/map_unary.h"

namespace nonet::NONET_CUDA_NS {

namespace {

// Calls body with the map of op.
template <class Body>
void visit_smooth(Unary op, const Body& body) {
  switch (op) {
    case Unary::neg:
      return body(Neg{});
    case Unary::abs:
      return body(Abs{});
    case Unary::exp:
      return body(Exp{});
    case Unary::expm1:
      return body(Expm1{});
    case Unary::log:
      return body(Log{});
    case Unary::log1p:
      return body(Log1p{});
    case Unary::log2:
      return body(Log2{});
    case Unary::sqrt:
      return body(Sqrt{});
    case Unary::rsqrt:
      return body(Rsqrt{});
    case Unary::square:
      return body(Square{});
    case Unary::reciprocal:
      return body(Reciprocal{});
    case Unary::sin:
      return body(Sin{});
    case Unary::cos:
      return body(Cos{});
    case Unary::tanh:
      return body(Tanh{});
    case Unary::sigmoid:
      return body(Sigmoid{});
    case Unary::erf:
      return body(Erf{});
    default:
      return body(Clamp{});
  }
}
template <class Body>
void visit_map(Unary op, const Body& body) {
  switch (op) {
    case Unary::floor:
      return body(Floor{});
    case Unary::ceil:
      return body(Ceil{});
    case Unary::round:
      return body(Round{});
    case Unary::trunc:
      return body(Trunc{});
    case Unary::sign:
      return body(Sign{});
    default:
      return visit_smooth(op, body);
  }
}

void map(Stream stream, Unary op, DType dtype, const void* x, void* y, int64_t n, MapNumbers numbers) {
  visit_map(op, [&](auto f) { run_forward<decltype(f)>(stream, dtype, x, y, n, numbers); });
}

void gradient(Stream stream, Unary op, DType dtype, const void* dy, const void* s, void* dx, int64_t n,
              MapNumbers numbers) {
  visit_smooth(op, [&](auto f) { run_backward<decltype(f)>(stream, dtype, dy, s, dx, n, numbers); });
}

template <class T>
struct IntegerMap {
  NONET_DEVICE void operator()(const T* x, T* y, int64_t n, Unary op) const {
    map_elements(n, [op](T v) { return integer_map(op, v); }, y, x);
  }
};

void map_integers(Stream stream, Unary op, DType dtype, const void* x, void* y, int64_t n) {
  visit(dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool>) {
      run_elements(stream, n, IntegerMap<T>{}, static_cast<const T*>(x), static_cast<T*>(y), n, op);
    }
  });
}

template <class T>
struct Tested {
  NONET_DEVICE void operator()(const T* x, bool* y, int64_t n, Test test) const {
    const auto holds = [test](T element) {
      float v = 0;
      if constexpr (std::is_integral_v<T>) {
        v = element == T{0} ? 0.f : 1.f;
      } else {
        v = as_float(element);
      }
      switch (test) {
        case Test::is_nan:
          return v != v;
        case Test::is_inf:
          return fabsf(v) == INFINITY;
        case Test::is_finite:
          return fabsf(v) < INFINITY;
        default:
          return v == 0.f;
      }
    };
    map_elements(n, holds, y, x);
  }
};

void test(Stream stream, Test test, DType dtype, const void* x, void* y, int64_t n) {
  visit(dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    run_elements(stream, n, Tested<T>{}, static_cast<const T*>(x), static_cast<bool*>(y), n, test);
  });
}

struct Invert {
  NONET_DEVICE void operator()(const uint8_t* x, uint8_t* y, int64_t n) const {
    map_elements(n, [](uint8_t v) { return static_cast<uint8_t>(~v); }, y, x);
  }
};

void invert(Stream stream, const void* x, void* y, int64_t bytes) {
  run_elements(stream, bytes, Invert{}, static_cast<const uint8_t*>(x), static_cast<uint8_t*>(y), bytes);
}

}  // namespace

NONET_DEVICE_TABLE(UnaryDevice, simt, {map, gradient, map_integers, test, invert});

}  // namespace nonet::NONET_CUDA_NS
