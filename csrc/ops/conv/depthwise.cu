// Convolutions with one channel per group: as many operations per value as kernel positions, so they read and write at
// the speed of memory; channels lie side by side in threads.
#include "base/dtype.h"
#include "cuda/divide.cuh"
#include "cuda/elements.cuh"
#include "cuda/table.cuh"
#include "ops/conv/conv.h"
#include "ops/conv/finish.cuh"
#include "ops/conv/tiles.h"

namespace nonet::NONET_CUDA_NS {

namespace {

struct Line {  // one axis
  int in, out;
  int kernel, stride, padding, dilation;
  Divisor<int32_t> by_in, by_out, by_stride, by_kernel;

  Line(int64_t in, int64_t out, int64_t kernel, int64_t stride, int64_t padding, int64_t dilation)
      : in(static_cast<int>(in)),
        out(static_cast<int>(out)),
        kernel(static_cast<int>(kernel)),
        stride(static_cast<int>(stride)),
        padding(static_cast<int>(padding)),
        dilation(static_cast<int>(dilation)),
        by_in(in),
        by_out(out),
        by_stride(stride),
        by_kernel(kernel) {}

  // The input pixel under kernel element i of output pixel o, or -1.
  NONET_DEVICE int source(int o, int i) const {
    const int at = o * stride - padding + i * dilation;
    return at < in ? at : -1;
  }
  // The output pixel whose kernel element i lies on input pixel p, or -1.
  NONET_DEVICE int target(int p, int i) const {
    const int at = p + padding - i * dilation;
    if (at < 0) return -1;
    const int o = by_stride.quotient(at);
    return o * stride == at && o < out ? o : -1;
  }
};

struct Lines {
  Line y, x;
  int channels;

  explicit Lines(const ConvShape& s)
      : y(s.h, s.oh, s.kh, s.stride[0], s.padding[0], s.dilation[0]),
        x(s.w, s.ow, s.kw, s.stride[1], s.padding[1], s.dilation[1]),
        channels(static_cast<int>(s.c)) {}
};

// How many channels a thread takes: 16 bytes of them.
template <class T, int size>
NONET_DEVICE void add_products(float (&sum)[size], const T* x, const float* weights) {
  const auto v = load_pack<size>(x);
  constexpr int part = size < 4 ? size : 4;
  NONET_UNROLL
  for (int j = 0; j < size; j += part) {
    const auto w = load_pack<part>(weights + j);
    NONET_UNROLL
    for (int e = 0; e < part; ++e) sum[j + e] = fmaf(as_float(v[j + e]), w[e], sum[j + e]);
  }
}

// Forward, or with `backward` from dY to dX: `to` has the pixels of the loop, `from` those that are read.
template <class T, bool backward>
struct Depthwise {
  NONET_DEVICE void operator()(const T* from, const float* weights, const float* bias, FusedActivation activation,
                               T* to, int64_t pixels, const Lines& g) const {
    constexpr int pack = pack_size<T>();
    const int c = g.channels;
    const bool packed = c % pack == 0 && is_aligned<pack>(from) && is_aligned<pack>(to);
    const int per_pixel = packed ? c / pack : c;
    const Divisor<int32_t>& columns = backward ? g.x.by_in : g.x.by_out;
    const Divisor<int32_t>& rows = backward ? g.y.by_in : g.y.by_out;
    for_packs<pack>(pixels * c, packed, [&](int64_t i, auto count) {
      constexpr int size = decltype(count)::value;
      const auto pixel = static_cast<int>(i / size / per_pixel);
      const auto channel = static_cast<int>(i - static_cast<int64_t>(pixel) * c);
      const int line = columns.quotient(pixel);
      const int image = rows.quotient(line);
      const int row = line - image * rows.value;
      const int column = pixel - line * columns.value;
      float sum[size] = {};
      for (int ky = 0; ky < g.y.kernel; ++ky) {
        const int y = backward ? g.y.target(row, ky) : g.y.source(row, ky);
        if (y < 0) continue;
        const int64_t at = static_cast<int64_t>(image) * (backward ? g.y.out : g.y.in) + y;
        for (int kx = 0; kx < g.x.kernel; ++kx) {
          const int x = backward ? g.x.target(column, kx) : g.x.source(column, kx);
          if (x < 0) continue;
          add_products(sum, from + (at * (backward ? g.x.out : g.x.in) + x) * c + channel,
                       weights + (ky * g.x.kernel + kx) * c + channel);
        }
      }
      Pack<T, size> out;
      constexpr int part = size < 4 ? size : 4;
      NONET_UNROLL
      for (int j = 0; j < size; j += part) {
        Pack<float, 4> z = {};
        NONET_UNROLL
        for (int e = 0; e < part; ++e) z[e] = bias == nullptr ? sum[j + e] : sum[j + e] + bias[channel + j + e];
        z = activated(z, activation);
        NONET_UNROLL
        for (int e = 0; e < part; ++e) out[j + e] = from_float<T>(z[e]);
      }
      store_pack(to + i, out);
    });
  }
};

void forward(Stream stream, DType dtype, const void* x, const float* packed, const float* bias,
             FusedActivation activation, void* y, const ConvShape& s) {
  visit_floating(dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const int64_t pixels = s.n * s.oh * s.ow;
    run_elements(stream, pixels * s.c, Depthwise<T, false>{}, static_cast<const T*>(x), packed, bias, activation,
                 static_cast<T*>(y), pixels, Lines(s));
  });
}

void backward_input(Stream stream, DType dtype, const void* dy, const float* packed, const float* bias,
                    FusedActivation activation, void* dx, const ConvShape& s) {
  visit_floating(dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const int64_t pixels = s.n * s.h * s.w;
    run_elements(stream, pixels * s.c, Depthwise<T, true>{}, static_cast<const T*>(dy), packed, bias, activation,
                 static_cast<T*>(dx), pixels, Lines(s));
  });
}

// ---------------------------------------------------------------- weights
constexpr int lanes = 32;    // channels of a block: weight_tile()
constexpr int together = 8;  // kernel positions of a block
constexpr int weight_threads = 256;

// The rows of threads share the pixels of a slice.
template <class T>
struct DepthwiseWeights {
  NONET_DEVICE void operator()(const T* dy, const T* x, float* partial, int pixels, int slice_pixels,
                               const Lines& g) const {
    constexpr int rows = weight_threads / lanes;
    const Dim3 block = block_index();
    const int c = g.channels;
    const int channel = block.x * lanes + thread_rank() % lanes;
    const int positions = g.y.kernel * g.x.kernel;
    const int begin = block.z * slice_pixels;
    const int end = pixels - begin < slice_pixels ? pixels : begin + slice_pixels;
    float sum[together] = {};
    if (channel < c) {
      for (int pixel = begin + thread_rank() / lanes; pixel < end; pixel += rows) {
        const int line = g.x.by_out.quotient(pixel);
        const int image = g.y.by_out.quotient(line);
        const int row = line - image * g.y.out;
        const int column = pixel - line * g.x.out;
        const float d = as_float(dy[static_cast<int64_t>(pixel) * c + channel]);
        const T* own = x + static_cast<int64_t>(image) * g.y.in * g.x.in * c + channel;
        NONET_UNROLL
        for (int t = 0; t < together; ++t) {
          const int position = block.y * together + t;
          const int ky = g.x.by_kernel.quotient(position);
          const int from_y = g.y.source(row, ky);
          const int from_x = g.x.source(column, position - ky * g.x.kernel);
          if (position >= positions || from_y < 0 || from_x < 0) continue;
          sum[t] = fmaf(as_float(own[(static_cast<int64_t>(from_y) * g.x.in + from_x) * c]), d, sum[t]);
        }
      }
    }
    float* parts = shared_memory<float>();  // [together][threads]
    NONET_UNROLL
    for (int t = 0; t < together; ++t) parts[t * weight_threads + thread_rank()] = sum[t];
    block_sync();
    const int t = thread_rank() / lanes;  // each row of threads adds up one position
    const int position = block.y * together + t;
    if (position >= positions || channel >= c) return;
    float total = 0;
    for (int r = 0; r < rows; ++r) total += parts[t * weight_threads + r * lanes + thread_rank() % lanes];
    partial[(static_cast<int64_t>(block.z) * c + channel) * positions + position] = total;
  }
};
static_assert(weight_threads / lanes == together);

void slices(Stream stream, DType dtype, const void* dy, const void* x, float* partial, const ConvShape& s) {
  visit_floating(dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const int64_t pixels = s.n * s.oh * s.ow;
    const int64_t count = weight_slices(s);
    LaunchConfig config;
    config.grid = {static_cast<int>(divide_up(s.c, lanes)), static_cast<int>(divide_up(s.kh * s.kw, together)),
                   static_cast<int>(count)};
    config.block = {weight_threads};
    config.shared_bytes = together * weight_threads * static_cast<int>(sizeof(float));
    config.stream = stream;
    note(launch(config, DepthwiseWeights<T>{}, static_cast<const T*>(dy), static_cast<const T*>(x), partial,
                static_cast<int>(pixels), static_cast<int>(divide_up(pixels, count)), Lines(s)));
  });
}

}  // namespace

NONET_DEVICE_TABLE(DepthwiseDevice, simt, {forward, backward_input, slices});

}  // namespace nonet::NONET_CUDA_NS
