#include "ops/elementwise/integer.h"

#include "ops/elementwise/integer_maps.h"

namespace nonet {

namespace {

template <class T, class Y, class Op>
void loop(const void* x_, int64_t x_step, const void* z_, int64_t z_step, void* y_, int64_t n, const Op& op) {
  const T* x = static_cast<const T*>(x_);
  const T* z = static_cast<const T*>(z_);
  Y* y = static_cast<Y*>(y_);
  if (x_step == 1 && z_step == 1) {
    for (int64_t i = 0; i < n; ++i) y[i] = op(x[i], z[i]);
  } else {
    for (int64_t i = 0; i < n; ++i) y[i] = op(x[i * x_step], z[i * z_step]);
  }
}

// Calls run(function of two T) with what op means on integers.
template <class T, class Run>
void with_arithmetic(Binary op, const Run& run) {
  switch (op) {
    case Binary::add:
      return run([](T x, T z) { return wrapped(x, z, [](auto a, auto b) { return a + b; }); });
    case Binary::sub:
      return run([](T x, T z) { return wrapped(x, z, [](auto a, auto b) { return a - b; }); });
    case Binary::mul:
      return run([](T x, T z) { return wrapped(x, z, [](auto a, auto b) { return a * b; }); });
    case Binary::pow:
      return run([](T x, T z) { return power(x, z); });
    case Binary::maximum:
      return run([](T x, T z) { return x > z ? x : z; });
    case Binary::minimum:
      return run([](T x, T z) { return x < z ? x : z; });
    case Binary::remainder:
      return run([](T x, T z) { return floor_remainder(x, z); });
    case Binary::floor_divide:
      return run([](T x, T z) { return floor_quotient(x, z); });
    case Binary::bitwise_and:
      return run([](T x, T z) { return static_cast<T>(x & z); });
    case Binary::bitwise_or:
      return run([](T x, T z) { return static_cast<T>(x | z); });
    default:
      return run([](T x, T z) { return static_cast<T>(x ^ z); });
  }
}

template <class T, class Run>
void with_predicate(Binary op, const Run& run) {
  switch (op) {
    case Binary::eq:
      return run([](T x, T z) { return x == z; });
    case Binary::ne:
      return run([](T x, T z) { return x != z; });
    case Binary::lt:
      return run([](T x, T z) { return x < z; });
    case Binary::le:
      return run([](T x, T z) { return x <= z; });
    case Binary::gt:
      return run([](T x, T z) { return x > z; });
    case Binary::ge:
      return run([](T x, T z) { return x >= z; });
    case Binary::logical_and:
      return run([](T x, T z) { return x != 0 && z != 0; });
    case Binary::logical_or:
      return run([](T x, T z) { return x != 0 || z != 0; });
    default:
      return run([](T x, T z) { return (x != 0) != (z != 0); });
  }
}

}  // namespace

// What arithmetic means on truth values, which are bytes of 0 and 1.
Binary on_bool(Binary op) {
  switch (op) {
    case Binary::add:
    case Binary::maximum:
      return Binary::bitwise_or;
    case Binary::mul:
    case Binary::minimum:
      return Binary::bitwise_and;
    default:
      return op;
  }
}

void integer_run(Binary op, DType dtype, const void* x, int64_t x_step, const void* z, int64_t z_step, void* y,
                 int64_t n) {
  const auto typed = [&](auto type) {
    using T = typename decltype(type)::type;
    if (gives_bool(op)) {
      with_predicate<T>(op, [&](const auto& f) { loop<T, bool>(x, x_step, z, z_step, y, n, f); });
    } else {
      with_arithmetic<T>(op, [&](const auto& f) { loop<T, T>(x, x_step, z, z_step, y, n, f); });
    }
  };
  switch (dtype) {
    case DType::int64:
      return typed(Type<int64_t>{});
    case DType::int32:
      return typed(Type<int32_t>{});
    case DType::boolean:
      op = on_bool(op);
      return typed(Type<uint8_t>{});
    default:
      return typed(Type<uint8_t>{});
  }
}

void check_integer(Binary op, DType dtype, const Array& x, const Array& z) {
  const bool divides = op == Binary::remainder || op == Binary::floor_divide;
  check<TypeError>(dtype != DType::boolean || !(op == Binary::sub || op == Binary::pow || divides), name(op),
                   ": not defined for two bool tensors");
  if ((!divides && op != Binary::pow) || z.device() != Device::cpu) return;
  bool ok = true;
  visit(z.dtype(), [&](auto type) {
    using T = typename decltype(type)::type;
    if constexpr (std::is_integral_v<T>) {
      const T* p = z.raw<T>();
      // A negative power is an error only as a number: in an array it gives what rounding towards 0 gives.
      if (divides) {
        for (int64_t i = 0; i < z.numel(); ++i) ok &= p[i] != T{0};
      } else if constexpr (std::is_signed_v<T>) {
        ok = z.rank() > 0 || p[0] >= 0;
      }
    }
  });
  check(ok || x.numel() == 0, name(op),
        divides ? ": division of integers by zero" : ": an integer to a negative power");
}

}  // namespace nonet
