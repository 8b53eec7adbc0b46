// When and how the gradient of an image is added up from products (Spread in conv.h).
#include <algorithm>

#include "ops/conv/passes.h"

namespace nonet {

namespace {

constexpr int64_t least_images = 4;  // each is one task

// Vectors that hold so many channels, in halves: a small number of channels takes half a vector.
int64_t half_vectors(int64_t channels) {
  return channels <= 8 ? 1 : 2 * ((channels + 15) / 16);
}

// Whether adding products where they belong takes less than a correlation, counted in multiply-adds of half vectors: 20
// per pixel that is added to, 200 per product.
bool spreads(const ConvSizes& s, const ConvOptions& o) {
  if (s.c > spread_channels || s.groups != 1 || o.dilation[1] != 1 || s.kw == 1 || s.n < least_images) return false;
  const int64_t products = s.oh * (s.ow * s.o * half_vectors(s.kw * s.c) + 20 * s.w + 200);
  const int64_t correlation = s.h * s.w * s.kw * s.o * half_vectors(s.c) / (o.stride[0] * o.stride[1]);
  return products < correlation;
}

}  // namespace

bool spread_input(const Array& dy, const Array& weight, const float* bias, const ConvSizes& s, const ConvOptions& o,
                  const Array& dx) {
  if (!spreads(s, o)) return false;
  const Array packed = pack_spread(weight, s);
  const Window window{0, 0, s.oh, s.ow, s.o};
  const int64_t step = images_at_a_time(dy, window);
  Array memory;
  for (int64_t first = 0; first < s.n; first += step) {
    const int64_t images = std::min(step, s.n - first);
    conv_kernels().spread({.images = images,
                           .rows = s.oh,
                           .cols = s.ow,
                           .in = windowed(dy, first, images, window, memory),
                           .depth = s.o,
                           .out = dx.raw<float>() + first * s.h * s.w * s.c,
                           .height = s.h,
                           .width = s.w,
                           .channels = s.c,
                           .kernel = {s.kh, s.kw},
                           .stride = {o.stride[0], o.stride[1]},
                           .padding = {o.padding[0], o.padding[2]},
                           .dilation = o.dilation[0],
                           .weights = packed.data<float>(),
                           .bias = bias,
                           .activation = o.activation});
  }
  return true;
}

}  // namespace nonet
