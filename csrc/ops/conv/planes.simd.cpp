#include "ops/conv/planes.h"

#include "simd/vec.h"

namespace nonet::NONET_NS {

namespace {

// Output channels at a time: their sums are four vectors each.
constexpr int64_t together = width == 16 ? 6 : 2;

// Two planes per channel of X, padded: its even and its odd columns, so that every other pixel lies side by side.
struct Halves {
  float* data;
  int64_t rows, line;  // of a half

  const float* at(int64_t channel, int64_t row, int64_t column) const {
    return data + ((channel * 2 + (column & 1)) * rows + row) * line + (column >> 1);
  }
};

void split(const Planes& p, int64_t image, const Halves& h) {
  for (int64_t i = 0; i < p.channels * 2 * h.rows * h.line; ++i) h.data[i] = 0;
  for (int64_t c = 0; c < p.channels; ++c) {
    for (int64_t y = 0; y < p.height; ++y) {
      if (y + p.top >= h.rows) break;
      const float* from = p.x + ((image * p.channels + c) * p.height + y) * p.width;
      const int64_t end = p.width < 2 * h.line - p.left ? p.width : 2 * h.line - p.left;
      float* even = h.data + ((c * 2 + (p.left & 1)) * h.rows + y + p.top) * h.line + (p.left >> 1);
      float* odd = h.data + ((c * 2 + (~p.left & 1)) * h.rows + y + p.top) * h.line + ((p.left + 1) >> 1);
      for (int64_t x = 0; 2 * x < end; ++x) even[x] = from[2 * x];
      for (int64_t x = 0; 2 * x + 1 < end; ++x) odd[x] = from[2 * x + 1];
    }
  }
}

// W of `count` output channels from `first` on as [channels, kh, kw][count].
void pack(const Planes& p, int64_t first, int64_t count, float* to) {
  const int64_t terms = p.channels * p.kernel[0] * p.kernel[1];
  for (int64_t t = 0; t < terms; ++t) {
    for (int64_t o = 0; o < count; ++o) to[t * count + o] = p.weights[(first + o) * terms + t];
  }
}

// Pooled pixels [x, x + width) of row y, output channels [first, first + G).
template <int G>
void pixels(const Planes& p, const Halves& h, int64_t image, int64_t y, int64_t x, int64_t first, const float* w) {
  F acc[G][4] = {};
  for (int64_t c = 0; c < p.channels; ++c) {
    for (int64_t i = 0; i < p.kernel[0]; ++i) {
      for (int64_t j = 0; j < p.kernel[1]; ++j, w += G) {
        const F in[4] = {load(h.at(c, 2 * y + i, j) + x), load(h.at(c, 2 * y + i, j + 1) + x),
                         load(h.at(c, 2 * y + 1 + i, j) + x), load(h.at(c, 2 * y + 1 + i, j + 1) + x)};
#pragma GCC unroll 6
        for (int o = 0; o < G; ++o) {
          const F weight = broadcast(w[o]);
#pragma GCC unroll 4
          for (int k = 0; k < 4; ++k) acc[o][k] = fma(in[k], weight, acc[o][k]);
        }
      }
    }
  }
  float values[G][width];
  int32_t places[G][width];
  const I corner = (lane_numbers() + (int32_t)x) * 2 + (int32_t)(2 * y * p.full_cols);
#pragma GCC unroll 6
  for (int o = 0; o < G; ++o) {
    const F bias = broadcast(p.bias == nullptr ? 0.f : p.bias[first + o]);
    F best = acc[o][0] + bias;
    I place = corner;
#pragma GCC unroll 4
    for (int k = 1; k < 4; ++k) {
      const F v = acc[o][k] + bias;
      const I better = (v > best) | (v != v);
      best = better ? v : best;
      place = better ? corner + (int32_t)(k / 2 * p.full_cols + k % 2) : place;
    }
    if (p.relu) best = best < 0.f ? F{} : best;
    store(values[o], best);
    __builtin_memcpy(places[o], &place, sizeof place);
  }
  const int64_t count = p.cols - x < width ? p.cols - x : width;
  const int64_t at = ((image * p.rows + y) * p.cols + x) * p.out + first;
  for (int64_t l = 0; l < count; ++l) {
#pragma GCC unroll 6
    for (int o = 0; o < G; ++o) p.y[at + l * p.out + o] = values[o][l];
  }
  if (p.index == nullptr) return;
  for (int64_t l = 0; l < count; ++l) {
#pragma GCC unroll 6
    for (int o = 0; o < G; ++o) p.index[at + l * p.out + o] = places[o][l];
  }
}

template <int G>
void channels(const Planes& p, const Halves& h, int64_t image, int64_t first, const float* w) {
  for (int64_t y = 0; y < p.rows; ++y) {
    for (int64_t x = 0; x < p.cols; x += width) pixels<G>(p, h, image, y, x, first, w);
  }
}

void some_channels(const Planes& p, const Halves& h, int64_t image, int64_t first, int64_t count, const float* w) {
  switch (count) {
    case 1:
      return channels<1>(p, h, image, first, w);
    case 2:
      return channels<2>(p, h, image, first, w);
    case 3:
      return channels<3>(p, h, image, first, w);
    case 4:
      return channels<4>(p, h, image, first, w);
    case 5:
      return channels<5>(p, h, image, first, w);
    default:
      return channels<6>(p, h, image, first, w);
  }
}

void forward(const Planes& p) {
  const int64_t terms = p.channels * p.kernel[0] * p.kernel[1];
  const int64_t rows = 2 * p.rows + p.kernel[0] - 1;
  const int64_t line = (p.cols + p.kernel[1] / 2 + 2 * width) / width * width;
  const int64_t floats = p.channels * 2 * rows * line;
  const int64_t parts = (p.out + together - 1) / together;
  parallel_for(p.images, 1, [&](int64_t begin, int64_t end) {
    float* weights = (float*)thread_scratch((floats + p.out * terms) * (int64_t)sizeof(float));
    const Halves h{weights + p.out * terms, rows, line};
    const auto first = [&](int64_t part) { return p.out * part / parts; };
    for (int64_t part = 0; part < parts; ++part)
      pack(p, first(part), first(part + 1) - first(part), weights + first(part) * terms);
    for (int64_t image = begin; image < end; ++image) {
      split(p, image, h);
      for (int64_t part = 0; part < parts; ++part)
        some_channels(p, h, image, first(part), first(part + 1) - first(part), weights + first(part) * terms);
    }
  });
}

}  // namespace

constinit const PlanesKernels planes_kernels = {forward};

}  // namespace nonet::NONET_NS
