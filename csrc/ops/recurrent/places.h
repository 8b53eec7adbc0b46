// Where sequences and steps lie, for the passes of the CPU and of GPUs. Included behind simd/vec.h or cuda/scalar.cuh.
#pragma once

#include "ops/recurrent/recurrent.h"

// Of functions that belong to an object, and ahead of loops over gates.
#ifdef NONET_DEVICE
#define NONET_MEMBER NONET_DEVICE
#define NONET_EACH_GATE NONET_UNROLL
#else
#define NONET_MEMBER inline
#define NONET_EACH_GATE _Pragma("GCC unroll 4")
#endif

namespace nonet::NONET_NS {

NONET_INLINE int64_t first_row(const Steps& at, int64_t step) {
  return at.first == nullptr ? step * at.step : at.first[step];
}
NONET_INLINE int64_t live_at(const Steps& at, int64_t step) {
  return at.live == nullptr ? at.batch : at.live[step];
}
NONET_INLINE int64_t state_of(const Steps& at, int64_t sequence) {
  return at.number == nullptr ? sequence : at.number[sequence];
}

// Distance of the rows of a product's left side in floats: never a multiple of 4 KB, whose lines would all fall into
// the same few places of the first cache.
NONET_INLINE int64_t padded(int64_t k) {
  const int64_t whole = (k + 15) / 16 * 16;
  return whole % 512 == 0 ? whole + 16 : whole;
}

struct Range {
  int64_t begin, end;
};

}  // namespace nonet::NONET_NS
