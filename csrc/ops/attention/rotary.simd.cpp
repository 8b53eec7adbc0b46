#include "ops/attention/rotary.h"

#include "simd/vec.h"

namespace nonet::NONET_NS {

namespace {

constexpr int64_t grain = 16384;  // elements per block

NONET_INLINE float widened(float x) {
  return x;
}
NONET_INLINE float widened(bfloat16 x) {
  const uint32_t bits = (uint32_t)x.bits << 16;
  float out;
  __builtin_memcpy(&out, &bits, sizeof out);
  return out;
}

template <class T>
void rotate_halves(const T* x, T* y, int64_t half, const float* cos, const float* sin, float sign) {
  for_vectors(half, [&](int64_t i, int64_t lanes) {
    const F c = load_lanes(cos + i, lanes);
    const F s = load_lanes(sin + i, lanes) * sign;
    const F p = load_lanes(x + i, lanes);
    const F q = load_lanes(x + half + i, lanes);
    store_lanes(y + i, p * c - q * s, lanes);
    store_lanes(y + half + i, q * c + p * s, lanes);
  });
}

// Vectors of pairs side by side: each element times its cosine, and its neighbour times the sine, negated in the first.
template <class T>
void rotate_neighbours(const T* x, T* y, int64_t half, const float* cos, const float* sin, float sign) {
  float a[width];
  float b[width];
  float c[width];
  float s[width];
  for (int64_t i = 0; i < half; i += width) {
    const int64_t n = half - i < width ? half - i : width;
    for (int64_t k = 0; k < n; ++k) {
      a[k] = widened(x[2 * (i + k)]);
      b[k] = widened(x[2 * (i + k) + 1]);
      c[k] = cos[i + k];
      s[k] = sin[i + k] * sign;
    }
    T out[2 * width];
    for (int64_t k = 0; k < n; ++k) {
      const F first = broadcast(a[k] * c[k] - b[k] * s[k]);
      const F second = broadcast(b[k] * c[k] + a[k] * s[k]);
      store(out + 2 * k, first, 1);
      store(out + 2 * k + 1, second, 1);
    }
    __builtin_memcpy(y + 2 * i, out, 2 * n * sizeof(T));
  }
}

template <class T>
void rotate(const Rotation& r, const T* x, T* y) {
  const int64_t row = r.heads * r.size;
  const float sign = r.back ? -1.f : 1.f;
  parallel_for(r.outer * r.places, 1 + grain / row, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      const float* cos = r.cos + n % r.places * r.half;
      const float* sin = r.sin + n % r.places * r.half;
      for (int64_t h = 0; h < r.heads; ++h) {
        const int64_t at = n * row + h * r.size;
        (r.interleaved ? rotate_neighbours<T> : rotate_halves<T>)(x + at, y + at, r.half, cos, sin, sign);
        if (x != y) __builtin_memcpy(y + at + 2 * r.half, x + at + 2 * r.half, (r.size - 2 * r.half) * sizeof(T));
      }
    }
  });
}

}  // namespace

constinit const RotaryKernels rotary_kernels = {rotate<float>, rotate<bfloat16>};

}  // namespace nonet::NONET_NS
