#include "base/dtype.h"
#include "cuda/divide.cuh"
#include "cuda/elements.cuh"
#include "cuda/table.cuh"
#include "ops/norm/response_norm.h"

namespace nonet::NONET_CUDA_NS {

namespace {

// x^-beta for x > 0; the powers in use without a logarithm.
NONET_DEVICE float power(float x, float beta) {
  if (beta == 0.75f) {
    const float r = 1.f / sqrtf(x);
    return r * sqrtf(r);
  }
  if (beta == 0.5f) return 1.f / sqrtf(x);
  if (beta == 1.f) return 1.f / x;
  return expf(-beta * logf(x));
}

template <class I>
struct Lines {
  Divisor<I> inner, channels;
  int64_t low, high;  // channels that a window reaches below and above
  float scale, factor, beta, k;

  explicit Lines(const ResponseNorm& r)
      : inner(r.inner),
        channels(r.channels),
        low(r.size / 2),
        high((r.size - 1) / 2),
        scale(r.alpha / static_cast<float>(r.size)),
        factor(-2.f * r.alpha * r.beta / static_cast<float>(r.size)),
        beta(r.beta),
        k(r.k) {}

  NONET_DEVICE int64_t channel(int64_t e) const {
    const I line = inner.quotient(static_cast<I>(e));
    return line - channels.quotient(line) * channels.value;
  }
  // The sum of term(v) over the elements v[e] from `below` channels below to `above` above.
  template <class T, class Term>
  NONET_DEVICE float window(const T* v, int64_t e, int64_t c, int64_t below, int64_t above, const Term& term) const {
    const int64_t from = c - below > 0 ? c - below : 0;
    const int64_t to = c + above < channels.value ? c + above : channels.value - 1;
    float sum = 0;
    for (int64_t j = from; j <= to; ++j) sum += term(as_float(v[e + (j - c) * inner.value]));
    return sum;
  }
  template <class T>
  NONET_DEVICE float denominator(const T* x, int64_t e, int64_t c) const {
    return fmaf(window(x, e, c, low, high, [](float v) { return v * v; }), scale, k);
  }
};

template <class T, class I>
struct Forward {
  NONET_DEVICE void operator()(const T* x, T* y, int64_t n, const Lines<I>& lines) const {
    for_grid(n, [&](int64_t e) {
      const float d = lines.denominator(x, e, lines.channel(e));
      y[e] = from_float<T>(as_float(x[e]) * power(d, lines.beta));
    });
  }
};

template <class T, class I>
struct Terms {
  NONET_DEVICE void operator()(const T* dy, const T* x, float* terms, int64_t n, const Lines<I>& lines) const {
    for_grid(n, [&](int64_t e) {
      const float d = lines.denominator(x, e, lines.channel(e));
      terms[e] = as_float(dy[e]) * power(d, lines.beta) * as_float(x[e]) / d;
    });
  }
};

template <class T, class I>
struct Backward {
  NONET_DEVICE void operator()(const T* dy, const T* x, const float* terms, T* dx, int64_t n,
                               const Lines<I>& lines) const {
    for_grid(n, [&](int64_t e) {
      const int64_t c = lines.channel(e);
      const float own = as_float(dy[e]) * power(lines.denominator(x, e, c), lines.beta);
      const float sum = lines.window(terms, e, c, lines.high, lines.low, [](float v) { return v; });
      dx[e] = from_float<T>(fmaf(as_float(x[e]) * lines.factor, sum, own));
    });
  }
};

// body(lines, T) with n elements.
template <class Body>
void with_lines(DType dtype, const ResponseNorm& r, int64_t n, const Body& body) {
  visit_floating(dtype,
                 [&](auto type) { visit_index(n, [&](auto index) { body(type, Lines<decltype(index)>(r), index); }); });
}

void forward(Stream stream, DType dtype, const void* x, void* y, const ResponseNorm& r) {
  const int64_t n = r.outer * r.channels * r.inner;
  with_lines(dtype, r, n, [&](auto type, auto lines, auto index) {
    using T = typename decltype(type)::type;
    run_elements(stream, n, Forward<T, decltype(index)>{}, static_cast<const T*>(x), static_cast<T*>(y), n, lines);
  });
}

void backward(Stream stream, DType dtype, const void* dy, const void* x, float* terms, void* dx,
              const ResponseNorm& r) {
  const int64_t n = r.outer * r.channels * r.inner;
  with_lines(dtype, r, n, [&](auto type, auto lines, auto index) {
    using T = typename decltype(type)::type;
    const auto* g = static_cast<const T*>(dy);
    const auto* from = static_cast<const T*>(x);
    run_elements(stream, n, Terms<T, decltype(index)>{}, g, from, terms, n, lines);
    run_elements(stream, n, Backward<T, decltype(index)>{}, g, from, static_cast<const float*>(terms),
                 static_cast<T*>(dx), n, lines);
  });
}

}  // namespace

NONET_DEVICE_TABLE(ResponseNormDevice, simt, {forward, backward});

}  // namespace nonet::NONET_CUDA_NS
