// A tile is all channels of a few positions, copied so that neighbouring channels of a position are `lanes` apart: the
// sum over a window is then a sum of vectors, whatever the layout in memory.
#include "ops/norm/response_norm.h"

#include "simd/math.h"

namespace nonet::NONET_NS {

namespace {

constexpr int64_t tile = 32;      // positions
constexpr int64_t grain = 16384;  // elements per task

// x^-beta for x > 0; the powers in use without a logarithm.
NONET_INLINE F power(F x, float beta) {
  if (beta == 0.75f) {
    const F r = 1.f / sqrt(x);
    return r * sqrt(r);
  }
  if (beta == 0.5f) return 1.f / sqrt(x);
  if (beta == 1.f) return 1.f / x;
  return exp(-beta * log(x));
}

// The tile of one task: all channels of `lanes` positions, the first of them at `at`.
struct Tile {
  int64_t at;
  int64_t lanes;
  int64_t n;  // numbers in it
};

// body(tile, arrays): `arrays` of padded numbers each in memory of the thread, zeros around the tile in all of them.
template <class Body>
void for_tiles(const ResponseNorm& r, int arrays, const Body& body) {
  const int64_t tiles = (r.inner + tile - 1) / tile;
  const int64_t margin = r.size / 2 < r.channels ? r.size / 2 : r.channels;
  const int64_t elements = r.channels * (r.inner < tile ? r.inner : tile);
  parallel_for(r.outer * tiles, 1 + grain / (elements + 1), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t outer = i / tiles;
      const int64_t first = (i - outer * tiles) * tile;
      const int64_t lanes = r.inner - first < tile ? r.inner - first : tile;
      const Tile t{outer * r.channels * r.inner + first, lanes, r.channels * lanes};
      const int64_t size = t.n + 2 * margin * lanes;
      auto* memory = static_cast<float*>(thread_scratch(arrays * size * (int64_t)sizeof(float)));
      for (int k = 0; k < arrays; ++k) {
        for (int64_t j = 0; j < margin * lanes; ++j) memory[k * size + j] = memory[(k + 1) * size - 1 - j] = 0.f;
      }
      body(t, memory + margin * lanes, size);
    }
  });
}

template <class T>
void gather(const T* from, float* to, const ResponseNorm& r, const Tile& t) {
  for (int64_t c = 0; c < r.channels; ++c) {
    for_vectors(t.lanes, [=](int64_t i, int64_t lanes) {
      store_lanes(to + c * t.lanes + i, load_lanes(from + t.at + c * r.inner + i, lanes), lanes);
    });
  }
}
template <class T>
void scatter(const float* from, T* to, const ResponseNorm& r, const Tile& t) {
  for (int64_t c = 0; c < r.channels; ++c) {
    for_vectors(t.lanes, [=](int64_t i, int64_t lanes) {
      store_lanes(to + t.at + c * r.inner + i, load_lanes(from + c * t.lanes + i, lanes), lanes);
    });
  }
}

// The sum of v over the window of the elements from i, `low` channels below to `high` above.
NONET_INLINE F window(const float* v, int64_t i, int64_t low, int64_t high, const Tile& t, int64_t lanes) {
  F out{};
  for (int64_t o = -low; o <= high; ++o) out += load_lanes(v + i + o * t.lanes, lanes);
  return out;
}

struct Reach {
  int64_t low;
  int64_t high;
};
// No further than the channels go.
NONET_INLINE Reach reach(const ResponseNorm& r) {
  const int64_t low = r.size / 2;
  const int64_t high = (r.size - 1) / 2;
  return {low < r.channels ? low : r.channels, high < r.channels ? high : r.channels};
}

template <class T>
void forward(const T* x, T* y, const ResponseNorm& r) {
  const Reach w = reach(r);
  const F scale = broadcast(r.alpha / (float)r.size);
  for_tiles(r, 2, [&](const Tile& t, float* v, int64_t size) {
    float* squares = v + size;
    gather(x, v, r, t);
    for_vectors(t.n, [=](int64_t i, int64_t lanes) {
      const F a = load_lanes(v + i, lanes);
      store_lanes(squares + i, a * a, lanes);
    });
    for_vectors(t.n, [=](int64_t i, int64_t lanes) {
      const F d = fma(window(squares, i, w.low, w.high, t, lanes), scale, broadcast(r.k));
      store_lanes(v + i, load_lanes(v + i, lanes) * power(d, r.beta), lanes);
    });
    scatter(v, y, r, t);
  });
}

template <class T>
void backward(const T* dy, const T* x, T* dx, const ResponseNorm& r) {
  const Reach w = reach(r);
  const F scale = broadcast(r.alpha / (float)r.size);
  const F factor = broadcast(-2.f * r.alpha * r.beta / (float)r.size);
  for_tiles(r, 4, [&](const Tile& t, float* v, int64_t size) {
    float* squares = v + size;
    float* terms = v + 2 * size;  // dy x d^(-beta - 1)
    float* own = v + 3 * size;    // dy, then dy d^-beta
    gather(x, v, r, t);
    gather(dy, own, r, t);
    for_vectors(t.n, [=](int64_t i, int64_t lanes) {
      const F a = load_lanes(v + i, lanes);
      store_lanes(squares + i, a * a, lanes);
    });
    for_vectors(t.n, [=](int64_t i, int64_t lanes) {
      const F d = fma(window(squares, i, w.low, w.high, t, lanes), scale, broadcast(r.k));
      const F g = load_lanes(own + i, lanes) * power(d, r.beta);
      store_lanes(own + i, g, lanes);
      store_lanes(terms + i, g * load_lanes(v + i, lanes) / d, lanes);
    });
    for_vectors(t.n, [=](int64_t i, int64_t lanes) {
      // x_c is in the sums of the channels from c - high to c + low.
      const F sum = window(terms, i, w.high, w.low, t, lanes);
      store_lanes(own + i, fma(load_lanes(v + i, lanes) * factor, sum, load_lanes(own + i, lanes)), lanes);
    });
    scatter(own, dx, r, t);
  });
}

void forward_of(DType dtype, const void* x, void* y, const ResponseNorm& r) {
  if (dtype == DType::bfloat16) {
    forward(static_cast<const bfloat16*>(x), static_cast<bfloat16*>(y), r);
  } else {
    forward(static_cast<const float*>(x), static_cast<float*>(y), r);
  }
}

void backward_of(DType dtype, const void* dy, const void* x, void* dx, const ResponseNorm& r) {
  if (dtype == DType::bfloat16) {
    backward(static_cast<const bfloat16*>(dy), static_cast<const bfloat16*>(x), static_cast<bfloat16*>(dx), r);
  } else {
    backward(static_cast<const float*>(dy), static_cast<const float*>(x), static_cast<float*>(dx), r);
  }
}

}  // namespace

constinit const ResponseNormKernels response_norm_kernels = {forward_of, backward_of};

}  // namespace nonet::NONET_NS
