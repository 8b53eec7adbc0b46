#include "ops/conv/winograd.h"

#include "ops/conv/passes.h"

namespace nonet {

namespace {

constexpr int64_t least_channels = 16;  // of both images: transforms cost as much as products of so many
constexpr int64_t least_tiles = 16;     // that make the transform of the weights worth while

int64_t tiles_along(int64_t pixels) {
  return (pixels + 1) / 2;
}

// Whether tiles on `rows` x `cols` pixels compute less than kernels on all of them.
bool pays(const ConvSizes& s, const ConvOptions& o, int64_t rows, int64_t cols) {
  const bool fits = s.kh == 3 && s.kw == 3 && s.groups == 1 && o.stride[0] == 1 && o.stride[1] == 1 &&
                    o.dilation[0] == 1 && o.dilation[1] == 1 && o.precision != Precision::ieee;
  if (!fits || std::min(s.in, s.out) < least_channels) return false;
  const int64_t tiles = tiles_along(rows) * tiles_along(cols);
  return s.n * tiles >= least_tiles && 20 * tiles < 9 * rows * cols;
}

// What tiles on that many pixels read, `above` and `left` rows and columns of zeros first.
Window tile_window(int64_t above, int64_t left, int64_t rows, int64_t cols, int64_t channels) {
  return {above, left, 2 * tiles_along(rows) + 2, 2 * tiles_along(cols) + 2, channels};
}

Pixels<float> rows_of(const Array& image, int64_t first) {
  const int64_t row = image.dim(3) * image.dim(1);
  return {image.raw<float>() + first * image.dim(2) * row, image.dim(2) * row, row, image.dim(1)};
}

// to = f(bias + the convolution of `from` as the window shows it)
bool convolve(const Array& from, const Window& window, const Array& weights, const float* bias,
              FusedActivation activation, const Array& to) {
  const int64_t step = images_at_a_time(from, window);
  Array memory;
  for (int64_t first = 0; first < from.dim(0); first += step) {
    const int64_t images = std::min(step, from.dim(0) - first);
    const bool fine = winograd_kernels().forward({.images = images,
                                                  .rows = to.dim(2),
                                                  .cols = to.dim(3),
                                                  .in = windowed(from, first, images, window, memory),
                                                  .out = rows_of(to, first),
                                                  .depth = from.dim(1),
                                                  .channels = to.dim(1),
                                                  .weights = static_cast<const float*>(weights.address()),
                                                  .bias = bias,
                                                  .activation = activation});
    if (!fine) return false;
  }
  return true;
}

}  // namespace

bool winograd_forward(const Array& x, const Array& weight, const float* bias, const ConvSizes& s, const ConvOptions& o,
                      const Array& y) {
  if (!pays(s, o, s.oh, s.ow)) return false;
  const Window window = tile_window(o.padding[0], o.padding[2], s.oh, s.ow, s.c);
  return convolve(x, window, prepared(weight, s, Weights::tiles, o.keeps_weights), bias, o.activation, y);
}

bool winograd_input(const Array& dy, const Array& weight, const float* bias, const ConvSizes& s, const ConvOptions& o,
                    const Array& dx) {
  if (!pays(s, o, s.h, s.w)) return false;
  const Window window = tile_window(2 - o.padding[0], 2 - o.padding[2], s.h, s.w, s.o);
  return convolve(dy, window, prepared(weight, s, Weights::rotated, o.keeps_weights), bias, o.activation, dx);
}

bool winograd_weight(const Array& dy, const Array& x, const ConvSizes& s, const ConvOptions& o, const Array& dweight) {
  if (!pays(s, o, s.oh, s.ow)) return false;
  const Window in_window = tile_window(o.padding[0], o.padding[2], s.oh, s.ow, s.c);
  const Window out_window{0, 0, s.oh, s.ow, s.o};
  const int64_t step = std::min(images_at_a_time(x, in_window), images_at_a_time(dy, out_window));
  const Array sums(Shape{16 * s.c * s.o});
  Array in_memory;
  Array out_memory;
  Array workspace;
  for (int64_t first = 0; first < s.n; first += step) {
    const int64_t images = std::min(step, s.n - first);
    WinogradGradient g{.images = images,
                       .rows = s.oh,
                       .cols = s.ow,
                       .in = windowed(x, first, images, in_window, in_memory),
                       .out = windowed(dy, first, images, out_window, out_memory),
                       .depth = s.c,
                       .channels = s.o,
                       .sums = sums.data<float>(),
                       .workspace = nullptr,
                       .accumulate = first > 0};
    if (!workspace.defined()) workspace = Array(Shape{winograd_kernels().gradient_workspace(g)});
    g.workspace = workspace.data<float>();
    winograd_kernels().gradient(g);
  }
  return winograd_kernels().gradient_weights(sums.data<float>(), s.o, s.c, dweight.data<float>());
}

}  // namespace nonet
