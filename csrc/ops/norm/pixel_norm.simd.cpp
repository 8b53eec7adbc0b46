// Channels side by side: a vector holds channels, and whatever is summed is summed down the pixels.
#include "ops/norm/incoming.h"

namespace nonet::NONET_NS {

namespace {

constexpr int64_t channel_part = 512;  // channels of a unit of sums
constexpr int64_t grain = 16384;       // elements per task
constexpr int64_t first_pixels = 16;   // whose mean is the origin of a part

// ---------------------------------------------------------------- sums: some channels of the pixels of one part
struct Unit {
  int64_t at;       // offset of the first element
  int64_t pixels;   // in the part
  int64_t channel;  // the first one
  int64_t channels;
  int64_t table;  // offset of the first one's numbers in tables
  int64_t part;   // counted through all images
};

template <class Body>
void for_units(const Pixels& p, const Body& body) {
  const int64_t stretches = (p.channels + channel_part - 1) / channel_part;
  const int64_t parts = pixel_parts(p);
  const int64_t size = pixel_part * (p.channels < channel_part ? p.channels : channel_part);
  parallel_for(p.images * parts * stretches, 1 + grain / (size + 1), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t part = i / stretches;
      const int64_t image = part / parts;
      const int64_t pixel = (part - image * parts) * pixel_part;
      const int64_t channel = (i - part * stretches) * channel_part;
      const int64_t rest = p.channels - channel;
      const int64_t below = p.pixels - pixel;
      body(Unit{(image * p.pixels + pixel) * p.channels + channel, below < pixel_part ? below : pixel_part, channel,
                rest < channel_part ? rest : channel_part, image * p.table_step + channel, part});
    }
  });
}

template <int n>
struct Count {
  static constexpr int value = n;
};
// body(Count<n>, first, step): pixels first + k step for k < n, all of them in groups of `streams` and the rest one by
// one. The pixels of a group lie far apart, so that each is a stream through memory of its own: what prefetchers
// follow, unlike a few neighbours that are read by turns.
template <int streams, class Body>
NONET_INLINE void for_groups(int64_t pixels, const Body& body) {
  const int64_t step = pixels / streams;
  for (int64_t i = 0; i < step; ++i) body(Count<streams>{}, i, step);
  for (int64_t i = step * streams; i < pixels; ++i) body(Count<1>{}, i, (int64_t)0);
}

template <class T>
void part_moments(const T* x, int64_t stride, int64_t pixels, float* origin, float* sum, float* squares, int64_t n) {
  const int64_t first = pixels < first_pixels ? pixels : first_pixels;
  const F share = broadcast(1.f / (float)first);
  for_vectors(n, [=](int64_t i, int64_t lanes) {
    F total[2] = {};
    for (int64_t j = 0; j < first; ++j) total[j & 1] += load_lanes(x + j * stride + i, lanes);
    store_lanes(origin + i, (total[0] + total[1]) * share, lanes);
    store_lanes(sum + i, F{}, lanes);
    store_lanes(squares + i, F{}, lanes);
  });
  for_groups<8>(pixels, [&](auto count, int64_t first_pixel, int64_t step) {
    const T* row = x + first_pixel * stride;
    for_vectors(n, [=](int64_t i, int64_t lanes) {
      const F from = load_lanes(origin + i, lanes);
      F s{};
      F q = load_lanes(squares + i, lanes);
#pragma GCC unroll 8
      for (int k = 0; k < decltype(count)::value; ++k) {
        const F d = load_lanes(row + k * step * stride + i, lanes) - from;
        s += d;
        q = fma(d, d, q);
      }
      store_lanes(sum + i, load_lanes(sum + i, lanes) + s, lanes);
      store_lanes(squares + i, q, lanes);
    });
  });
}

template <class T>
void moments(const T* x, float* parts, const Pixels& p) {
  for_units(p, [&](const Unit& u) {
    float* to = parts + u.part * 3 * p.channels + u.channel;
    part_moments(x + u.at, p.channels, u.pixels, to, to + p.channels, to + 2 * p.channels, u.channels);
  });
}

template <class T>
void sums(const Incoming<T> in, const T* x, const float* mean, const float* scale, const float* shift, T* dz,
          float* parts, const Pixels& p) {
  for_units(p, [&](const Unit& u) {
    float* dots = parts + u.part * 2 * p.channels + u.channel;
    float* totals = dots + p.channels;
    for_vectors(u.channels, [=](int64_t i, int64_t lanes) {
      store_lanes(dots + i, F{}, lanes);
      store_lanes(totals + i, F{}, lanes);
    });
    for_groups<4>(u.pixels, [&](auto count, int64_t first, int64_t step) {
      const int64_t at = u.at + first * p.channels;
      for_vectors(u.channels, [=](int64_t i, int64_t lanes) {
        const F m = load_lanes(mean + u.table + i, lanes);
        const F a = load_lanes(scale + u.table + i, lanes);
        const F b = in.relu ? load_lanes(shift + u.table + i, lanes) : F{};
        F dot{};
        F total{};
#pragma GCC unroll 4
        for (int k = 0; k < decltype(count)::value; ++k) {
          const int64_t e = at + k * step * p.channels + i;
          const F distance = load_lanes(x + e, lanes) - m;
          const F d = Incoming<T>::value(in, e, distance, a, b, lanes);
          if (dz != nullptr) store_lanes(dz + e, d, lanes);
          dot = fma(d, distance, dot);
          total += d;
        }
        store_lanes(dots + i, load_lanes(dots + i, lanes) + dot, lanes);
        store_lanes(totals + i, load_lanes(totals + i, lanes) + total, lanes);
      });
    });
  });
}

// ---------------------------------------------------------------- maps: one pixel after the other
// body(offset of a pixel's first element, offset of its tables). From the last block of pixels to the first: a pass
// over the same arrays has just gone the other way, and what it read last is still in a cache.
template <class Body>
void for_pixels(const Pixels& p, const Body& body) {
  const int64_t count = p.images * p.pixels;
  parallel_for(count, 1 + grain / p.channels, [&](int64_t begin, int64_t end) {
    const int64_t last = count - begin;
    int64_t pixel = count - end;
    int64_t image = pixel / p.pixels;
    int64_t next = (image + 1) * p.pixels;
    for (; pixel < last; ++pixel) {
      if (pixel == next) {
        ++image;
        next += p.pixels;
      }
      body(pixel * p.channels, image * p.table_step);
    }
    drain();
  });
}

// Vectors of a result: stored as usual, or past the caches.
struct Kept {
  template <class T>
  NONET_INLINE void put(T* to, F v, int64_t lanes) {
    store_lanes(to, v, lanes);
  }
};
struct Past {
  NONET_INLINE void put(float* to, F v, int64_t) { store_past(to, v); }
  NONET_INLINE void put(bfloat16* to, F v, int64_t lanes) { store_lanes(to, v, lanes); }
};
template <class T, class Body>
NONET_INLINE void with_store(const T* out, const Pixels& p, const Body& body) {
  const int64_t bytes = p.images * p.pixels * p.channels * (int64_t)sizeof(T);
  if (sizeof(T) == sizeof(float) && p.channels % width == 0 && passes_caches(out, bytes)) {
    body(Past{});
  } else {
    body(Kept{});
  }
}

template <class T>
void apply(const T* x, const T* residual, T* y, const float* mean, const float* scale, const float* shift, bool relu,
           const Pixels& p) {
  with_store(y, p, [&](auto store) {
    for_pixels(p, [&](int64_t at, int64_t table) {
      for_vectors(p.channels, [=](int64_t i, int64_t lanes) {
        const F m = load_lanes(mean + table + i, lanes);
        F z = fma(load_lanes(x + at + i, lanes) - m, load_lanes(scale + table + i, lanes),
                  load_lanes(shift + table + i, lanes));
        if (residual != nullptr) z += load_lanes(residual + at + i, lanes);
        decltype(store)::put(y + at + i, relu ? (z < 0.f ? F{} : z) : z, lanes);
      });
    });
  });
}

template <class T>
void gradient(const Incoming<T> in, const T* x, const float* mean, const float* scale, const float* shift,
              const float* slope, const float* offset, T* dx, const Pixels& p) {
  const bool distances = slope != nullptr || (in.relu && in.y == nullptr);
  with_store(dx, p, [&](auto store) {
    for_pixels(p, [&](int64_t at, int64_t table) {
      for_vectors(p.channels, [=](int64_t i, int64_t lanes) {
        const F a = load_lanes(scale + table + i, lanes);
        const F b = in.relu ? load_lanes(shift + table + i, lanes) : F{};
        const F distance = distances ? load_lanes(x + at + i, lanes) - load_lanes(mean + table + i, lanes) : F{};
        const F d = Incoming<T>::value(in, at + i, distance, a, b, lanes);
        if (slope == nullptr) return decltype(store)::put(dx + at + i, d * a, lanes);
        const F line = fma(distance, load_lanes(slope + table + i, lanes), load_lanes(offset + table + i, lanes));
        decltype(store)::put(dx + at + i, fma(d, a, line), lanes);
      });
    });
  });
}

// ---------------------------------------------------------------- both dtypes
template <class Body>
NONET_INLINE void visit(DType dtype, const Body& body) {
  if (dtype == DType::bfloat16) {
    body(bfloat16{});
  } else {
    body(float{});
  }
}

void moments_of(DType dtype, const void* x, float* parts, const Pixels& p) {
  visit(dtype, [&](auto type) { moments(static_cast<const decltype(type)*>(x), parts, p); });
}

void apply_to(DType dtype, const void* x, const void* residual, void* y, const float* mean, const float* scale,
              const float* shift, bool relu, const Pixels& p) {
  visit(dtype, [&](auto type) {
    using T = decltype(type);
    apply(static_cast<const T*>(x), static_cast<const T*>(residual), static_cast<T*>(y), mean, scale, shift, relu, p);
  });
}

void sums_of(DType dtype, const void* dy, const void* x, const void* y, const float* mean, const float* scale,
             const float* shift, bool relu, void* dz, float* parts, const Pixels& p) {
  visit(dtype, [&](auto type) {
    using T = decltype(type);
    sums<T>({static_cast<const T*>(dy), static_cast<const T*>(y), relu}, static_cast<const T*>(x), mean, scale, shift,
            static_cast<T*>(dz), parts, p);
  });
}

void gradient_of(DType dtype, const void* dy, const void* x, const void* y, const float* mean, const float* scale,
                 const float* shift, bool relu, const float* slope, const float* offset, void* dx, const Pixels& p) {
  visit(dtype, [&](auto type) {
    using T = decltype(type);
    gradient<T>({static_cast<const T*>(dy), static_cast<const T*>(y), relu}, static_cast<const T*>(x), mean, scale,
                shift, slope, offset, static_cast<T*>(dx), p);
  });
}

}  // namespace

constinit const PixelNormKernels pixel_norm_kernels = {moments_of, apply_to, sums_of, gradient_of};

}  // namespace nonet::NONET_NS
