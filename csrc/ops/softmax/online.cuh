// The sum of exp(x - m) beside the largest x so far, m, in one pass (Milakov & Gimelshein, "Online normalizer
// calculation for softmax", 2018). Two such states of parts make that of the whole.
#pragma once

#include <cmath>

#include "cuda/prim.cuh"

namespace nonet::NONET_CUDA_NS {

struct SoftmaxState {
  float largest;
  float total;  // NaN if an element is

  // exp(x - m), 1 where both are the same infinity.
  static NONET_DEVICE float ratio(float x, float m) { return x == m ? 1.f : expf(x - m); }

  // The sum, as two passes would find it: NaN where the largest element is infinite.
  NONET_DEVICE float normalizer() const { return total + (largest - largest); }

  NONET_DEVICE void take(float x) {
    const float e = x == largest ? 1.f : expf(-fabsf(x - largest));
    total = x > largest ? fmaf(total, e, 1.f) : total + e;
    largest = x > largest ? x : largest;
  }

  // What a rule of ops/reduce/fold.cuh wants of it.
  struct Rule {
    using State = SoftmaxState;
    NONET_DEVICE SoftmaxState identity() const { return {-INFINITY, 0.f}; }
    NONET_DEVICE SoftmaxState join(SoftmaxState a, SoftmaxState b) const {
      const float m = a.largest > b.largest ? a.largest : b.largest;
      return {m, a.total * ratio(a.largest, m) + b.total * ratio(b.largest, m)};
    }
  };
};

}  // namespace nonet::NONET_CUDA_NS
