// The forward pass and the gradient of the input as implicit products: rows of the result are pixels, columns channels,
// and the summed index k = (kernel row, kernel column, channel) is turned into an address while a tile is loaded.
#include "base/dtype.h"
#include "cuda/divide.cuh"
#include "cuda/elements.cuh"
#include "cuda/table.cuh"
#include "ops/conv/conv.h"
#include "ops/conv/finish.cuh"
#include "ops/conv/tile.cuh"
#include "ops/conv/tiles.h"

namespace nonet::NONET_CUDA_NS {

namespace {

// One axis. A result pixel p + phases q of phase p reads source pixel q step + offset + t tap_step for its taps t.
struct AxisPhase {
  int count;  // of values of q
  int taps;   // of kernel elements that reach the phase
  int first;  // the first of them; they are tap_skip apart
  int offset;
};
struct CorrelationAxis {
  int size;    // pixels of the result
  int source;  // pixels of the source
  int phases;  // forward 1; the gradient of the input: the stride
  int kernel, padding, dilation;
  int step;
  int tap_step, tap_skip;

  // The gradient: kernel element i reaches the phase if p + padding - i dilation is a multiple of the stride.
  NONET_DEVICE AxisPhase phase(int p) const {
    if (tap_step > 0) return {size, kernel, 0, -padding};
    AxisPhase out = {(size - p + phases - 1) / phases, 0, 0, 0};
    int i = 0;
    while (i < tap_skip && (p + padding - i * dilation) % phases != 0) ++i;
    if (i < tap_skip && i < kernel) {
      out.first = i;
      out.taps = (kernel - i + tap_skip - 1) / tap_skip;
      out.offset = (p + padding - i * dilation) / phases;
    }
    return out;
  }
};

template <class T>
struct Correlation {
  const T* in;
  int64_t in_image;  // distances in elements
  int in_row, in_pixel, in_channel;
  T* out;                // nhwc
  const float* weights;  // [groups][kernel rows][kernel columns][depth][columns rounded up to 4]
  const float* bias;
  FusedActivation activation;
  int images;
  int depth, columns;  // channels per group of the source and the result
  int channels;        // of the result
  int column_tiles;
  CorrelationAxis y, x;
  Divisor<int32_t> by_depth;

  NONET_DEVICE int weight_row() const { return (columns + 3) / 4 * 4; }
};

// What a block works on.
struct Work {
  int group, phase_y, phase_x;
  AxisPhase y, x;
  int rows;  // of the product: pixels of all images in the phase
  int k;
  Divisor<int32_t> by_taps;  // of a kernel row
};

template <class T>
NONET_DEVICE Work work_of(const Correlation<T>& c) {
  Work w;
  const Dim3 block = block_index();
  w.group = block.y / c.column_tiles;
  w.phase_y = block.z / c.x.phases;
  w.phase_x = block.z % c.x.phases;
  w.y = c.y.phase(w.phase_y);
  w.x = c.x.phase(w.phase_x);
  w.rows = c.images * w.y.count * w.x.count;
  w.k = w.y.taps * w.x.taps * c.depth;
  w.by_taps = Divisor<int32_t>(w.x.taps);
  return w;
}

struct Tap {
  int y, x, channel;
};
template <class T>
NONET_DEVICE Tap tap_of(const Correlation<T>& c, const Work& w, int k) {
  const int tap = c.by_depth.quotient(k);
  const int row = w.by_taps.quotient(tap);
  return {row, tap - row * w.x.taps, k - tap * c.depth};
}

// A pixel of the phase.
struct Pixel {
  int image, y, x;
};
NONET_DEVICE Pixel pixel_of(const Work& w, int row) {
  const int line = row / w.x.count;
  const int image = line / w.y.count;
  return {image, line - image * w.y.count, row - line * w.x.count};
}

// The source pixel under tap (0, 0) of a row of the product; outside of every image for rows beyond the last.
template <class T>
struct Anchor {
  const T* image;
  int y, x;

  NONET_DEVICE void set(const Correlation<T>& c, const Work& w, int row) {
    const bool valid = row < w.rows;
    const Pixel p = pixel_of(w, valid ? row : 0);
    image = c.in + p.image * c.in_image + static_cast<int64_t>(w.group) * c.depth * c.in_channel;
    y = valid ? p.y * c.y.step + w.y.offset : -(1 << 30);
    x = p.x * c.x.step + w.x.offset;
  }
  // The element of a tap, or null in the padding.
  NONET_DEVICE const T* at(const Correlation<T>& c, const Tap& tap) const {
    const int row = y + tap.y * c.y.tap_step;
    const int column = x + tap.x * c.x.tap_step;
    if (row < 0 || row >= c.y.source || column < 0 || column >= c.x.source) return nullptr;
    return image + (row * c.in_row + column * c.in_pixel + tap.channel * c.in_channel);
  }
};

// A^T in shared memory, where four neighbours in k are four channels of a pixel.
template <class T, class Tile>
struct ChannelLoader {
  static constexpr int quads = Tile::k / 4;
  static constexpr int rows = Tile::threads / quads;
  static constexpr int passes = Tile::m / rows;
  const Correlation<T>& c;
  const Work& w;
  Anchor<T> anchor[passes];
  float value[passes][4];

  NONET_DEVICE ChannelLoader(const Correlation<T>& c, const Work& w, int first_row) : c(c), w(w) {
    NONET_UNROLL
    for (int p = 0; p < passes; ++p) anchor[p].set(c, w, first_row + thread_rank() / quads + p * rows);
  }
  NONET_DEVICE void load(int slice) {
    const int k = slice * Tile::k + thread_rank() % quads * 4;
    const Tap tap = tap_of(c, w, k);
    NONET_UNROLL
    for (int p = 0; p < passes; ++p) {
      const T* from = k < w.k ? anchor[p].at(c, tap) : nullptr;
      Pack<T, 4> four = {};
      if (from != nullptr) four = load_readonly(reinterpret_cast<const Pack<T, 4>*>(from));
      NONET_UNROLL
      for (int j = 0; j < 4; ++j) value[p][j] = as_float(four[j]);
    }
  }
  NONET_DEVICE void store(float* a) const {
    a += thread_rank() % quads * 4 * Tile::a_row + thread_rank() / quads;
    NONET_UNROLL
    for (int p = 0; p < passes; ++p) {
      NONET_UNROLL
      for (int j = 0; j < 4; ++j) a[j * Tile::a_row + p * rows] = value[p][j];
    }
  }
};

// The same for any format and number of channels: neighbouring threads read neighbouring pixels.
template <class T, class Tile>
struct PixelLoader {
  static_assert(Tile::threads % Tile::m == 0);
  static constexpr int step = Tile::threads / Tile::m;  // of k
  static constexpr int passes = Tile::k / step;
  const Correlation<T>& c;
  const Work& w;
  Anchor<T> anchor;
  float value[passes];

  NONET_DEVICE PixelLoader(const Correlation<T>& c, const Work& w, int first_row) : c(c), w(w) {
    anchor.set(c, w, first_row + thread_rank() % Tile::m);
  }
  NONET_DEVICE void load(int slice) {
    const int first = slice * Tile::k + thread_rank() / Tile::m;
    NONET_UNROLL
    for (int p = 0; p < passes; ++p) {
      const int k = first + p * step;
      const T* from = k < w.k ? anchor.at(c, tap_of(c, w, k)) : nullptr;
      value[p] = from == nullptr ? 0.f : as_float(load_readonly(from));
    }
  }
  NONET_DEVICE void store(float* a) const {
    a += thread_rank() / Tile::m * Tile::a_row + thread_rank() % Tile::m;
    NONET_UNROLL
    for (int p = 0; p < passes; ++p) a[p * step * Tile::a_row] = value[p];
  }
};

template <class T, class Tile>
struct WeightLoader {
  static constexpr int quads = Tile::n / 4;
  static constexpr int passes = (Tile::k * quads + Tile::threads - 1) / Tile::threads;
  const Correlation<T>& c;
  const Work& w;
  const float* weights;
  int column;  // of the tile's first
  Pack<float, 4> value[passes];

  NONET_DEVICE WeightLoader(const Correlation<T>& c, const Work& w, int column) : c(c), w(w), column(column) {
    weights = c.weights + static_cast<int64_t>(w.group) * c.y.kernel * c.x.kernel * c.depth * c.weight_row() + column;
  }
  NONET_DEVICE void load(int slice) {
    NONET_UNROLL
    for (int p = 0; p < passes; ++p) {
      const int place = thread_rank() + p * Tile::threads;
      const int own = place % quads * 4;
      const int k = slice * Tile::k + place / quads;
      value[p] = {};
      if (place >= Tile::k * quads || k >= w.k || column + own >= c.weight_row()) continue;
      const Tap tap = tap_of(c, w, k);
      const int y = w.y.first + tap.y * c.y.tap_skip;
      const int x = w.x.first + tap.x * c.x.tap_skip;
      const int64_t row = (static_cast<int64_t>(y) * c.x.kernel + x) * c.depth + tap.channel;
      value[p] = load_readonly(reinterpret_cast<const Pack<float, 4>*>(weights + row * c.weight_row() + own));
    }
  }
  NONET_DEVICE void store(float* b) const {
    NONET_UNROLL
    for (int p = 0; p < passes; ++p) {
      const int place = thread_rank() + p * Tile::threads;
      if (place < Tile::k * quads) store_pack(b + place / quads * Tile::b_row + place % quads * 4, value[p]);
    }
  }
};

template <class T, class Tile>
NONET_DEVICE void store_tile(const Correlation<T>& c, const Work& w, const Tile& tile, int first_row, int column) {
  const bool whole = c.columns % 4 == 0 && is_aligned<4>(c.out);
  NONET_UNROLL
  for (int i = 0; i < Tile::thread_m; ++i) {
    const int row = first_row + tile.row(i / 4) + i % 4;
    if (row >= w.rows) continue;
    const Pixel p = pixel_of(w, row);
    const int y = w.phase_y + p.y * c.y.phases;
    const int x = w.phase_x + p.x * c.x.phases;
    const int64_t pixel = (static_cast<int64_t>(p.image) * c.y.size + y) * c.x.size + x;
    NONET_UNROLL
    for (int j = 0; j < Tile::thread_n; j += 4) {
      const int own = column + tile.column(j / 4);
      const int count = c.columns - own;
      if (count <= 0) continue;
      const int channel = w.group * c.columns + own;
      Pack<float, 4> z;
      NONET_UNROLL
      for (int e = 0; e < 4; ++e) {
        z[e] = tile.sum[i][j + e];
        if (c.bias != nullptr && e < count) z[e] += c.bias[channel + e];
      }
      store_four(c.out + pixel * c.channels + channel, whole, count, activated(z, c.activation));
    }
  }
}

template <class T, class Shape, bool by_channels>
struct Correlate {
  static constexpr int max_threads = Shape::threads;
  static constexpr int min_blocks = Shape::min_blocks;
  NONET_DEVICE void operator()(const Correlation<T>& c) const {
    const Work w = work_of(c);
    const int first_row = block_index().x * Shape::m;
    if (first_row >= w.rows) return;  // phases differ in size
    const int column = block_index().y % c.column_tiles * Shape::n;
    std::conditional_t<by_channels, ChannelLoader<T, Shape>, PixelLoader<T, Shape>> a(c, w, first_row);
    WeightLoader<T, Shape> b(c, w, column);
    Shape tile;
    tile.run((w.k + Shape::k - 1) / Shape::k, a, b);
    store_tile(c, w, tile, first_row, column);
  }
};

template <class Shape, class T>
void correlate(Stream stream, Correlation<T> c, int64_t groups, bool by_channels) {
  c.column_tiles = static_cast<int>(divide_up(c.columns, Shape::n));
  const int64_t rows = int64_t{c.images} * divide_up(c.y.size, c.y.phases) * divide_up(c.x.size, c.x.phases);
  if (rows == 0 || c.columns == 0 || groups == 0) return;
  LaunchConfig config;
  config.grid = {static_cast<int>(divide_up(rows, Shape::m)), static_cast<int>(groups * c.column_tiles),
                 c.y.phases * c.x.phases};
  config.block = {Shape::threads};
  config.shared_bytes = Shape::shared_bytes;
  config.stream = stream;
  if (by_channels) {
    note(launch(config, Correlate<T, Shape, true>{}, c));
  } else {
    note(launch(config, Correlate<T, Shape, false>{}, c));
  }
}

template <class T>
void correlate(Stream stream, const Correlation<T>& c, int64_t groups) {
  const bool by_channels =
      c.in_channel == 1 && c.depth % 4 == 0 && c.in_pixel % 4 == 0 && reinterpret_cast<uintptr_t>(c.in) % 16 == 0;
  const int64_t rows = int64_t{c.images} * c.y.size * c.x.size;
  switch (correlation_tile(rows, c.columns, groups)) {
    case ConvTile::wide:
      return correlate<Tile<128, 128, 8, 8, 8>>(stream, c, groups, by_channels);
    case ConvTile::middle:
      return correlate<Tile<128, 64, 16, 8, 4>>(stream, c, groups, by_channels);
    default:
      return correlate<Tile<256, 16, 16, 4, 4>>(stream, c, groups, by_channels);
  }
}

// Sizes that both directions share; a: 0 rows, 1 columns.
CorrelationAxis forward_axis(const ConvShape& s, int a) {
  const auto i = [](int64_t x) { return static_cast<int>(x); };
  return {i(a == 0 ? s.oh : s.ow), i(a == 0 ? s.h : s.w), 1, i(a == 0 ? s.kh : s.kw), i(s.padding[a]), i(s.dilation[a]),
          i(s.stride[a]),          i(s.dilation[a]),      1};
}
CorrelationAxis backward_axis(const ConvShape& s, int a) {
  int64_t divisor = s.stride[a];  // the greatest that stride and dilation share
  for (int64_t rest = s.dilation[a]; rest != 0;) {
    const int64_t next = divisor % rest;
    divisor = rest;
    rest = next;
  }
  const auto i = [](int64_t x) { return static_cast<int>(x); };
  return {i(a == 0 ? s.h : s.w),
          i(a == 0 ? s.oh : s.ow),
          i(s.stride[a]),
          i(a == 0 ? s.kh : s.kw),
          i(s.padding[a]),
          i(s.dilation[a]),
          1,
          i(-(s.dilation[a] / divisor)),
          i(s.stride[a] / divisor)};
}

void forward(Stream stream, DType dtype, const void* x, bool nhwc, const float* weights, const float* bias,
             FusedActivation activation, void* y, const ConvShape& s) {
  visit_floating(dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    Correlation<T> c{};
    c.in = static_cast<const T*>(x);
    c.in_image = s.c * s.h * s.w;
    c.in_row = static_cast<int>(nhwc ? s.w * s.c : s.w);
    c.in_pixel = static_cast<int>(nhwc ? s.c : 1);
    c.in_channel = static_cast<int>(nhwc ? 1 : s.h * s.w);
    c.out = static_cast<T*>(y);
    c.weights = weights;
    c.bias = bias;
    c.activation = activation;
    c.images = static_cast<int>(s.n);
    c.depth = static_cast<int>(s.in());
    c.columns = static_cast<int>(s.out());
    c.channels = static_cast<int>(s.o);
    c.y = forward_axis(s, 0);
    c.x = forward_axis(s, 1);
    c.by_depth = Divisor<int32_t>(c.depth);
    correlate(stream, c, s.groups);
  });
}

void backward_input(Stream stream, DType dtype, const void* dy, const float* weights, const float* bias,
                    FusedActivation activation, void* dx, const ConvShape& s) {
  visit_floating(dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    Correlation<T> c{};
    c.in = static_cast<const T*>(dy);
    c.in_image = s.o * s.oh * s.ow;
    c.in_row = static_cast<int>(s.ow * s.o);
    c.in_pixel = static_cast<int>(s.o);
    c.in_channel = 1;
    c.out = static_cast<T*>(dx);
    c.weights = weights;
    c.bias = bias;
    c.activation = activation;
    c.images = static_cast<int>(s.n);
    c.depth = static_cast<int>(s.out());
    c.columns = static_cast<int>(s.in());
    c.channels = static_cast<int>(s.c);
    c.y = backward_axis(s, 0);
    c.x = backward_axis(s, 1);
    c.by_depth = Divisor<int32_t>(c.depth);
    correlate(stream, c, s.groups);
  });
}

}  // namespace

NONET_DEVICE_TABLE(ConvDevice, simt, {forward, backward_input});

}  // namespace nonet::NONET_CUDA_NS
