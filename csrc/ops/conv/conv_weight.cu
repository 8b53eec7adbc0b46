// The gradient of the weights as an implicit product: rows are channels out, columns kernel positions and channels in,
// and pixels are summed, each slice of them by blocks of its own.
#include "base/dtype.h"
#include "cuda/divide.cuh"
#include "cuda/elements.cuh"
#include "cuda/table.cuh"
#include "ops/conv/conv.h"
#include "ops/conv/tile.cuh"
#include "ops/conv/tiles.h"

namespace nonet::NONET_CUDA_NS {

namespace {

template <class T>
struct Correspondence {
  const T* dy;  // nhwc
  const T* x;
  int64_t x_image;  // distances in elements
  int x_row, x_pixel, x_channel;
  float* partial;
  int pixels, slice_pixels;  // of all images; of a slice
  int o, in, out;            // channels: all out, and per group
  int positions;
  int h, w;
  int stride_y, stride_x, top, left, dilation_y, dilation_x;
  int column_tiles;
  Divisor<int32_t> by_ow, by_oh, by_in, by_kw;
};

struct Pixel {
  int64_t image;  // where it begins
  int y, x;       // under tap (0, 0)
};
template <class T>
NONET_DEVICE Pixel pixel_of(const Correspondence<T>& c, int pixel) {
  const int line = c.by_ow.quotient(pixel);
  const int image = c.by_oh.quotient(line);
  return {image * c.x_image, (line - image * c.by_oh.value) * c.stride_y - c.top,
          (pixel - line * c.by_ow.value) * c.stride_x - c.left};
}

// A column of dW: how far its tap is from tap (0, 0), and its channel.
struct Column {
  int y, x, channel;
};
template <class T>
NONET_DEVICE Column column_of(const Correspondence<T>& c, int column) {
  const int position = c.by_in.quotient(column);
  const int row = c.by_kw.quotient(position);
  return {row * c.dilation_y, (position - row * c.by_kw.value) * c.dilation_x, column - position * c.in};
}

// The element of x, or null in the padding.
template <class T>
NONET_DEVICE const T* element(const Correspondence<T>& c, const T* x, const Pixel& p, const Column& k) {
  const int row = p.y + k.y;
  const int column = p.x + k.x;
  if (row < 0 || row >= c.h || column < 0 || column >= c.w) return nullptr;
  return x + p.image + (row * c.x_row + column * c.x_pixel + k.channel * c.x_channel);
}

// Rows of dY, as they are.
template <class T, class Tile>
struct GradientLoader {
  static constexpr int quads = Tile::m / 4;
  static constexpr int passes = (Tile::k * quads + Tile::threads - 1) / Tile::threads;
  const Correspondence<T>& c;
  int begin, end;  // pixels
  const T* from;
  int count;  // of the group's channels from the tile's first on
  bool whole;
  Pack<float, 4> value[passes];

  NONET_DEVICE GradientLoader(const Correspondence<T>& c, int begin, int end, int group, int row)
      : c(c), begin(begin), end(end), from(c.dy + group * c.out + row), count(c.out - row) {
    whole = c.out % 4 == 0 && is_aligned<4>(c.dy);
  }
  NONET_DEVICE void load(int slice) {
    NONET_UNROLL
    for (int p = 0; p < passes; ++p) {
      const int place = thread_rank() + p * Tile::threads;
      const int own = place % quads * 4;
      const int pixel = begin + slice * Tile::k + place / quads;
      value[p] = {};
      if (place < Tile::k * quads && pixel < end) {
        value[p] = load_four(from + static_cast<int64_t>(pixel) * c.o + own, whole, count - own);
      }
    }
  }
  NONET_DEVICE void store(float* a) const {
    NONET_UNROLL
    for (int p = 0; p < passes; ++p) {
      const int place = thread_rank() + p * Tile::threads;
      if (place < Tile::k * quads) store_pack(a + place / quads * Tile::a_row + place % quads * 4, value[p]);
    }
  }
};

// Columns of x under the pixels, where four neighbours are four channels.
template <class T, class Tile>
struct ChannelLoader {
  static constexpr int quads = Tile::n / 4;
  static constexpr int rows = Tile::threads / quads;
  static constexpr int passes = Tile::k / rows;
  static_assert(Tile::threads % quads == 0 && Tile::k % rows == 0);
  const Correspondence<T>& c;
  int begin, end;
  const T* x;
  Column column;
  bool valid;
  float value[passes][4];

  NONET_DEVICE ChannelLoader(const Correspondence<T>& c, int begin, int end, int group, int first)
      : c(c), begin(begin), end(end), x(c.x + static_cast<int64_t>(group) * c.in * c.x_channel) {
    const int own = first + thread_rank() % quads * 4;
    valid = own < c.positions * c.in;
    column = column_of(c, own);
  }
  NONET_DEVICE void load(int slice) {
    NONET_UNROLL
    for (int p = 0; p < passes; ++p) {
      const int pixel = begin + slice * Tile::k + thread_rank() / quads + p * rows;
      const T* from = valid && pixel < end ? element(c, x, pixel_of(c, pixel), column) : nullptr;
      Pack<T, 4> four = {};
      if (from != nullptr) four = load_readonly(reinterpret_cast<const Pack<T, 4>*>(from));
      NONET_UNROLL
      for (int j = 0; j < 4; ++j) value[p][j] = as_float(four[j]);
    }
  }
  NONET_DEVICE void store(float* b) const {
    b += thread_rank() / quads * Tile::b_row + thread_rank() % quads * 4;
    NONET_UNROLL
    for (int p = 0; p < passes; ++p) {
      store_pack(b + p * rows * Tile::b_row, Pack<float, 4>{value[p][0], value[p][1], value[p][2], value[p][3]});
    }
  }
};

// The same for any format and number of channels: neighbouring threads read neighbouring pixels.
template <class T, class Tile>
struct PixelLoader {
  static constexpr int step = Tile::threads / Tile::k;  // of columns
  static constexpr int passes = Tile::n / step;
  const Correspondence<T>& c;
  int begin, end;
  const T* x;
  int first;
  float value[passes];

  NONET_DEVICE PixelLoader(const Correspondence<T>& c, int begin, int end, int group, int first)
      : c(c),
        begin(begin),
        end(end),
        x(c.x + static_cast<int64_t>(group) * c.in * c.x_channel),
        first(first + thread_rank() / Tile::k) {}
  NONET_DEVICE void load(int slice) {
    const int pixel = begin + slice * Tile::k + thread_rank() % Tile::k;
    const Pixel at = pixel_of(c, pixel < end ? pixel : 0);
    NONET_UNROLL
    for (int p = 0; p < passes; ++p) {
      const int column = first + p * step;
      const bool valid = pixel < end && column < c.positions * c.in;
      const T* from = valid ? element(c, x, at, column_of(c, column)) : nullptr;
      value[p] = from == nullptr ? 0.f : as_float(load_readonly(from));
    }
  }
  NONET_DEVICE void store(float* b) const {
    b += thread_rank() % Tile::k * Tile::b_row + thread_rank() / Tile::k;
    NONET_UNROLL
    for (int p = 0; p < passes; ++p) b[p * step] = value[p];
  }
};

template <class T, class Shape, bool by_channels>
struct WeightSlice {
  static constexpr int max_threads = Shape::threads;
  static constexpr int min_blocks = Shape::min_blocks;
  NONET_DEVICE void operator()(const Correspondence<T>& c) const {
    const Dim3 block = block_index();
    const int row = block.x / c.column_tiles * Shape::m;
    const int column = block.x % c.column_tiles * Shape::n;
    const int begin = block.z * c.slice_pixels;
    const int end = c.pixels - begin < c.slice_pixels ? c.pixels : begin + c.slice_pixels;
    GradientLoader<T, Shape> a(c, begin, end, block.y, row);
    std::conditional_t<by_channels, ChannelLoader<T, Shape>, PixelLoader<T, Shape>> b(c, begin, end, block.y, column);
    Shape tile;
    tile.run(end > begin ? (end - begin + Shape::k - 1) / Shape::k : 0, a, b);
    const int columns = c.positions * c.in;
    const bool whole = columns % 4 == 0;
    NONET_UNROLL
    for (int i = 0; i < Shape::thread_m; ++i) {
      const int own_row = row + tile.row(i / 4) + i % 4;
      if (own_row >= c.out) continue;
      float* to = c.partial + (static_cast<int64_t>(block.z) * c.o + block.y * c.out + own_row) * columns;
      NONET_UNROLL
      for (int j = 0; j < Shape::thread_n; j += 4) {
        const int own = column + tile.column(j / 4);
        const Pack<float, 4> four = {tile.sum[i][j], tile.sum[i][j + 1], tile.sum[i][j + 2], tile.sum[i][j + 3]};
        store_four(to + own, whole, columns - own, four);
      }
    }
  }
};

template <class Shape, class T>
void run_slices(Stream stream, Correspondence<T> c, int64_t groups, int64_t slices) {
  const int64_t columns = int64_t{c.positions} * c.in;
  c.column_tiles = static_cast<int>(divide_up(columns, Shape::n));
  const int64_t per_slice = divide_up(divide_up(c.pixels, slices), Shape::k) * Shape::k;
  c.slice_pixels = static_cast<int>(per_slice);
  LaunchConfig config;
  config.grid = {static_cast<int>(c.column_tiles * divide_up(c.out, Shape::m)), static_cast<int>(groups),
                 static_cast<int>(slices)};
  config.block = {Shape::threads};
  config.shared_bytes = Shape::shared_bytes;
  config.stream = stream;
  const bool by_channels =
      c.x_channel == 1 && c.in % 4 == 0 && c.x_pixel % 4 == 0 && reinterpret_cast<uintptr_t>(c.x) % 16 == 0;
  if (by_channels) {
    note(launch(config, WeightSlice<T, Shape, true>{}, c));
  } else {
    note(launch(config, WeightSlice<T, Shape, false>{}, c));
  }
}

void slices(Stream stream, DType dtype, const void* dy, const void* x, bool nhwc, float* partial, const ConvShape& s) {
  visit_floating(dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const auto i = [](int64_t number) { return static_cast<int>(number); };
    Correspondence<T> c{};
    c.dy = static_cast<const T*>(dy);
    c.x = static_cast<const T*>(x);
    c.x_image = s.c * s.h * s.w;
    c.x_row = i(nhwc ? s.w * s.c : s.w);
    c.x_pixel = i(nhwc ? s.c : 1);
    c.x_channel = i(nhwc ? 1 : s.h * s.w);
    c.partial = partial;
    c.pixels = i(s.n * s.oh * s.ow);
    c.o = i(s.o);
    c.in = i(s.in());
    c.out = i(s.out());
    c.positions = i(s.kh * s.kw);
    c.h = i(s.h);
    c.w = i(s.w);
    c.stride_y = i(s.stride[0]);
    c.stride_x = i(s.stride[1]);
    c.top = i(s.padding[0]);
    c.left = i(s.padding[1]);
    c.dilation_y = i(s.dilation[0]);
    c.dilation_x = i(s.dilation[1]);
    c.by_ow = Divisor<int32_t>(s.ow);
    c.by_oh = Divisor<int32_t>(s.oh);
    c.by_in = Divisor<int32_t>(s.in());
    c.by_kw = Divisor<int32_t>(s.kw);
    const int64_t count = weight_slices(s);
    switch (weight_tile(s).m) {
      case 16:
        return run_slices<Tile<16, 128, 16, 4, 4>>(stream, c, s.groups, count);
      case 64:
        return run_slices<Tile<64, 64, 16, 4, 4>>(stream, c, s.groups, count);
      default:
        return run_slices<Tile<128, 128, 8, 8, 8>>(stream, c, s.groups, count);
    }
  });
}

// ---------------------------------------------------------------- the second pass
constexpr int sum_threads = 256;
constexpr int sum_columns = 32;  // weights of a block; its rows of threads share the slices

template <class T>
struct SumSlices {
  NONET_DEVICE void operator()(const float* partial, T* dweight, int64_t weights, int slices, int in,
                               int positions) const {
    constexpr int rows = sum_threads / sum_columns;
    const int64_t i = static_cast<int64_t>(block_index().x) * sum_columns + thread_rank() % sum_columns;
    const int row = thread_rank() / sum_columns;
    float sum = 0;
    if (i < weights) {
      for (int s = row; s < slices; s += rows) sum += partial[s * weights + i];
    }
    float* parts = shared_memory<float>();
    parts[thread_rank()] = sum;
    block_sync();
    if (row > 0 || i >= weights) return;
    for (int r = 1; r < rows; ++r) sum += parts[r * sum_columns + thread_rank()];
    // [O][position][in] -> [O][in][position]
    const int64_t place = i / in;
    const int64_t o = place / positions;
    dweight[(o * in + i % in) * positions + place % positions] = from_float<T>(sum);
  }
};

void sum(Stream stream, const float* partial, DType dtype, void* dweight, const ConvShape& s) {
  const int64_t weights = s.o * s.in() * s.kh * s.kw;
  visit_floating(dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    run(stream, divide_up(weights, sum_columns), sum_threads, sum_threads * static_cast<int>(sizeof(float)),
        SumSlices<T>{}, partial, static_cast<T*>(dweight), weights, static_cast<int>(weight_slices(s)),
        static_cast<int>(s.in()), static_cast<int>(s.kh * s.kw));
  });
}

}  // namespace

NONET_DEVICE_TABLE(ConvWeightDevice, simt, {slices, sum});

}  // namespace nonet::NONET_CUDA_NS
