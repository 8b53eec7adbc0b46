#include <algorithm>
#include <atomic>
#include <limits>

#include "array/launch.h"
#include "ops/pool/pool.h"
#include "ops/pool/pooling.h"

namespace nonet {

namespace {

constexpr int64_t grain = 16384;  // elements per block

// The stored image as [outer, positions, inner]; `positions` are those of x's pooled axes.
UnpoolSizes sizes_of(const Array& x, int axes, int64_t to) {
  const int64_t from = x.shape().product(x.rank() - axes, x.rank());
  const int64_t planes = x.shape().product(0, x.rank() - axes);
  if (x.format() == Format::nhwc) return {x.dim(0), x.dim(1), from, to};
  return {planes, 1, from, to};
}

// body(first element of x and of y, channels) for parts of images that a thread has to itself.
template <class Body>
void for_parts(const UnpoolSizes& s, const Body& body) {
  constexpr int64_t channels = 64;
  const int64_t parts = (s.inner + channels - 1) / channels;
  const int64_t each = std::min(s.inner, channels) * std::max(s.from, s.to);
  parallel_for(s.outer * parts, 1 + grain / (each + 1), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t first = i % parts * channels;
      body(i / parts * s.from * s.inner + first, i / parts * s.to * s.inner + first,
           std::min(channels, s.inner - first));
    }
  });
}

template <class T>
void place(const T* x, const int64_t* index, T* y, const UnpoolSizes& s, const char* op) {
  std::atomic<bool> bad = false;
  std::atomic<int64_t> found = 0;
  for_parts(s, [&](int64_t from, int64_t to, int64_t channels) {
    for (int64_t p = 0; p < s.to; ++p) std::fill_n(y + to + p * s.inner, channels, T{});
    for (int64_t o = 0; o < s.from; ++o) {
      for (int64_t c = 0; c < channels; ++c) {
        const int64_t at = index[from + o * s.inner + c];
        if (at < 0 || at >= s.to) {
          found = at;
          bad = true;
        } else {
          y[to + at * s.inner + c] = x[from + o * s.inner + c];
        }
      }
    }
  });
  check<IndexError>(!bad, op, ": index ", found.load(), " is out of range for ", s.to, " positions");
}

template <class T>
void take(const T* dy, const int64_t* index, T* dx, const UnpoolSizes& s) {
  for_parts(s, [&](int64_t from, int64_t to, int64_t channels) {
    for (int64_t o = 0; o < s.from; ++o) {
      for (int64_t c = 0; c < channels; ++c)
        dx[from + o * s.inner + c] = dy[to + index[from + o * s.inner + c] * s.inner + c];
    }
  });
}

}  // namespace

Array max_unpool_forward(const Array& x, const Array& index, const Shape& size, const char* op) {
  check_floating(x, op, "input");
  check_dtype(index, DType::int64, op, "indices");
  const int axes = size.rank();
  check((x.rank() == axes + 1 || x.rank() == axes + 2) && index.shape() == x.shape(), op,
        ": input and indices must have shape ", axes == 2 ? "[N, C, H, W] or [C, H, W]" : "[N, C, L] or [C, L]",
        ", got ", x.shape(), ", ", index.shape());
  check_same_device(x, index, op);
  const int64_t to = size.numel();
  check(to < std::numeric_limits<int32_t>::max(), op, ": output must have less than 2^31 positions, got ", size);
  Shape shape = x.shape();
  for (int a = 0; a < axes; ++a) shape[x.rank() - axes + a] = size[a];
  const Array y(shape, x.dtype(), x.format(), x.device());
  const Array at = index.to_format(x.format());
  const UnpoolSizes s = sizes_of(x, axes, to);
  if (y.numel() == 0) return y;
  if (x.device() != Device::cpu) {
    const Array winners({y.numel()}, DType::int32, Format::plain, x.device());
    on_device(&UnpoolDevice::forward, op, y, x.dtype(), x, at, y, winners, s);
  } else if (x.dtype() == DType::float32) {
    place(x.raw<float>(), at.raw<int64_t>(), y.raw<float>(), s, op);
  } else {
    place(x.raw<uint16_t>(), at.raw<int64_t>(), y.raw<uint16_t>(), s, op);
  }
  return y;
}

Array max_unpool_backward(const Array& dy, const Array& index, int axes, const char* op) {
  const Array dx(index.shape(), dy.dtype(), dy.format(), dy.device());
  if (dx.numel() == 0) return dx;
  const Array at = index.to_format(dy.format());
  const UnpoolSizes s = sizes_of(dx, axes, dy.shape().product(dy.rank() - axes, dy.rank()));
  if (dy.device() != Device::cpu) {
    on_device(&UnpoolDevice::backward, op, dx, dy.dtype(), dy, at, dx, s);
  } else if (dy.dtype() == DType::float32) {
    take(dy.raw<float>(), at.raw<int64_t>(), dx.raw<float>(), s);
  } else {
    take(dy.raw<uint16_t>(), at.raw<int64_t>(), dx.raw<uint16_t>(), s);
  }
  return dx;
}

}  // namespace nonet
