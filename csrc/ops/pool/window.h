// Where the windows of pooling lie: arithmetic that the CPU's sources and GPU kernels share. Not for *.simd.cpp.
#pragma once

#include "ops/pool/pool.h"

namespace nonet {

template <class I>
struct PoolSpan {
  I begin, end;
};

template <class I>
constexpr I smaller(I a, I b) {
  return a < b ? a : b;
}

// The inputs of output o, step a.dilation. Axis: PoolAxis, or a struct of its numbers in type I.
template <class I, class Axis>
constexpr PoolSpan<I> pool_window(const Axis& a, I o) {
  const I n = static_cast<I>(a.n);
  if (a.adaptive) {
    const I m = static_cast<I>(a.m);
    return {o * n / m, ((o + 1) * n + m - 1) / m};
  }
  const I d = static_cast<I>(a.dilation);
  const I from = o * static_cast<I>(a.stride) - static_cast<I>(a.padding);
  const I begin = from >= 0 ? from : (d == 1 ? I{0} : from + (-from + d - 1) / d * d);
  const I end = smaller<I>(from + (static_cast<I>(a.kernel) - 1) * d + 1, n);
  if (begin < end) return {begin, end};
  // A dilated window in the padding throughout: empty, at a valid position.
  return {smaller<I>(begin, n - 1), smaller<I>(begin, n - 1)};
}

// What the sum over a window along this axis is divided by.
template <class I, class Axis>
constexpr float pool_count(const Axis& a, I o, const PoolSpan<I>& window) {
  if (a.divisor != 0) return a.divisor;
  if (a.adaptive || !a.include_pad) return static_cast<float>(window.end - window.begin);
  const I from = o * static_cast<I>(a.stride) - static_cast<I>(a.padding);
  const I limit = static_cast<I>(a.n) + static_cast<I>(a.padding);
  return static_cast<float>(smaller<I>(from + static_cast<I>(a.kernel), limit) - from);
}

}  // namespace nonet
