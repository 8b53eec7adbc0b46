#include "ops/loss/margin.h"

#include "simd/vec.h"

namespace nonet::NONET_NS {

namespace {

constexpr int64_t grain = 8192;  // elements per block of rows

void multi_margin_row(const float* x, int64_t t, const MarginTerms& terms, float* loss, float* dx, int64_t n) {
  const float share = (terms.weight == nullptr ? 1.f : terms.weight[t]) / n;
  const float offset = terms.margin - x[t];
  F total{};
  F slopes{};
  for_vectors(n, [&](int64_t c, int64_t lanes) {
    const F z = load_lanes(x + c, lanes) + offset;
    const I other = lane_numbers() != static_cast<int32_t>(t >= c && t < c + width ? t - c : -1);
    const I on = ~(z <= 0.f) & other & (lane_numbers() < static_cast<int32_t>(lanes));  // NaN counts
    const F value = terms.p == 1 ? z : z * z;
    const F slope = terms.p == 1 ? broadcast(1.f) : 2.f * z;
    total += on ? value : F{};
    slopes += on ? slope : F{};
    if (dx != nullptr) store_lanes(dx + c, on ? share * terms.scale * slope : F{}, lanes);
  });
  *loss = share * sum(total);
  if (dx != nullptr) dx[t] = -share * terms.scale * sum(slopes);
}

void multi_margin(const float* x, const int64_t* target, const MarginTerms& terms, float* loss, float* dx, int64_t rows,
                  int64_t n) {
  parallel_for(rows, 1 + grain / (n + 1), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      multi_margin_row(x + r * n, target[r], terms, loss + r, dx == nullptr ? nullptr : dx + r * n, n);
    }
  });
}

void multilabel_margin_row(const float* x, const int64_t* target, float scale, float* inside, float* loss, float* dx,
                           int64_t n) {
  __builtin_memset(inside, 0, n * sizeof(float));
  if (dx != nullptr) __builtin_memset(dx, 0, n * sizeof(float));
  for (int64_t k = 0; k < n && target[k] >= 0; ++k) inside[target[k]] = 1.f;
  const float share = 1.f / n;
  float result = 0;
  for (int64_t k = 0; k < n && target[k] >= 0; ++k) {
    const float offset = 1.f - x[target[k]];
    F total{};
    F count{};
    for_vectors(n, [&](int64_t c, int64_t lanes) {
      const F z = load_lanes(x + c, lanes) + offset;
      const I outside = (load_lanes(inside + c, lanes) == 0.f) & (lane_numbers() < static_cast<int32_t>(lanes));
      const I on = ~(z <= 0.f) & outside;
      const F one = on ? broadcast(1.f) : F{};
      total += on ? z : F{};
      count += one;
      if (dx != nullptr) store_lanes(dx + c, load_lanes(dx + c, lanes) + one * (share * scale), lanes);
    });
    result += sum(total);
    if (dx != nullptr) dx[target[k]] -= share * scale * sum(count);
  }
  *loss = share * result;
}

void multilabel_margin(const float* x, const int64_t* target, float scale, float* inside, float* loss, float* dx,
                       int64_t rows, int64_t n) {
  parallel_for(rows, 1 + grain / (n * n + 1), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      multilabel_margin_row(x + r * n, target + r * n, scale, inside + r * n, loss + r,
                            dx == nullptr ? nullptr : dx + r * n, n);
    }
  });
}

}  // namespace

constinit const MarginLossKernels margin_loss_kernels = {multi_margin, multilabel_margin};

}  // namespace nonet::NONET_NS
