// Kernels of unary maps given as types (see map.h), for .cu files of any family of them.
#pragma once

#include "base/dtype.h"
#include "cuda/elements.cuh"
#include "cuda/scalar.cuh"
#include "cuda/table.cuh"
#include "ops/elementwise/elementwise.h"

namespace nonet::NONET_CUDA_NS {

using N = MapNumbers;

template <class Op, class T>
struct MapForward {
  NONET_DEVICE void operator()(const T* x, T* y, int64_t n, N numbers) const {
    map_elements(n, [&](T v) { return from_float<T>(Op::forward(as_float(v), numbers)); }, y, x);
  }
};

template <class Op, class T>
struct MapBackward {
  NONET_DEVICE void operator()(const T* dy, const T* s, T* dx, int64_t n, N numbers) const {
    const auto f = [&](T g, T v) { return from_float<T>(Op::backward(as_float(g), as_float(v), numbers)); };
    map_elements(n, f, dx, dy, s);
  }
};

template <class Op>
void run_forward(Stream stream, DType dtype, const void* x, void* y, int64_t n, N numbers) {
  visit_floating(dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    run_elements(stream, n, MapForward<Op, T>{}, static_cast<const T*>(x), static_cast<T*>(y), n, numbers);
  });
}

template <class Op>
void run_backward(Stream stream, DType dtype, const void* dy, const void* s, void* dx, int64_t n, N numbers) {
  visit_floating(dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    run_elements(stream, n, MapBackward<Op, T>{}, static_cast<const T*>(dy), static_cast<const T*>(s),
                 static_cast<T*>(dx), n, numbers);
  });
}

}  // namespace nonet::NONET_CUDA_NS
