// Integer arithmetic without undefined cases, for the CPU and for GPUs.
#pragma once

#include <type_traits>

#include "ops/elementwise/elementwise.h"

namespace nonet {

// Signed overflow is undefined in C++; unsigned arithmetic wraps.
template <class T, class Op>
constexpr T wrapped(T x, T z, const Op& op) {
  using U = std::make_unsigned_t<T>;
  return static_cast<T>(op(static_cast<U>(x), static_cast<U>(z)));
}

template <class T>
constexpr T power(T x, T z) {
  if constexpr (std::is_signed_v<T>) {
    if (z < 0) return x == 1 ? 1 : (x == -1 ? (z % 2 == 0 ? 1 : -1) : 0);
  }
  T out = 1;
  for (; z > 0; z = static_cast<T>(z / 2)) {
    if (z % 2 != 0) out = wrapped(out, x, [](auto a, auto b) { return a * b; });
    x = wrapped(x, x, [](auto a, auto b) { return a * b; });
  }
  return out;
}

template <class T>
constexpr T floor_quotient(T x, T z) {
  if constexpr (std::is_signed_v<T>) {
    if (z == -1) return wrapped(T{0}, x, [](auto a, auto b) { return a - b; });  // the lowest number has no negative
    return static_cast<T>(x / z - (x % z != 0 && (x < 0) != (z < 0) ? 1 : 0));
  } else {
    return static_cast<T>(x / z);
  }
}

template <class T>
constexpr T floor_remainder(T x, T z) {
  if constexpr (std::is_signed_v<T>) {
    if (z == -1) return 0;
    const T r = static_cast<T>(x % z);
    return r != 0 && (r < 0) != (z < 0) ? static_cast<T>(r + z) : r;
  } else {
    return static_cast<T>(x % z);
  }
}

// For kernels that look at the op per element.
template <class T>
constexpr T integer_arithmetic(Binary op, T x, T z) {
  switch (op) {
    case Binary::add:
      return wrapped(x, z, [](auto a, auto b) { return a + b; });
    case Binary::sub:
      return wrapped(x, z, [](auto a, auto b) { return a - b; });
    case Binary::mul:
      return wrapped(x, z, [](auto a, auto b) { return a * b; });
    case Binary::pow:
      return power(x, z);
    case Binary::maximum:
      return x > z ? x : z;
    case Binary::minimum:
      return x < z ? x : z;
    case Binary::remainder:
      return z == 0 ? T{0} : floor_remainder(x, z);
    case Binary::floor_divide:
      return z == 0 ? T{0} : floor_quotient(x, z);
    case Binary::bitwise_and:
      return static_cast<T>(x & z);
    case Binary::bitwise_or:
      return static_cast<T>(x | z);
    default:
      return static_cast<T>(x ^ z);
  }
}

template <class T>
constexpr bool integer_predicate(Binary op, T x, T z) {
  switch (op) {
    case Binary::eq:
      return x == z;
    case Binary::ne:
      return x != z;
    case Binary::lt:
      return x < z;
    case Binary::le:
      return x <= z;
    case Binary::gt:
      return x > z;
    case Binary::ge:
      return x >= z;
    case Binary::logical_and:
      return x != 0 && z != 0;
    case Binary::logical_or:
      return x != 0 || z != 0;
    default:
      return (x != 0) != (z != 0);
  }
}

template <class T>
constexpr bool is_negative(T x) {
  if constexpr (std::is_signed_v<T>) return x < 0;
  return false;
}

template <class T>
constexpr T integer_map(Unary op, T x) {
  // Unsigned arithmetic in 64 bits: no overflow that C++ leaves undefined, and the low bits are the wrapped result.
  const uint64_t wide = static_cast<uint64_t>(x);
  switch (op) {
    case Unary::neg:
      return static_cast<T>(-wide);
    case Unary::abs:
      return is_negative(x) ? static_cast<T>(-wide) : x;
    case Unary::square:
      return static_cast<T>(wide * wide);
    case Unary::sign:
      return is_negative(x) ? static_cast<T>(-1) : static_cast<T>(x != 0);
    default:
      return x;
  }
}

}  // namespace nonet
