#include "ops/norm/layer_norm.h"

#include "simd/fold.h"

namespace nonet::NONET_NS {

namespace {

constexpr int64_t grain = 16384;  // elements per block of rows

NONET_INLINE float inverse_root(float x) {
  return 1.f / __builtin_sqrtf(x);
}

template <bool centred, class T>
void forward_row(const T* x, const float* gamma, const float* beta, T* y, float* mean, float* rstd, int64_t n,
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
  for_vectors(n, [=](int64_t i, int64_t lanes) {
    F h = (load_lanes(x + i, lanes) - m) * r;
    if (gamma != nullptr) h = h * load_lanes(gamma + i, lanes);
    if (beta != nullptr) h = h + load_lanes(beta + i, lanes);
    store_lanes(y + i, h, lanes);
  });
}

template <class T>
void forward(const T* x, const T* residual, T* sum, const float* gamma, const float* beta, T* y, float* mean,
             float* rstd, int64_t rows, int64_t n, float eps) {
  parallel_for(rows, 1 + grain / (n + 1), [=](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const T* from = x + r * n;
      if (residual != nullptr) {
        const T* more = residual + r * n;
        T* to = sum + r * n;
        for_vectors(n, [=](int64_t i, int64_t lanes) {
          store_lanes(to + i, load_lanes(from + i, lanes) + load_lanes(more + i, lanes), lanes);
        });
        from = to;
      }
      if (mean != nullptr) {
        forward_row<true>(from, gamma, beta, y + r * n, mean + r, rstd + r, n, eps);
      } else {
        forward_row<false>(from, gamma, beta, y + r * n, nullptr, rstd + r, n, eps);
      }
    }
  });
}

struct Means {
  float g;   // of dy gamma
  float gh;  // of dy gamma h
};

// The two means of a row's gradient; its contributions to dgamma and dbeta on the way, which overwrite if first.
template <bool centred, class T>
NONET_INLINE Means backward_sums(const T* dy, const T* x, const float* gamma, F m, F r, float* dgamma, float* dbeta,
                                 bool first, int64_t n) {
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

template <bool centred, class T>
void backward_row(const T* dy, const T* x, const T* dsum, const float* gamma, float mean, float rstd, T* dx,
                  float* dgamma, float* dbeta, bool first, int64_t n) {
  const F m = broadcast(mean);
  const F r = broadcast(rstd);
  const Means means = backward_sums<centred>(dy, x, gamma, m, r, dgamma, dbeta, first, n);
  if (dx == nullptr) return;
  const F g_mean = broadcast(means.g);
  const F gh_mean = broadcast(means.gh);
  for_vectors(n, [=](int64_t i, int64_t lanes) {
    F g = load_lanes(dy + i, lanes);
    if (gamma != nullptr) g = g * load_lanes(gamma + i, lanes);
    const F h = (load_lanes(x + i, lanes) - m) * r;
    if constexpr (centred) g = g - g_mean;
    F d = r * fma(-h, gh_mean, g);
    if (dsum != nullptr) d += load_lanes(dsum + i, lanes);
    store_lanes(dx + i, d, lanes);
  });
}

template <class T>
void backward(const T* dy, const T* x, const T* dsum, const float* gamma, const float* mean, const float* rstd, T* dx,
              float* dgamma, float* dbeta, int64_t rows, int64_t n) {
  const int64_t blocks = (rows + layer_norm_block - 1) / layer_norm_block;
  parallel_for(blocks, 1 + grain / (layer_norm_block * n + 1), [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      const int64_t first = block * layer_norm_block;
      const int64_t last = first + layer_norm_block < rows ? first + layer_norm_block : rows;
      float* dgamma_part = dgamma != nullptr ? dgamma + block * n : nullptr;
      float* dbeta_part = dbeta != nullptr ? dbeta + block * n : nullptr;
      for (int64_t r = first; r < last; ++r) {
        const int64_t at = r * n;
        T* out = dx != nullptr ? dx + at : nullptr;
        const T* more = dsum != nullptr ? dsum + at : nullptr;
        if (mean != nullptr) {
          backward_row<true>(dy + at, x + at, more, gamma, mean[r], rstd[r], out, dgamma_part, dbeta_part, r == first,
                             n);
        } else {
          backward_row<false>(dy + at, x + at, more, gamma, 0.f, rstd[r], out, dgamma_part, dbeta_part, r == first, n);
        }
      }
    }
  });
}

template <class T>
void forward_as(const void* x, const void* residual, void* sum, const float* gamma, const float* beta, void* y,
                float* mean, float* rstd, int64_t rows, int64_t n, float eps) {
  forward(static_cast<const T*>(x), static_cast<const T*>(residual), static_cast<T*>(sum), gamma, beta,
          static_cast<T*>(y), mean, rstd, rows, n, eps);
}
void forward_of(DType dtype, const void* x, const void* residual, void* sum, const float* gamma, const float* beta,
                void* y, float* mean, float* rstd, int64_t rows, int64_t n, float eps) {
  const auto run = dtype == DType::bfloat16 ? forward_as<bfloat16> : forward_as<float>;
  run(x, residual, sum, gamma, beta, y, mean, rstd, rows, n, eps);
}

template <class T>
void backward_as(const void* dy, const void* x, const void* dsum, const float* gamma, const float* mean,
                 const float* rstd, void* dx, float* dgamma, float* dbeta, int64_t rows, int64_t n) {
  backward(static_cast<const T*>(dy), static_cast<const T*>(x), static_cast<const T*>(dsum), gamma, mean, rstd,
           static_cast<T*>(dx), dgamma, dbeta, rows, n);
}
void backward_of(DType dtype, const void* dy, const void* x, const void* dsum, const float* gamma, const float* mean,
                 const float* rstd, void* dx, float* dgamma, float* dbeta, int64_t rows, int64_t n) {
  const auto run = dtype == DType::bfloat16 ? backward_as<bfloat16> : backward_as<float>;
  run(dy, x, dsum, gamma, mean, rstd, dx, dgamma, dbeta, rows, n);
}

}  // namespace

constinit const LayerNormKernels layer_norm_kernels = {forward_of, backward_of};

}  // namespace nonet::NONET_NS
