#include "base/dtype.h"
#include "cuda/elements.cuh"
#include "cuda/table.cuh"
#include "ops/pool/pool.h"

namespace nonet::NONET_CUDA_NS {

namespace {

// Element i of [outer, positions, inner].
struct Place {
  int64_t outer, position, inner;
};
NONET_DEVICE Place place(int64_t i, int64_t positions, int64_t inner) {
  const int64_t pixel = quotient(i, inner);
  const int64_t outer = quotient(pixel, positions);
  return {outer, pixel - outer * positions, i - pixel * inner};
}

struct Clear {
  NONET_DEVICE void operator()(int32_t* winners, int64_t n) const {
    for_grid(n, [&](int64_t i) { winners[i] = -1; });
  }
};

// The last position that has an index.
struct Choose {
  NONET_DEVICE void operator()(const int64_t* index, int32_t* winners, int64_t n, const UnpoolSizes& s) const {
    for_grid(n, [&](int64_t i) {
      const Place at = place(i, s.from, s.inner);
      const int64_t to = index[i];
      if (to < 0 || to >= s.to) return;
      atomic_max(winners + (at.outer * s.to + to) * s.inner + at.inner, static_cast<int32_t>(at.position));
    });
  }
};

template <class T>
struct Take {
  NONET_DEVICE void operator()(const T* x, const int32_t* winners, T* y, int64_t n, const UnpoolSizes& s) const {
    for_grid(n, [&](int64_t i) {
      const Place at = place(i, s.to, s.inner);
      y[i] = winners[i] < 0 ? T{} : x[(at.outer * s.from + winners[i]) * s.inner + at.inner];
    });
  }
};

template <class T>
struct Gather {
  NONET_DEVICE void operator()(const T* dy, const int64_t* index, T* dx, int64_t n, const UnpoolSizes& s) const {
    for_grid(n, [&](int64_t i) {
      const Place at = place(i, s.from, s.inner);
      const int64_t from = index[i];
      dx[i] = from < 0 || from >= s.to ? T{} : dy[(at.outer * s.to + from) * s.inner + at.inner];
    });
  }
};

void forward(Stream stream, DType dtype, const void* x, const int64_t* index, void* y, int32_t* winners,
             const UnpoolSizes& s) {
  const int64_t in = s.outer * s.from * s.inner;
  const int64_t out = s.outer * s.to * s.inner;
  run_elements(stream, out, Clear{}, winners, out);
  run_elements(stream, in, Choose{}, index, winners, in, s);
  visit_floating(dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    run_elements(stream, out, Take<T>{}, static_cast<const T*>(x), static_cast<const int32_t*>(winners),
                 static_cast<T*>(y), out, s);
  });
}

void backward(Stream stream, DType dtype, const void* dy, const int64_t* index, void* dx, const UnpoolSizes& s) {
  const int64_t in = s.outer * s.from * s.inner;
  visit_floating(dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    run_elements(stream, in, Gather<T>{}, static_cast<const T*>(dy), index, static_cast<T*>(dx), in, s);
  });
}

}  // namespace

NONET_DEVICE_TABLE(UnpoolDevice, simt, {forward, backward});

}  // namespace nonet::NONET_CUDA_NS
