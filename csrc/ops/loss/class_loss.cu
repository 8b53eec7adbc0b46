#include <cmath>

#include "base/dtype.h"
#include "cuda/elements.cuh"
#include "cuda/table.cuh"
#include "ops/loss/cross_entropy.h"

namespace nonet::NONET_CUDA_NS {

namespace {

template <class T>
struct Scale {
  NONET_DEVICE void operator()(T* d, const float* scale, bool uniform, int64_t n, int64_t classes,
                               int64_t inner) const {
    const float whole = uniform ? *scale : 0.f;
    if (uniform && whole == 1.f) return;
    constexpr int pack = pack_size<T>();
    const bool packed = is_aligned<pack>(d) && (uniform || (inner == 1 ? classes : inner) % pack == 0);
    for_long_packs<pack>(n, packed, [&](int64_t i, auto count) {
      constexpr int size = decltype(count)::value;
      Pack<T, size> v = load_pack<size>(d + i);
      const int64_t row = quotient(i, inner);
      const int64_t position = quotient(row, classes) * inner + i - row * inner;
      NONET_UNROLL
      for (int k = 0; k < size; ++k) {
        const float factor = uniform ? whole : scale[inner == 1 ? position : position + k];
        v[k] = from_float<T>(as_float(v[k]) * factor);
      }
      store_pack(d + i, v);
    });
  }
};

void scale(Stream stream, DType dtype, void* d, const float* scale, bool uniform, ClassAxis axis) {
  visit_floating(dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const int64_t n = axis.outer * axis.classes * axis.inner;
    run_elements(stream, (n + pack_size<T>() - 1) / pack_size<T>(), Scale<T>{}, static_cast<T*>(d), scale, uniform, n,
                 axis.classes, axis.inner);
  });
}

struct Target {
  const int64_t* target;
  int64_t ignore;
  const float* weight;

  // body(offset of x at the target's class, its weight) unless it is ignored; offset -1 for a class that is none.
  template <class Body>
  NONET_DEVICE void at(int64_t position, const ClassAxis& axis, const Body& body) const {
    const int64_t t = target[position];
    if (t == ignore) return;
    if (t < 0 || t >= axis.classes) return body(int64_t{-1}, NAN);
    const int64_t o = quotient(position, axis.inner);
    body((o * axis.classes + t) * axis.inner + position - o * axis.inner, weight == nullptr ? 1.f : weight[t]);
  }
};

template <class T>
struct Nll {
  NONET_DEVICE void operator()(const T* x, Target target, float* loss, ClassAxis axis) const {
    for_long_packs<1>(axis.outer * axis.inner, false, [&](int64_t position, auto) {
      float out = 0.f;
      target.at(position, axis, [&](int64_t at, float weight) { out = at < 0 ? NAN : -as_float(x[at]) * weight; });
      loss[position] = out;
    });
  }
};

void nll(Stream stream, DType dtype, const void* x, const int64_t* target, int64_t ignore, const float* weight,
         float* loss, ClassAxis axis) {
  visit_floating(dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    run_elements(stream, axis.outer * axis.inner, Nll<T>{}, static_cast<const T*>(x), Target{target, ignore, weight},
                 loss, axis);
  });
}

template <class T>
struct NllGradient {
  NONET_DEVICE void operator()(const float* dloss, bool uniform, Target target, const double* divisor, T* dx,
                               ClassAxis axis) const {
    const float scale = divisor == nullptr ? 1.f : static_cast<float>(1. / *divisor);
    for_long_packs<1>(axis.outer * axis.inner, false, [&](int64_t position, auto) {
      target.at(position, axis, [&](int64_t at, float weight) {
        if (at >= 0) dx[at] = from_float<T>(-weight * scale * dloss[uniform ? 0 : position]);
      });
    });
  }
};

void nll_gradient(Stream stream, DType dtype, const float* dloss, bool uniform, const int64_t* target, int64_t ignore,
                  const float* weight, const double* divisor, void* dx, ClassAxis axis) {
  visit_floating(dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    run_elements(stream, axis.outer * axis.inner, NllGradient<T>{}, dloss, uniform, Target{target, ignore, weight},
                 divisor, static_cast<T*>(dx), axis);
  });
}

}  // namespace

NONET_DEVICE_TABLE(ClassLossDevice, simt, {scale, nll, nll_gradient});

}  // namespace nonet::NONET_CUDA_NS
