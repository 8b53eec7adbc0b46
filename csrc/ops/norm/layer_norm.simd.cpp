#include "ops/norm/layer_norm.h"

#include "simd/fold.h"

namespace nonet::NONET_NS {

namespace {

constexpr int64_t grain = 16384;  // elements per block of rows

NONET_INLINE float inverse_root(float x) {
  return 1.f / __builtin_sqrtf(x);
}

template <bool centred>
void forward_row(const float* x, const float* gamma, const float* beta, float* y, float* mean, float* rstd, int64_t n,
                 float eps) {
  const float scale = 1.f / (float)n;
  F m{};
  if constexpr (centred) {
    *mean = fold_range<Add>(0, n, [&](int64_t i, int64_t lanes) { return load_lanes(x + i, lanes); }) * scale;
    m = broadcast(*mean);
  }
  const float squares = fold_range<Add>(0, n, [&](int64_t i, int64_t lanes) {
    const F v = load_lanes(x + i, lanes) - m;
    return v * v;
  });
  *rstd = inverse_root(squares * scale + eps);
  const F r = broadcast(*rstd);
  for_vectors(n, [&](int64_t i, int64_t lanes) {
    F h = (load_lanes(x + i, lanes) - m) * r;
    if (gamma != nullptr) h = h * load_lanes(gamma + i, lanes);
    if (beta != nullptr) h = h + load_lanes(beta + i, lanes);
    store_lanes(y + i, h, lanes);
  });
}

void forward(const float* x, const float* gamma, const float* beta, float* y, float* mean, float* rstd, int64_t rows,
             int64_t n, float eps) {
  parallel_for(rows, 1 + grain / (n + 1), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      if (mean != nullptr) {
        forward_row<true>(x + r * n, gamma, beta, y + r * n, mean + r, rstd + r, n, eps);
      } else {
        forward_row<false>(x + r * n, gamma, beta, y + r * n, nullptr, rstd + r, n, eps);
      }
    }
  });
}

struct Means {
  float g;   // of dy gamma
  float gh;  // of dy gamma h
};

// The two means of a row's gradient; its contributions to dgamma and dbeta on the way, which overwrite if first.
template <bool centred>
NONET_INLINE Means backward_sums(const float* dy, const float* x, const float* gamma, F m, F r, float* dgamma,
                                 float* dbeta, bool first, int64_t n) {
  F g_sum{};
  F gh_sum{};
  for_vectors(n, [&](int64_t i, int64_t lanes) {
    const F d = load_lanes(dy + i, lanes);  // 0 in the lanes beyond the row
    const F h = (load_lanes(x + i, lanes) - m) * r;
    const F dh = d * h;
    if (dgamma != nullptr) store_lanes(dgamma + i, first ? dh : load_lanes(dgamma + i, lanes) + dh, lanes);
    if (dbeta != nullptr) store_lanes(dbeta + i, first ? d : load_lanes(dbeta + i, lanes) + d, lanes);
    const F c = gamma != nullptr ? load_lanes(gamma + i, lanes) : broadcast(1.f);
    const F gh = dh * c;
    gh_sum += lanes == width ? gh : keep_lanes(gh, lanes, 0.f);  // 0 times an infinite mean is NaN
    if constexpr (centred) g_sum += d * c;
  });
  const float scale = 1.f / (float)n;
  return {sum(g_sum) * scale, sum(gh_sum) * scale};
}

template <bool centred>
void backward_row(const float* dy, const float* x, const float* gamma, float mean, float rstd, float* dx, float* dgamma,
                  float* dbeta, bool first, int64_t n) {
  const F m = broadcast(mean);
  const F r = broadcast(rstd);
  const Means means = backward_sums<centred>(dy, x, gamma, m, r, dgamma, dbeta, first, n);
  if (dx == nullptr) return;
  const F g_mean = broadcast(means.g);
  const F gh_mean = broadcast(means.gh);
  for_vectors(n, [&](int64_t i, int64_t lanes) {
    F g = load_lanes(dy + i, lanes);
    if (gamma != nullptr) g = g * load_lanes(gamma + i, lanes);
    const F h = (load_lanes(x + i, lanes) - m) * r;
    if constexpr (centred) g = g - g_mean;
    store_lanes(dx + i, r * fma(-h, gh_mean, g), lanes);
  });
}

void backward(const float* dy, const float* x, const float* gamma, const float* mean, const float* rstd, float* dx,
              float* dgamma, float* dbeta, int64_t rows, int64_t n) {
  const int64_t blocks = (rows + layer_norm_block - 1) / layer_norm_block;
  parallel_for(blocks, 1 + grain / (layer_norm_block * n + 1), [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      const int64_t first = block * layer_norm_block;
      const int64_t last = first + layer_norm_block < rows ? first + layer_norm_block : rows;
      float* dgamma_part = dgamma != nullptr ? dgamma + block * n : nullptr;
      float* dbeta_part = dbeta != nullptr ? dbeta + block * n : nullptr;
      for (int64_t r = first; r < last; ++r) {
        float* out = dx != nullptr ? dx + r * n : nullptr;
        if (mean != nullptr) {
          backward_row<true>(dy + r * n, x + r * n, gamma, mean[r], rstd[r], out, dgamma_part, dbeta_part, r == first,
                             n);
        } else {
          backward_row<false>(dy + r * n, x + r * n, gamma, 0.f, rstd[r], out, dgamma_part, dbeta_part, r == first, n);
        }
      }
    }
  });
}

}  // namespace

constinit const LayerNormKernels layer_norm_kernels = {forward, backward};

}  // namespace nonet::NONET_NS
