// Division by numbers that all threads of a launch share: what decoding a flat index into coordinates costs.
#pragma once

#include <limits>

#include "cuda/prim.cuh"

namespace nonet::NONET_CUDA_NS {

// Divisor<int32_t> d: d.quotient(n) = n / d for 0 <= n < 2^31, d > 0, as a multiplication and a shift (Granlund &
// Montgomery, "Division by invariant integers using multiplication", PLDI 1994). Making one divides.
// Divisor<int64_t> divides.
template <class I>
struct Divisor;

template <>
struct Divisor<int32_t> {
  int32_t value;
  uint32_t multiplier;
  int shift;

  Divisor() = default;
  constexpr explicit Divisor(int64_t d) : value(static_cast<int32_t>(d > 0 ? d : 1)), multiplier(0), shift(0) {
    while (int64_t{1} << shift < value) ++shift;
    const uint64_t more = (uint64_t{1} << shift) - static_cast<uint64_t>(value);
    multiplier = static_cast<uint32_t>((more << 32) / static_cast<uint64_t>(value) + 1);
  }
  NONET_DEVICE int32_t quotient(int32_t n) const {
    const auto u = static_cast<uint32_t>(n);
    return static_cast<int32_t>((multiply_high(u, multiplier) + u) >> shift);
  }
};

template <>
struct Divisor<int64_t> {
  int64_t value;

  Divisor() = default;
  constexpr explicit Divisor(int64_t d) : value(d > 0 ? d : 1) {}
  NONET_DEVICE int64_t quotient(int64_t n) const { return n / value; }
};

// Calls body with an int32_t if all indices up to n fit into it, else with an int64_t: body(auto index).
template <class Body>
void visit_index(int64_t n, const Body& body) {
  if (n < std::numeric_limits<int32_t>::max()) {
    body(int32_t{});
  } else {
    body(int64_t{});
  }
}

}  // namespace nonet::NONET_CUDA_NS
