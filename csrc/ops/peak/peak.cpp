#include "ops/peak/peak.h"

#include <vector>

#include "array/array.h"
#include "base/isa.h"
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

// work(iterations) on every thread; the registers must end up as they do without an iteration.
template <class Work>
void run_checked(int64_t iterations, int64_t threads, const char* op, const Work& work) {
  check_threads(threads, op);
  check(iterations >= 1, op, ": iterations must be at least 1, got ", iterations);
  std::vector<double> sums(threads);
  parallel_blocks(threads, [&](int64_t block) { sums[block] = work(iterations); });
  const double want = work(0) * static_cast<double>(threads);
  check<RuntimeError>(total(sums) == want, op, ": the registers must sum to ", want, ", got ", total(sums));
}

}  // namespace

int64_t peak_fma(int64_t iterations, int64_t threads) {
  const PeakKernels& kernels = peak_kernels();
  run_checked(iterations, threads, "peak_fma", [&](int64_t count) { return kernels.fma(count, -1.f, 1.f); });
  return iterations * threads * kernels.flops;
}

namespace {

int64_t peak_of(const ProductPeakKernels& kernels, int64_t iterations, int64_t threads, const char* op) {
  run_checked(iterations, threads, op, kernels.dots);
  return iterations * threads * kernels.flops;
}

}  // namespace

int64_t peak_amx([[maybe_unused]] int64_t iterations, [[maybe_unused]] int64_t threads) {
  check<RuntimeError>(detected_isa() == Isa::amx, "peak_amx: needs AMX tiles, this machine has ", name(detected_isa()));
#if defined(__x86_64__)
  return peak_of(avx512::tile_peak_kernels, iterations, threads, "peak_amx");
#else
  return 0;
#endif
}

int64_t peak_dot([[maybe_unused]] int64_t iterations, [[maybe_unused]] int64_t threads) {
  check<RuntimeError>(detected_isa() >= Isa::avx512_bf16, "peak_dot: needs AVX512_BF16, this machine has ",
                      name(detected_isa()));
#if defined(__x86_64__)
  return peak_of(avx512::dot_peak_kernels, iterations, threads, "peak_dot");
#else
  return 0;
#endif
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
