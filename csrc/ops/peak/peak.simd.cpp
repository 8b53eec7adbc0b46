#include "ops/peak/peak.h"

#include "simd/vec.h"

namespace nonet::NONET_NS {

namespace {

// Enough chains for two units of four cycles, few enough for sixteen registers with the two constants.
constexpr int chains = 12;
constexpr int streams = 8;  // vectors per step of read and copy
static_assert(peak_unit % (streams * width) == 0);

double sum_of(const F* vectors, int count) {
  double out = 0;
  for (int i = 0; i < count; ++i) {
    for (int lane = 0; lane < width; ++lane) out += vectors[i][lane];
  }
  return out;
}

double fma_chains(int64_t iterations, float scale, float shift) {
  F x[chains];
  // Multiples of 2^-24 below 1, which 1 - x keeps: all bits of the fraction change with every operation.
  for (int i = 0; i < chains; ++i)
    x[i] = to_float((lane_numbers() + (width * i + 1)) * 0x10c7 & 0xffffff) * (1.f / (1 << 24));
  const F a = broadcast(scale), b = broadcast(shift);
  for (int64_t n = 0; n < iterations; ++n) {
#pragma GCC unroll 12
    for (int i = 0; i < chains; ++i) x[i] = fma(x[i], a, b);
#pragma GCC unroll 12
    for (int i = 0; i < chains; ++i) x[i] = fma(x[i], a, b);
  }
  return sum_of(x, chains);
}

double read(const float* x, int64_t n, int64_t repeats) {
  F total[streams] = {};
  for (int64_t r = 0; r < repeats; ++r) {
    for (int64_t i = 0; i < n; i += streams * width) {
#pragma GCC unroll 8
      for (int s = 0; s < streams; ++s) total[s] += load(x + i + s * width);
    }
    asm volatile("" ::: "memory");  // every repeat reads anew
  }
  return sum_of(total, streams);
}

void copy(const float* x, float* y, int64_t n, int64_t repeats) {
  for (int64_t r = 0; r < repeats; ++r) {
    for (int64_t i = 0; i < n; i += streams * width) {
#pragma GCC unroll 8
      for (int s = 0; s < streams; ++s) store(y + i + s * width, load(x + i + s * width));
      asm volatile("" ::: "memory");  // or the loop becomes a call of memcpy, which may go past the caches
    }
  }
}

}  // namespace

constinit const PeakKernels peak_kernels = {2 * 2 * chains * width, fma_chains, read, copy};

}  // namespace nonet::NONET_NS
