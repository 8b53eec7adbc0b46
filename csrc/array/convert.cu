#include <limits>

#include "array/convert.h"
#include "base/dtype.h"
#include "cuda/elements.cuh"
#include "cuda/table.cuh"

namespace nonet::NONET_CUDA_NS {

namespace {

// The rules of Array::to: out of range saturates, NaN becomes 0, anything but 0 is true.
template <class To, class From>
NONET_DEVICE To converted(From x) {
  if constexpr (std::is_same_v<From, bfloat16>) {
    return converted<To>(as_float(x));
  } else if constexpr (std::is_same_v<To, bfloat16>) {
    return from_float<bfloat16>(static_cast<float>(x));
  } else if constexpr (std::is_same_v<To, bool>) {
    return x != From{0};
  } else if constexpr (std::is_same_v<From, float> && std::is_integral_v<To>) {
    constexpr To low = std::numeric_limits<To>::min();
    constexpr To high = std::numeric_limits<To>::max();
    if (x != x) return 0;
    return x <= static_cast<float>(low) ? low : (x >= static_cast<float>(high) ? high : static_cast<To>(x));
  } else {
    return static_cast<To>(x);
  }
}

template <class From, class To>
struct Convert {
  NONET_DEVICE void operator()(const From* x, To* y, int64_t n) const {
    map_elements(n, [](From v) { return converted<To>(v); }, y, x);
  }
};

void convert(Stream stream, const void* x, DType from, void* y, DType to, int64_t n) {
  visit(from, [&](auto source) {
    visit(to, [&](auto target) {
      using From = typename decltype(source)::type;
      using To = typename decltype(target)::type;
      run_elements(stream, n, Convert<From, To>{}, static_cast<const From*>(x), static_cast<To*>(y), n);
    });
  });
}

template <class T>
struct Fill {
  NONET_DEVICE void operator()(T* y, T value, int64_t n) const {
    map_elements(n, [=] { return value; }, y);
  }
};

void fill(Stream stream, void* y, int size, uint64_t bits, int64_t n) {
  visit_size(size, [&](auto element) {
    using T = decltype(element);
    run_elements(stream, n, Fill<T>{}, static_cast<T*>(y), static_cast<T>(bits), n);
  });
}

template <class T>
struct Copy {
  NONET_DEVICE void operator()(const T* from, T* to, const CopyAxes& walk, int64_t n) const {
    for_grid(n, [&](int64_t i) {
      int64_t source = 0;
      int64_t target = 0;
      for (int axis = walk.rank - 1; axis >= 0; --axis) {
        const CopyAxis& a = walk.axes[axis];
        const int64_t rest = i / a.n;
        source += (i - rest * a.n) * a.from;
        target += (i - rest * a.n) * a.to;
        i = rest;
      }
      to[target] = from[source];
    });
  }
};

void copy(Stream stream, const void* from, void* to, int size, const CopyAxes& walk) {
  int64_t n = 1;
  for (int axis = 0; axis < walk.rank; ++axis) n *= walk.axes[axis].n;
  visit_size(size, [&](auto element) {
    using T = decltype(element);
    run_elements(stream, n, Copy<T>{}, static_cast<const T*>(from), static_cast<T*>(to), walk, n);
  });
}

}  // namespace

NONET_DEVICE_TABLE(ConvertDevice, simt, {convert, fill, copy});

}  // namespace nonet::NONET_CUDA_NS
