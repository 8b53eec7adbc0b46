#include "ops/conv/winograd.h"

#include <algorithm>

#include "ops/conv/passes.h"

namespace nonet {

namespace {

constexpr int64_t least_channels = 16;  // of both images: transforms cost as much as products of so many
constexpr int64_t least_tiles = 16;     // that make the transform of the weights worth while

int64_t tiles_along(int64_t pixels) {
  return (pixels + 1) / 2;
}

// Whether tiles on `rows` x `cols` pixels of a `size` x `size` kernel with this stride compute less than kernels on all
// of them: `pixels` of the latter cost as much as `cost` tiles.
bool tiles_pay(const ConvSizes& s, const ConvOptions& o, int64_t size, int64_t stride, int64_t pixels, int64_t cost,
               int64_t rows, int64_t cols) {
  const bool fits = s.kh == size && s.kw == size && s.groups == 1 && o.stride[0] == stride && o.stride[1] == stride &&
                    o.dilation[0] == 1 && o.dilation[1] == 1 && o.precision != Precision::ieee;
  if (!fits || std::min(s.in, s.out) < least_channels) return false;
  const int64_t tiles = tiles_along(rows) * tiles_along(cols);
  return s.n * tiles >= least_tiles && pixels * tiles < cost * rows * cols;
}

bool pays(const ConvSizes& s, const ConvOptions& o, int64_t rows, int64_t cols) {
  return tiles_pay(s, o, 3, 1, 20, 9, rows, cols);
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

// ---------------------------------------------------------------- kernels of 4 x 4 with stride 2: four of 2 x 2

bool pairs_pay(const ConvSizes& s, const ConvOptions& o, int64_t rows, int64_t cols) {
  return tiles_pay(s, o, 4, 2, 90, 28, rows, cols);
}

int64_t pairs_floats(int64_t columns, int64_t depth) {
  return 9 * ((columns + 31) / 32) * 32 * depth;
}

// y = f(bias + conv(x)): pixels of one parity are a source.
bool pairs_forward(const Array& x, const Array& weight, const float* bias, const ConvSizes& s, const ConvOptions& o,
                   const Array& y) {
  if (multiplies_terms(o.precision) || !pairs_pay(s, o, s.oh, s.ow)) return false;  // patches are faster
  const int64_t depth = 4 * s.c;
  const Array weights(Shape{pairs_floats(s.o, depth)});
  for (int64_t a = 0; a < 2; ++a) {
    for (int64_t b = 0; b < 2; ++b) {
      winograd_kernels().pairs_weights(weight.data<float>(), s.o, s.c, false, {a, a + 2}, {b, b + 2}, (2 * a + b) * s.c,
                                       depth, weights.data<float>());
    }
  }
  const Window window{o.padding[0], o.padding[2], 4 * tiles_along(s.oh) + 2, 4 * tiles_along(s.ow) + 2, s.c};
  const int64_t step = images_at_a_time(x, window);
  Array memory;
  for (int64_t first = 0; first < s.n; first += step) {
    const int64_t images = std::min(step, s.n - first);
    const Pixels<const float> in = windowed(x, first, images, window, memory);
    const bool fine = winograd_kernels().pairs({.images = images,
                                                .rows = s.oh,
                                                .cols = s.ow,
                                                .in = {in.data, in.image, 2 * in.row, 2 * in.pixel},
                                                .out = rows_of(y, first),
                                                .depth = s.c,
                                                .sources = 4,
                                                .source = {0, in.pixel, in.row, in.row + in.pixel},
                                                .channels = s.o,
                                                .weights = weights.data<float>(),
                                                .bias = bias,
                                                .activation = o.activation});
    if (!fine) return false;
  }
  return true;
}

// Along one axis, the pixels of dX of one parity: how many there are, the elements of a kernel that reach them, and the
// pixel of dY that the first of these reads for the first of them.
struct Parity {
  int64_t count;
  int64_t element[2];
  int64_t from;

  Parity(int64_t parity, int64_t size, int64_t before)
      : count((size - parity + 1) / 2),
        element{(parity + before) % 2 + 2, (parity + before) % 2},
        from((parity + before) / 2 - 1) {}
};

// dx = f(bias + the gradient of conv's input): one call for each parity of rows and columns.
bool pairs_input(const Array& dy, const Array& weight, const float* bias, const ConvSizes& s, const ConvOptions& o,
                 const Array& dx) {
  if (!pairs_pay(s, o, s.h / 2, s.w / 2)) return false;
  const Parity rows[2] = {{0, s.h, o.padding[0]}, {1, s.h, o.padding[0]}};
  const Parity cols[2] = {{0, s.w, o.padding[2]}, {1, s.w, o.padding[2]}};
  const int64_t floats = pairs_floats(s.c, s.o);
  const Array weights(Shape{4 * floats});
  for (int64_t a = 0; a < 2; ++a) {
    for (int64_t b = 0; b < 2; ++b) {
      winograd_kernels().pairs_weights(weight.data<float>(), s.o, s.c, true, rows[a].element, cols[b].element, 0, s.o,
                                       weights.data<float>() + (2 * a + b) * floats);
    }
  }
  const auto reach = [](const Parity(&p)[2]) {
    return std::max(p[0].from + 2 * tiles_along(p[0].count), p[1].from + 2 * tiles_along(p[1].count)) + 1;
  };
  const int64_t top = std::max<int64_t>(0, -rows[0].from);
  const int64_t left = std::max<int64_t>(0, -cols[0].from);
  const Window window{top, left, top + reach(rows), left + reach(cols), s.o};
  const int64_t step = images_at_a_time(dy, window);
  Array memory;
  for (int64_t first = 0; first < s.n; first += step) {
    const int64_t images = std::min(step, s.n - first);
    const Pixels<const float> in = windowed(dy, first, images, window, memory);
    const Pixels<float> out = rows_of(dx, first);
    for (int64_t a = 0; a < 2; ++a) {
      for (int64_t b = 0; b < 2; ++b) {
        const float* from = in.data + (top + rows[a].from) * in.row + (left + cols[b].from) * in.pixel;
        float* to = out.data + a * out.row + b * out.pixel;
        const bool fine = winograd_kernels().pairs({.images = images,
                                                    .rows = rows[a].count,
                                                    .cols = cols[b].count,
                                                    .in = {from, in.image, in.row, in.pixel},
                                                    .out = {to, out.image, 2 * out.row, 2 * out.pixel},
                                                    .depth = s.o,
                                                    .sources = 1,
                                                    .source = {0},
                                                    .channels = s.c,
                                                    .weights = weights.data<float>() + (2 * a + b) * floats,
                                                    .bias = bias,
                                                    .activation = o.activation});
        if (!fine) return false;
      }
    }
  }
  return true;
}

}  // namespace

bool winograd_forward(const Array& x, const Array& weight, const float* bias, const ConvSizes& s, const ConvOptions& o,
                      const Array& y) {
  if (!pays(s, o, s.oh, s.ow)) return pairs_forward(x, weight, bias, s, o, y);
  const Window window = tile_window(o.padding[0], o.padding[2], s.oh, s.ow, s.c);
  return convolve(x, window, prepared(weight, s, Weights::tiles, o.keeps_weights), bias, o.activation, y);
}

bool winograd_input(const Array& dy, const Array& weight, const float* bias, const ConvSizes& s, const ConvOptions& o,
                    const Array& dx) {
  if (!pays(s, o, s.h, s.w)) return pairs_input(dy, weight, bias, s, o, dx);
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
