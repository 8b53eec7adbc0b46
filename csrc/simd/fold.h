// Reductions of a contiguous range by a fixed tree: runs of 64 vectors in four accumulators, then halves. A sum of n
// terms so has a rounding error that grows with log n, and it depends on nothing but the values and the vector width.
#pragma once

#include "simd/vec.h"

namespace nonet::NONET_NS {

struct Add {
  static constexpr float identity = 0.f;
  template <class T>
  NONET_INLINE T apply(T a, T b) {
    return a + b;
  }
};
struct Multiply {
  static constexpr float identity = 1.f;
  template <class T>
  NONET_INLINE T apply(T a, T b) {
    return a * b;
  }
};
// NaN in either operand gives NaN.
struct Maximum {
  static constexpr float identity = -__builtin_inff();
  NONET_INLINE F apply(F a, F b) { return maximum(a, b); }
  NONET_INLINE float apply(float a, float b) { return a > b || a != a ? a : b; }
};
struct Minimum {
  static constexpr float identity = __builtin_inff();
  NONET_INLINE F apply(F a, F b) { return minimum(a, b); }
  NONET_INLINE float apply(float a, float b) { return a < b || a != a ? a : b; }
};

// Op over term(i, lanes), the vector of the terms from i, for i in [begin, end); the lanes hold partial results.
template <class Op, class Term>
static F fold_lanes(int64_t begin, int64_t end, const Term& term) {
  constexpr int64_t run = 64 * width;
  const int64_t runs = (end - begin + run - 1) / run;
  if (runs > 1) {
    const int64_t middle = begin + runs / 2 * run;
    return Op::apply(fold_lanes<Op>(begin, middle, term), fold_lanes<Op>(middle, end, term));
  }
  F a = broadcast(Op::identity);
  F b = a;
  F c = a;
  F d = a;
  int64_t i = begin;
  for (; i + 4 * width <= end; i += 4 * width) {
    a = Op::apply(a, term(i, width));
    b = Op::apply(b, term(i + width, width));
    c = Op::apply(c, term(i + 2 * width, width));
    d = Op::apply(d, term(i + 3 * width, width));
  }
  for (; i + width <= end; i += width) a = Op::apply(a, term(i, width));
  if (i < end) b = Op::apply(b, keep_lanes(term(i, end - i), end - i, Op::identity));
  return Op::apply(Op::apply(a, b), Op::apply(c, d));
}

template <class Op, class Term>
NONET_INLINE float fold_range(int64_t begin, int64_t end, const Term& term) {
  return fold(fold_lanes<Op>(begin, end, term), [](float a, float b) { return Op::apply(a, b); });
}

}  // namespace nonet::NONET_NS
