// Mean and variance in one pass: sums of distances from one of the elements, in float64. That one is at most sqrt(n)
// deviations from the mean, so the difference of the sums has a relative error of n 2^-53 at most.
#pragma once

#include <cmath>

#include "cuda/prim.cuh"

namespace nonet::NONET_CUDA_NS {

struct Distances {
  double sum;
  double squares;

  // What distances are taken from: an element, unless it is NaN or infinite.
  static NONET_DEVICE double origin(float x) { return fabsf(x) < INFINITY ? x : 0.f; }

  NONET_DEVICE void take(float x, double origin) {
    const double distance = x - origin;
    sum += distance;
    squares = ::fma(distance, distance, squares);
  }
  NONET_DEVICE double mean(double n, double origin) const { return origin + sum / n; }
  NONET_DEVICE double squares_about_mean(double n) const {
    const double out = squares - sum * (sum / n);
    return out < 0. ? 0. : out;
  }

  // What a rule of fold.cuh wants of it.
  struct Rule {
    using State = Distances;
    NONET_DEVICE Distances identity() const { return {0, 0}; }
    NONET_DEVICE Distances join(Distances a, Distances b) const { return {a.sum + b.sum, a.squares + b.squares}; }
  };
};

}  // namespace nonet::NONET_CUDA_NS
