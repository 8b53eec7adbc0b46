#include <iterator>

#include "array/launch.h"
#include "ops/elementwise/elementwise.h"
#include "ops/elementwise/integer_maps.h"

namespace nonet {

namespace {

constexpr int64_t grain = 32768;  // elements per block

constexpr const char* names[] = {"neg",   "abs",    "exp",        "expm1", "log",   "log1p", "log2",    "sqrt",
                                 "rsqrt", "square", "reciprocal", "sin",   "cos",   "tanh",  "sigmoid", "erf",
                                 "clamp", "floor",  "ceil",       "round", "trunc", "sign"};
static_assert(std::size(names) == static_cast<size_t>(Unary::count));

bool keeps_integers(Unary op) {
  switch (op) {
    case Unary::neg:
    case Unary::abs:
    case Unary::square:
    case Unary::floor:
    case Unary::ceil:
    case Unary::round:
    case Unary::trunc:
    case Unary::sign:
      return true;
    default:
      return false;
  }
}

Array integer_unary(Unary op, const Array& x) {
  check<TypeError>(x.dtype() != DType::boolean, name(op), ": not defined for bool");
  Array y = empty_like(x);
  if (x.device() != Device::cpu) {
    on_device(&UnaryDevice::map_integers, name(op), y, op, x.dtype(), x, y, x.numel());
    return y;
  }
  visit(x.dtype(), [&](auto type) {
    using T = typename decltype(type)::type;
    if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool>) {
      const T* from = x.raw<T>();
      T* to = y.raw<T>();
      parallel_for(x.numel(), grain, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) to[i] = integer_map(op, from[i]);
      });
    }
  });
  return y;
}

// A bool of every element of any dtype.
template <class Holds>
Array tested(Test test, const char* op, const Array& x, const Holds& holds) {
  Array y(x.shape(), DType::boolean, x.format(), x.device());
  if (x.device() != Device::cpu) {
    on_device(&UnaryDevice::test, op, y, test, x.dtype(), x, y, x.numel());
    return y;
  }
  bool* to = y.raw<bool>();
  visit(x.dtype(), [&](auto type) {
    using T = typename decltype(type)::type;
    const T* from = x.raw<T>();
    parallel_for(x.numel(), grain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        if constexpr (std::is_same_v<T, bfloat16>) {
          to[i] = holds(to_float(from[i]));
        } else {
          to[i] = holds(from[i]);
        }
      }
    });
  });
  return y;
}

}  // namespace

const char* name(Unary op) {
  return names[static_cast<int>(op)];
}

Array map_array(const UnaryKernel& kernel, const Array& x, const MapNumbers& numbers, const char* op) {
  check_on_cpu(x, op);
  Array y = empty_like(x);
  const int64_t size = item_size(x.dtype());
  const UnaryMap map = kernel.map[x.dtype() == DType::bfloat16];
  parallel_for(x.numel(), grain, [&](int64_t begin, int64_t end) {
    map(x.raw<char>() + begin * size, y.raw<char>() + begin * size, end - begin, numbers);
  });
  return y;
}

Array map_gradient(const UnaryKernel& kernel, const Array& dy, const Array& saved, const MapNumbers& numbers,
                   const char* op) {
  check_on_cpu(saved, op);
  check_shape(dy, saved.shape(), op, "gradient", "[like the output]");
  const Array g = dy.to(saved.dtype()).to_format(saved.format());
  Array dx = empty_like(saved);
  const int64_t size = item_size(saved.dtype());
  const UnaryGradient gradient = kernel.gradient[saved.dtype() == DType::bfloat16];
  parallel_for(dx.numel(), grain, [&](int64_t begin, int64_t end) {
    gradient(g.raw<char>() + begin * size, saved.raw<char>() + begin * size, dx.raw<char>() + begin * size, end - begin,
             numbers);
  });
  return dx;
}

Array unary(Unary op, const Array& x, MapNumbers numbers) {
  if (!is_floating(x.dtype())) {
    return keeps_integers(op) ? integer_unary(op, x) : unary(op, x.to(DType::float32), numbers);
  }
  if (x.device() != Device::cpu) {
    const Array y = empty_like(x);
    on_device(&UnaryDevice::map, name(op), y, op, x.dtype(), x, y, x.numel(), numbers);
    return y;
  }
  return map_array(unary_kernels().op[static_cast<int>(op)], x, numbers, name(op));
}

Array unary_gradient(Unary op, const Array& dy, const Array& saved, MapNumbers numbers) {
  if (saved.device() != Device::cpu) {
    check_shape(dy, saved.shape(), name(op), "gradient", "[like the output]");
    const Array g = dy.to(saved.dtype()).to_format(saved.format());
    const Array dx = empty_like(saved);
    on_device(&UnaryDevice::gradient, name(op), dx, op, saved.dtype(), g, saved, dx, dx.numel(), numbers);
    return dx;
  }
  return map_gradient(unary_kernels().op[static_cast<int>(op)], dy, saved, numbers, name(op));
}

Array is_nan(const Array& x) {
  return tested(Test::is_nan, "isnan", x, [](auto v) { return v != v; });
}

Array is_inf(const Array& x) {
  return tested(Test::is_inf, "isinf", x, [](auto v) {
    if constexpr (std::is_same_v<decltype(v), float>) return __builtin_isinf(v) != 0;
    return false;
  });
}

Array is_finite(const Array& x) {
  return tested(Test::is_finite, "isfinite", x, [](auto v) {
    if constexpr (std::is_same_v<decltype(v), float>) return __builtin_isfinite(v) != 0;
    return true;
  });
}

Array logical_not(const Array& x) {
  return tested(Test::is_zero, "logical_not", x, [](auto v) { return v == decltype(v){0}; });
}

Array bitwise_not(const Array& x) {
  check<TypeError>(!is_floating(x.dtype()), "bitwise_not: not defined for ", x.dtype());
  if (x.dtype() == DType::boolean) return logical_not(x);
  Array y = empty_like(x);
  if (x.device() != Device::cpu) {
    on_device(&UnaryDevice::invert, "bitwise_not", y, x, y, x.bytes());
    return y;
  }
  const auto* from = x.raw<uint8_t>();
  auto* to = y.raw<uint8_t>();
  for (int64_t i = 0; i < x.bytes(); ++i) to[i] = static_cast<uint8_t>(~from[i]);
  return y;
}

}  // namespace nonet
