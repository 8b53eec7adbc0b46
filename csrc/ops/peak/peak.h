// What this machine can do at most: kernels that benchmarks measure others against. They compute nothing of use, but
// something that can be checked.
//
//   fma   x <- scale x + shift, twice per iteration, on independent registers; no memory is touched
//   amx   C += A B and C -= A B on matrix tiles of bfloat16; no memory is touched
//   dot   c += a b and c -= a b on pairs of bfloat16; no memory is touched
//   read  the sum of a range of floats, in float32
//   copy  y <- x
//
// A call splits its work evenly over `threads` blocks of the pool, each with its own part of the memory, and goes over
// it `repeats` times: a part that fits a cache level is read from that level. Roofline: Williams, Waterman & Patterson,
// "Roofline: an insightful visual performance model", CACM 2009.
#pragma once

#include "base/kernel.h"

namespace nonet {

class Array;

struct PeakKernels {
  int64_t flops;  // floating-point operations of one iteration of fma: two per multiply-add and lane
  // Returns the sum of all lanes. They start as fractions in (0, 1), with which scale -1 and shift 1 are exact: every
  // iteration ends where it began, whatever the count.
  double (*fma)(int64_t iterations, float scale, float shift);
  // n: a multiple of `peak_unit`.
  double (*read)(const float* x, int64_t n, int64_t repeats);
  void (*copy)(const float* x, float* y, int64_t n, int64_t repeats);
};
NONET_KERNELS(PeakKernels, peak_kernels);

struct ProductPeakKernels {
  int64_t flops;  // of one iteration: two per multiply-add
  // Returns the sum of all results. Iterations end where they began; one product more tells that products were taken.
  double (*dots)(int64_t iterations);
};
#if defined(__x86_64__)
namespace avx512 {
extern const ProductPeakKernels tile_peak_kernels;
extern const ProductPeakKernels dot_peak_kernels;
}  // namespace avx512
#endif

inline constexpr int64_t peak_unit = 128;  // floats: eight vectors of the widest instruction set

// Each thread runs `iterations`; returns the floating-point operations of all of them.
// Errors: ValueError unless iterations >= 1 and 1 <= threads <= num_threads(); RuntimeError if the registers end up
// with other numbers than they must.
int64_t peak_fma(int64_t iterations, int64_t threads);
// The same for tiles and for pairs, whichever instruction set is in use. Errors: RuntimeError too on a machine without
// them.
int64_t peak_amx(int64_t iterations, int64_t threads);
int64_t peak_dot(int64_t iterations, int64_t threads);

// x, y: float32 of any shape and one size, a multiple of peak_unit * threads. read returns the sum of what was read,
// over all repeats. Errors: ValueError, TypeError.
double peak_read(const Array& x, int64_t repeats, int64_t threads);
void peak_copy(const Array& x, const Array& y, int64_t repeats, int64_t threads);

}  // namespace nonet
