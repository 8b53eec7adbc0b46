#include "cuda/elements.cuh"
#include "cuda/table.cuh"
#include "ops/shape/triangle.h"

namespace nonet::NONET_CUDA_NS {

namespace {

template <class T>
struct Triangle {
  NONET_DEVICE void operator()(const T* x, T* y, int64_t n, int64_t rows, int64_t columns, int64_t k,
                               bool lower) const {
    for_grid(n, [&](int64_t i) {
      const int64_t above = i % columns - i / columns % rows - k;  // of the diagonal
      y[i] = (lower ? above <= 0 : above >= 0) ? x[i] : T{0};
    });
  }
};

void keep(Stream stream, const void* x, void* y, int size, int64_t n, int64_t rows, int64_t columns, int64_t k,
          bool lower) {
  visit_size(size, [&](auto element) {
    using T = decltype(element);
    run_elements(stream, n, Triangle<T>{}, static_cast<const T*>(x), static_cast<T*>(y), n, rows, columns, k, lower);
  });
}

}  // namespace

NONET_DEVICE_TABLE(TriangleDevice, simt, {keep});

}  // namespace nonet::NONET_CUDA_NS
