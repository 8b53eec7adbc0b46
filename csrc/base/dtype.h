// Element types and their dispatch.
#pragma once

#include <cstring>
#include <ostream>

#include "base/check.h"
#include "base/kernel.h"

namespace nonet {

template <class T>
struct Type {
  using type = T;
};

template <class T>
inline constexpr DType dtype_of = DType::float32;
template <>
inline constexpr DType dtype_of<bfloat16> = DType::bfloat16;
template <>
inline constexpr DType dtype_of<int64_t> = DType::int64;
template <>
inline constexpr DType dtype_of<int32_t> = DType::int32;
template <>
inline constexpr DType dtype_of<uint8_t> = DType::uint8;
template <>
inline constexpr DType dtype_of<bool> = DType::boolean;

const char* name(DType dtype);
DType dtype_from_name(const std::string& name);
std::ostream& operator<<(std::ostream& out, DType dtype);

constexpr int64_t item_size(DType dtype) {
  switch (dtype) {
    case DType::int64:
      return 8;
    case DType::float32:
    case DType::int32:
      return 4;
    case DType::bfloat16:
      return 2;
    default:
      return 1;
  }
}

constexpr bool is_floating(DType dtype) {
  return dtype == DType::float32 || dtype == DType::bfloat16;
}
constexpr bool is_integer(DType dtype) {
  return !is_floating(dtype) && dtype != DType::boolean;
}

// visit(dtype, [&](auto type) { using T = typename decltype(type)::type; … });
template <class Body>
decltype(auto) visit(DType dtype, Body&& body) {
  switch (dtype) {
    case DType::bfloat16:
      return body(Type<bfloat16>{});
    case DType::int64:
      return body(Type<int64_t>{});
    case DType::int32:
      return body(Type<int32_t>{});
    case DType::uint8:
      return body(Type<uint8_t>{});
    case DType::boolean:
      return body(Type<bool>{});
    default:
      return body(Type<float>{});
  }
}

// The same for what is_floating.
template <class Body>
decltype(auto) visit_floating(DType dtype, Body&& body) {
  if (dtype == DType::bfloat16) return body(Type<bfloat16>{});
  return body(Type<float>{});
}

inline float to_float(bfloat16 x) {
  const uint32_t bits = static_cast<uint32_t>(x.bits) << 16;
  float out;
  std::memcpy(&out, &bits, 4);
  return out;
}

// Rounds to nearest even; NaN stays a (quiet) NaN.
inline bfloat16 to_bfloat16(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  if (x != x) return {static_cast<uint16_t>((bits >> 16) | 0x40)};
  return {static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16)};
}

}  // namespace nonet
