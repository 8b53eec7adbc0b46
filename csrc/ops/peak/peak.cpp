#include "ops/peak/peak.h"

#include <vector>

#include "array/array.h"
#include "base/threads.h"

namespace nonet {

namespace {

void check_threads(int64_t threads, const char* op) {
  check(threads >= 1 && threads <= num_threads(), op, ": threads must be from 1 to ", num_threads(), ", got ", threads);
}

// Floats per thread.
int64_t check_memory(const Array& x, int64_t repeats, int64_t threads, const char* op) {
  check_threads(threads, op);
  check(repeats >= 1, op, ": repeats must be at least 1, got ", repeats);
  check<TypeError>(x.dtype() == DType::float32, op, ": arrays must be float32, got ", name(x.dtype()));
  check(x.numel() > 0 && x.numel() % (peak_unit * threads) == 0, op, ": the size must be a multiple of ",
        peak_unit * threads, " (", peak_unit, " per thread), got ", x.numel());
  return x.numel() / threads;
}

double total(const std::vector<double>& parts) {
  double sum = 0;
  for (const double part : parts) sum += part;
  return sum;
}

}  // namespace

int64_t peak_fma(int64_t iterations, int64_t threads) {
  check_threads(threads, "peak_fma");
  check(iterations >= 1, "peak_fma: iterations must be at least 1, got ", iterations);
  const PeakKernels& kernels = peak_kernels();
  std::vector<double> sums(threads);
  parallel_blocks(threads, [&](int64_t block) { sums[block] = kernels.fma(iterations, -1.f, 1.f); });
  const double want = kernels.fma(0, -1.f, 1.f) * static_cast<double>(threads);
  check<RuntimeError>(total(sums) == want, "peak_fma: the registers must sum to ", want, ", got ", total(sums));
  return iterations * threads * kernels.flops;
}

double peak_read(const Array& x, int64_t repeats, int64_t threads) {
  const int64_t n = check_memory(x, repeats, threads, "peak_read");
  const float* data = x.data<float>();
  const PeakKernels& kernels = peak_kernels();
  std::vector<double> sums(threads);
  parallel_blocks(threads, [&](int64_t block) { sums[block] = kernels.read(data + block * n, n, repeats); });
  return total(sums);
}

void peak_copy(const Array& x, const Array& y, int64_t repeats, int64_t threads) {
  const int64_t n = check_memory(x, repeats, threads, "peak_copy");
  check<TypeError>(y.dtype() == DType::float32, "peak_copy: arrays must be float32, got ", name(y.dtype()));
  check(y.numel() == x.numel(), "peak_copy: both arrays must have one size, got ", x.numel(), " and ", y.numel());
  y.begin_write("peak_copy");
  const float* from = x.data<float>();
  float* to = y.data<float>();
  check(from != to, "peak_copy: the arrays must not share memory");
  const PeakKernels& kernels = peak_kernels();
  parallel_blocks(threads, [&](int64_t block) { kernels.copy(from + block * n, to + block * n, n, repeats); });
}

}  // namespace nonet
