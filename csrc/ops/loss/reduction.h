#pragma once

#include "base/kernel.h"

namespace nonet {

// How a loss per element or per position becomes the result.
enum class Reduction { none, mean, sum };

// Sums on a device run in float64 over blocks of this many elements, dealt out to no more parts than that, which are
// then added by a fixed tree.
inline constexpr int64_t loss_block = 4096;
inline constexpr int64_t most_loss_parts = 1024;

struct LossDevice {
  static constexpr const char* name = "loss";

  // out [1] = sum of n values / divisor, where *weight, if not null, is multiplied onto the divisor. parts: scratch of
  // loss_parts(n) (common.h).
  void (*total)(Stream, const float* values, int64_t n, double divisor, const double* weight, double* parts,
                float* out);
  // out [1] = sum of weight[t] (null: ones) over the n targets that are not `ignore`; those outside [0, classes) count
  // as 1 without weights and make the sum NaN with them.
  void (*target_weight)(Stream, const int64_t* target, const float* weight, int64_t ignore, int64_t classes, int64_t n,
                        double* parts, double* out);
};

}  // namespace nonet
