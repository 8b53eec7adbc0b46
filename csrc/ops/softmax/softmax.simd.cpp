#include "ops/softmax/softmax.h"

#include "simd/math.h"

namespace nonet::NONET_NS {

namespace {

constexpr int64_t grain = 8192;  // elements per block of rows

float row_maximum(const float* x, int64_t n) {
  F m = broadcast(-__builtin_inff());
  for_vectors(n, [&](int64_t i, int64_t lanes) {
    // Lanes beyond the row read as 0, which could exceed every element.
    m = maximum(lanes == width ? load(x + i) : keep_lanes(load(x + i, lanes), lanes, -__builtin_inff()), m);
  });
  return maximum(m);
}

void forward_row(const float* x, float* y, int64_t n, bool log) {
  const F m = broadcast(row_maximum(x, n));
  F total{};
  for_vectors(n, [&](int64_t i, int64_t lanes) {
    const F e = exp(load_lanes(x + i, lanes) - m);
    if (!log) store_lanes(y + i, e, lanes);
    total += lanes == width ? e : keep_lanes(e, lanes, 0.f);
  });
  if (log) {
    const F log_total = NONET_NS::log(broadcast(sum(total)));
    for_vectors(n, [&](int64_t i, int64_t lanes) {
      // In this order: m + log(total) would lose the digits of a small log(total) beside a large m.
      store_lanes(y + i, (load_lanes(x + i, lanes) - m) - log_total, lanes);
    });
  } else {
    const F scale = broadcast(1.f / sum(total));
    for_vectors(n, [&](int64_t i, int64_t lanes) { store_lanes(y + i, load_lanes(y + i, lanes) * scale, lanes); });
  }
}

void backward_row(const float* dy, const float* y, float* dx, int64_t n, bool log) {
  F total{};
  for_vectors(n, [&](int64_t i, int64_t lanes) {
    const F d = load_lanes(dy + i, lanes);
    total += log ? d : d * load_lanes(y + i, lanes);
  });
  const F s = broadcast(sum(total));
  for_vectors(n, [&](int64_t i, int64_t lanes) {
    const F d = load_lanes(dy + i, lanes);
    const F p = load_lanes(y + i, lanes);
    store_lanes(dx + i, log ? d - exp(p) * s : p * (d - s), lanes);
  });
}

void forward(const float* x, float* y, int64_t rows, int64_t n, bool log) {
  parallel_for(rows, 1 + grain / (n + 1), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) forward_row(x + r * n, y + r * n, n, log);
  });
}

void backward(const float* dy, const float* y, float* dx, int64_t rows, int64_t n, bool log) {
  parallel_for(rows, 1 + grain / (n + 1), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) backward_row(dy + r * n, y + r * n, dx + r * n, n, log);
  });
}

}  // namespace

constinit const SoftmaxKernels softmax_kernels = {forward, backward};

}  // namespace nonet::NONET_NS
