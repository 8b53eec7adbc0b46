#include "ops/conv/conv.h"

#include <algorithm>
#include <vector>

#include "array/array.h"
#include "ops/conv/device.h"
#include "ops/conv/layout.h"
#include "ops/conv/passes.h"
#include "ops/matmul/linear.h"

namespace nonet {

namespace {

constexpr int64_t most_slices = 16;  // partial sums of the weight gradient
constexpr int64_t slice_floats = 4 << 20;
constexpr int64_t slice_flops = 800'000;
constexpr int64_t spread_images = 4;  // each is one task
constexpr int64_t flat_cols = 126;    // pixels to a row where rows do not matter

}  // namespace

// ---------------------------------------------------------------- shapes

Array as_images(const Array& x, int rank, bool batched) {
  if (rank == 2 && batched) return x;
  Shape shape{batched ? x.dim(0) : 1, x.dim(batched ? 1 : 0)};
  if (rank == 1) shape.push_back(1);
  for (int axis = x.rank() - rank; axis < x.rank(); ++axis) shape.push_back(x.dim(axis));
  return x.reshape(shape);
}

Array as_kernels(const Array& weight) {
  if (weight.rank() == 4) return weight;
  return weight.reshape({weight.dim(0), weight.dim(1), 1, weight.dim(2)});
}

void check_options(const ConvOptions& o) {
  check(o.stride[0] > 0 && o.stride[1] > 0, o.op, ": stride must be positive, got (", o.stride[0], ", ", o.stride[1],
        ")");
  check(o.dilation[0] > 0 && o.dilation[1] > 0, o.op, ": dilation must be positive, got (", o.dilation[0], ", ",
        o.dilation[1], ")");
  check(std::all_of(o.padding, o.padding + 4, [](int64_t p) { return p >= 0; }), o.op,
        ": padding must not be negative, got (", o.padding[0], ", ", o.padding[1], ", ", o.padding[2], ", ",
        o.padding[3], ")");
  check(o.groups > 0, o.op, ": groups must be positive, got ", o.groups);
  check(o.activation <= FusedActivation::sigmoid, o.op, ": activation must be none, relu, tanh or sigmoid");
}

void check_dtypes(const Array& x, const Array& weight, const Array& bias, const ConvOptions& o) {
  check_floating(x, o.op, "input");
  check<TypeError>(weight.dtype() == x.dtype() || (o.mixed && is_floating(weight.dtype())), o.op, ": weight must be ",
                   x.dtype(), " like input, got ", weight.dtype());
  check<TypeError>(!bias.defined() || bias.dtype() == weight.dtype(), o.op, ": bias must be ", weight.dtype(),
                   " like weight, got ", bias.defined() ? bias.dtype() : weight.dtype());
  check_same_device(x, weight, o.op);
}

Array like_input(const Array& y, const Array& x, int rank) {
  if (y.rank() == x.rank()) return y;
  Shape shape;
  if (x.rank() == rank + 2) shape.push_back(y.dim(0));
  shape.push_back(y.dim(1));
  if (rank == 2) shape.push_back(y.dim(2));
  shape.push_back(y.dim(3));
  return y.reshape(shape);
}

namespace {

int64_t output_size(int64_t size, int64_t before, int64_t after, int64_t kernel, int64_t dilation, int64_t stride) {
  const int64_t room = size + before + after - dilation * (kernel - 1) - 1;
  return room < 0 ? -1 : room / stride + 1;
}

}  // namespace

ConvSizes conv_sizes(const Array& x, const Array& weight, const Array& bias, const ConvOptions& o) {
  check_options(o);
  const int rank = weight.rank() - 2;  // of the image
  const bool line = rank == 1;
  check_dtypes(x, weight, bias, o);
  check(x.rank() == rank + 1 || x.rank() == rank + 2, o.op, ": input must have shape ",
        line ? "[N, C, L] or [C, L]" : "[N, C, H, W] or [C, H, W]", ", got ", x.shape());
  const int at = x.rank() - rank;  // the first axis of the image
  const int64_t c = x.dim(at - 1);
  const int64_t out = weight.dim(0);
  check(out % o.groups == 0 && c % o.groups == 0, o.op, ": groups must divide the channels in and out, got ", o.groups,
        " groups of ", c, " and ", out, " channels");
  Shape want = weight.shape().with(1, c / o.groups);
  check(weight.shape() == want, o.op, ": weight must have shape ",
        line ? "[out, in/groups, k]" : "[out, in/groups, kh, kw]", " = ", want, ", got ", weight.shape());
  if (bias.defined()) check_shape(bias, {out}, o.op, "bias", "[out]");
  ConvSizes s{};
  s.n = at == 2 ? x.dim(0) : 1;
  s.c = c;
  s.h = line ? 1 : x.dim(at);
  s.w = x.dim(x.rank() - 1);
  s.o = out;
  s.kh = line ? 1 : weight.dim(2);
  s.kw = weight.dim(weight.rank() - 1);
  s.groups = o.groups;
  s.in = c / o.groups;
  s.out = out / o.groups;
  check(s.kh > 0 && s.kw > 0, o.op, ": weight must have a kernel of at least one element, got ", weight.shape());
  s.oh = output_size(s.h, o.padding[0], o.padding[1], s.kh, o.dilation[0], o.stride[0]);
  s.ow = output_size(s.w, o.padding[2], o.padding[3], s.kw, o.dilation[1], o.stride[1]);
  check(s.oh > 0 && s.ow > 0, o.op, ": the kernel (", o.dilation[0] * (s.kh - 1) + 1, ", ",
        o.dilation[1] * (s.kw - 1) + 1, ") must not be larger than the padded input (",
        s.h + o.padding[0] + o.padding[1], ", ", s.w + o.padding[2] + o.padding[3], ")");
  return s;
}

namespace {

// ---------------------------------------------------------------- kernel positions

// All positions, or whole kernel rows where the pixels under one lie side by side (dilation 1, all channels).
bool whole_rows(const ConvSizes& s, int64_t dilation) {
  return s.groups == 1 && (dilation == 1 || s.kw == 1);
}

std::vector<Tap> forward_taps(const ConvSizes& s, const ConvOptions& o) {
  std::vector<Tap> taps;
  const int64_t step = whole_rows(s, o.dilation[1]) ? s.kw : 1;
  for (int64_t i = 0; i < s.kh; ++i) {
    for (int64_t j = 0; j < s.kw; j += step)
      taps.push_back({i * o.dilation[0], j * o.dilation[1], (i * s.kw + j) * s.in});
  }
  return taps;
}

// The part of an image that the forward pass reads.
Window forward_window(const ConvSizes& s, const ConvOptions& o, int64_t pixel) {
  return {o.padding[0], o.padding[2], (s.oh - 1) * o.stride[0] + (s.kh - 1) * o.dilation[0] + 1,
          (s.ow - 1) * o.stride[1] + (s.kw - 1) * o.dilation[1] + 1, pixel};
}

// Along one axis, for input pixels congruent to `phase` modulo the stride: kernel element k reads output pixel
// t + offset for the t-th of them, if the division comes out even.
struct Offset {
  int64_t k, offset;
};
std::vector<Offset> offsets(int64_t kernel, int64_t before, int64_t dilation, int64_t stride, int64_t phase) {
  std::vector<Offset> out;
  for (int64_t k = 0; k < kernel; ++k) {
    const int64_t distance = phase + before - k * dilation;
    if (distance % stride == 0) out.push_back({k, distance / stride});
  }
  return out;
}

// The rows (or columns) of dY that the gradient of `size` input pixels reads: [-before, length - before).
struct Range {
  int64_t before, length;
};
Range reach(int64_t kernel, int64_t before, int64_t dilation, int64_t stride, int64_t size) {
  int64_t low = 0;
  int64_t high = 0;
  for (int64_t phase = 0; phase < std::min(stride, size); ++phase) {
    const int64_t count = (size - phase + stride - 1) / stride;
    for (const Offset& o : offsets(kernel, before, dilation, stride, phase)) {
      low = std::min(low, o.offset);
      high = std::max(high, o.offset + count - 1);
    }
  }
  return {-low, high - low + 1};
}

// Rows of pixels that follow each other without gaps are one list: cut it evenly.
template <class A, class B>
void flatten(Grid& grid, Pixels<A>& in, Pixels<B>& out) {
  if (grid.step_x != 1 || grid.step_y != 1) return;
  if (in.row != grid.cols * in.pixel || in.image != grid.rows * in.row) return;
  if (out.row != grid.cols * out.pixel || out.image != grid.rows * out.row) return;
  const int64_t pixels = grid.images * grid.rows * grid.cols;
  grid.images = 1;
  grid.cols = std::min(flat_cols, pixels);
  grid.rows = (pixels + grid.cols - 1) / grid.cols;
  grid.last_cols = pixels - (grid.rows - 1) * grid.cols;
  in.row = grid.cols * in.pixel;
  out.row = grid.cols * out.pixel;
}

void run(const Correlation& c, bool depthwise) {
  (depthwise ? conv_kernels().correlate_depthwise : conv_kernels().correlate)(c);
}

}  // namespace

// ---------------------------------------------------------------- the three passes on [N, C, H, W], float32

void pass_forward(const Array& x, const Array& weight, const float* bias, const ConvSizes& s, const ConvOptions& o,
                  const Array& y) {
  if (prefers_gemm(o) && gemm_forward(x, weight, bias, s, o, y)) return;
  if (winograd_forward(x, weight, bias, s, o, y)) return;
  const bool pairs = sums_pairs(s, s.in, o);
  if (!pairs && gemm_forward(x, weight, bias, s, o, y)) return;
  const Array packed = s.depthwise()
                           ? pack_depthwise(weight, s, false)
                           : prepared(weight, s, pairs ? Weights::forward_pairs : Weights::forward, o.keeps_weights);
  const std::vector<Tap> taps = forward_taps(s, o);
  const Window window = forward_window(s, o, s.c);
  const int64_t step = images_at_a_time(x, window);
  Array memory;
  Array pair_memory;
  for (int64_t first = 0; first < s.n; first += step) {
    const int64_t images = std::min(step, s.n - first);
    Correlation c{};
    c.grid = {images, s.oh, s.ow, s.ow, o.stride[0], o.stride[1], s.groups, s.in, s.out};
    c.in = windowed(x, first, images, window, memory);
    if (pairs) c.in = paired(c.in, images, pair_memory);
    c.out = {y.raw<float>() + first * s.oh * s.ow * s.o, s.oh * s.ow * s.o, s.ow * s.o, s.o};
    if (s.positions() == 1) flatten(c.grid, c.in, c.out);
    c.taps = taps.data();
    c.tap_count = static_cast<int64_t>(taps.size());
    c.depth = whole_rows(s, o.dilation[1]) ? s.kw * s.in : s.in;
    c.weights = static_cast<const float*>(packed.address());
    c.panel_floats = s.positions() * s.in * 32;
    c.bias = bias;
    c.activation = o.activation;
    pairs ? run_pairs(c, taps) : run(c, s.depthwise());
  }
}

namespace {

// dX for the input pixels congruent to (py, px) modulo the stride. Rows of dY begin at window.top, left.
void input_phase(const Pixels<const float>& dy, const Pixels<float>& dx, const Array& packed, const float* bias,
                 const ConvSizes& s, const ConvOptions& o, const Window& window, int64_t images, int64_t py, int64_t px,
                 bool pairs) {
  const bool rows = whole_rows(s, o.dilation[1]) && o.stride[1] == 1;
  std::vector<Tap> taps;
  for (const Offset& i : offsets(s.kh, o.padding[0], o.dilation[0], o.stride[0], py)) {
    for (const Offset& j : offsets(s.kw, o.padding[2], o.dilation[1], o.stride[1], px)) {
      if (rows && j.k != s.kw - 1) continue;  // the last one reads the leftmost pixel of the row
      taps.push_back({i.offset + window.top, j.offset + window.left, (i.k * s.kw + s.kw - 1 - j.k) * s.out});
    }
  }
  // Pixels between the kernels of a large stride: an empty sum.
  const bool none = taps.empty();
  if (none && !s.depthwise()) taps.push_back({0, 0, 0});
  Correlation c{};
  const int64_t cols = (s.w - px + o.stride[1] - 1) / o.stride[1];
  c.grid = {images, (s.h - py + o.stride[0] - 1) / o.stride[0], cols, cols, 1, 1, s.groups, s.out, s.in};
  c.in = dy;
  c.out = {dx.data + py * dx.row + px * dx.pixel, dx.image, dx.row * o.stride[0], dx.pixel * o.stride[1]};
  if (s.positions() == 1) flatten(c.grid, c.in, c.out);
  c.taps = taps.data();
  c.tap_count = static_cast<int64_t>(taps.size());
  c.depth = none ? 0 : (rows ? s.kw * s.out : s.out);
  c.weights = static_cast<const float*>(packed.address());
  c.panel_floats = s.positions() * s.out * 32;
  c.bias = bias;
  c.activation = o.activation;
  pairs ? run_pairs(c, taps) : run(c, s.depthwise());
}

}  // namespace

void pass_input(const Array& dy, const Array& weight, const float* bias, const ConvSizes& s, const ConvOptions& o,
                const Array& dx) {
  if (prefers_gemm(o) && gemm_input(dy, weight, bias, s, o, dx)) return;
  if (winograd_input(dy, weight, bias, s, o, dx)) return;
  const bool pairs = sums_pairs(s, s.out, o);
  if (!pairs && gemm_input(dy, weight, bias, s, o, dx)) return;
  if (spread_input(dy, weight, bias, s, o, dx)) return;
  const Array packed = s.depthwise()
                           ? pack_depthwise(weight, s, true)
                           : prepared(weight, s, pairs ? Weights::backward_pairs : Weights::backward, o.keeps_weights);
  const Range y = reach(s.kh, o.padding[0], o.dilation[0], o.stride[0], s.h);
  const Range x = reach(s.kw, o.padding[2], o.dilation[1], o.stride[1], s.w);
  const Window window{y.before, x.before, y.length, x.length, s.o};
  const int64_t step = images_at_a_time(dy, window);
  Array memory;
  Array pair_memory;
  for (int64_t first = 0; first < s.n; first += step) {
    const int64_t images = std::min(step, s.n - first);
    Pixels<const float> in = windowed(dy, first, images, window, memory);
    if (pairs) in = paired(in, images, pair_memory);
    const Pixels<float> out{dx.raw<float>() + first * s.h * s.w * s.c, s.h * s.w * s.c, s.w * s.c, s.c};
    for (int64_t py = 0; py < std::min(o.stride[0], s.h); ++py) {
      for (int64_t px = 0; px < std::min(o.stride[1], s.w); ++px)
        input_phase(in, out, packed, bias, s, o, window, images, py, px, pairs);
    }
  }
}

void pass_weight(const Array& dy, const Array& x, const ConvSizes& s, const ConvOptions& o, const Array& dweight) {
  if (prefers_gemm(o) && gemm_weight(dy, x, s, o, dweight)) return;
  if (winograd_weight(dy, x, s, o, dweight)) return;
  if (gemm_weight(dy, x, s, o, dweight)) return;
  const std::vector<Tap> taps = forward_taps(s, o);
  const int64_t vector = conv_kernels().width;
  const bool readable = s.depthwise() || s.out % vector == 0;  // whole vectors at the end of the last pixel
  const int64_t pixel = readable ? s.o : (s.groups - 1) * s.out + (s.out + vector - 1) / vector * vector;
  const Window in_window = forward_window(s, o, s.c);
  const Window out_window{0, 0, s.oh, s.ow, pixel};
  const int64_t step = std::min(images_at_a_time(x, in_window), images_at_a_time(dy, out_window));
  const int64_t floats = s.weights();
  const int64_t flops = 2 * floats * std::min(step, s.n) * s.oh * s.ow;
  const int64_t slices =
      std::clamp<int64_t>(std::min(flops / slice_flops, slice_floats / std::max<int64_t>(floats, 1)), 1, most_slices);
  const Array partial(Shape{slices * floats});
  Array in_memory;
  Array out_memory;
  for (int64_t first = 0; first < s.n; first += step) {
    const int64_t images = std::min(step, s.n - first);
    WeightGradient g{};
    g.grid = {images, s.oh, s.ow, s.ow, o.stride[0], o.stride[1], s.groups, s.in, s.out};
    g.in = windowed(x, first, images, in_window, in_memory);
    g.out = windowed(dy, first, images, out_window, out_memory);
    if (s.positions() == 1) flatten(g.grid, g.in, g.out);
    g.taps = taps.data();
    g.tap_count = static_cast<int64_t>(taps.size());
    g.depth = whole_rows(s, o.dilation[1]) ? s.kw * s.in : s.in;
    g.partial = partial.data<float>();
    g.slices = slices;
    g.floats = floats;
    g.accumulate = first > 0;
    (s.depthwise() ? conv_kernels().weight_gradient_depthwise : conv_kernels().weight_gradient)(g);
  }
  conv_kernels().sum_slices(partial.data<float>(), slices, floats);
  unpack_gradient(partial.data<float>(), dweight, s);
}

Array pass_activation(const Array& dy, const Array& y, FusedActivation activation) {
  const Array d = dy.to(DType::float32).to_format(Format::nhwc);
  if (activation == FusedActivation::none || d.numel() == 0) return d;
  const Array saved = y.to(DType::float32).to_format(Format::nhwc);
  const Array dz = empty_like(d);
  linear_kernels().activation_backward(d.raw<float>(), saved.raw<float>(), dz.raw<float>(), d.numel(), activation,
                                       false);
  return dz;
}

Array conv_forward(const Array& x, const Array& weight, const Array& bias, const ConvOptions& options) {
  const ConvSizes s = conv_sizes(x, weight, bias, options);
  const int rank = weight.rank() - 2;
  const DType dtype = options.mixed ? DType::bfloat16 : x.dtype();
  if (x.device() != Device::cpu) {
    const Array from = as_images(x, rank, x.rank() == rank + 2);
    return like_input(device_forward(from, as_kernels(weight), bias, s, options).to(dtype), x, rank);
  }
  const Array images = as_images(x, rank, x.rank() == rank + 2).to(DType::float32);
  const Array kernels = as_kernels(weight).to(DType::float32);
  const Array b = bias.defined() ? bias.to(DType::float32) : bias;
  const Array y({s.n, s.o, s.oh, s.ow}, DType::float32, Format::nhwc);
  if (y.numel() > 0) pass_forward(images, kernels, b.defined() ? b.data<float>() : nullptr, s, options, y);
  return like_input(y.to(dtype), x, rank);
}

void conv_backward(const Array& dy, const Array& x, const Array& weight, const Array& y, const ConvOptions& options,
                   const LayerGradients& out) {
  const ConvSizes s = conv_sizes(x, weight, Array(), options);
  const int rank = weight.rank() - 2;
  const bool batched = x.rank() == rank + 2;
  Array dz = as_images(dy, rank, batched);
  check(dz.shape() == Shape{s.n, s.o, s.oh, s.ow}, options.op, ": gradient must have the output's shape, got ",
        dy.shape());
  if (x.device() != Device::cpu) {
    if (options.activation != FusedActivation::none)
      dz = device_activation_gradient(dz, as_images(y, rank, batched), options.activation);
    const bool given = out.dweight != nullptr && out.dweight->defined();
    Array dw = given ? as_kernels(*out.dweight) : Array();
    device_backward(dz, as_images(x, rank, batched), as_kernels(weight), s, options,
                    {out.dx, out.dweight == nullptr ? nullptr : &dw, out.dbias});
    if (out.dx != nullptr) *out.dx = like_input(*out.dx, x, rank);
    if (out.dweight != nullptr && !given) *out.dweight = dw.reshape(weight.shape());
    return;
  }
  ConvOptions linear = options;
  linear.activation = FusedActivation::none;
  linear.keeps_weights = false;
  const bool activated = options.activation != FusedActivation::none;
  dz = pass_activation(dz, activated ? as_images(y, rank, batched) : y, options.activation);
  const Array images = as_images(x, rank, batched).to(DType::float32);
  if (out.dx != nullptr) {
    const Array dx(images.shape(), DType::float32, Format::nhwc);
    if (dx.numel() > 0) pass_input(dz, as_kernels(weight).to(DType::float32), nullptr, s, linear, dx);
    *out.dx = like_input(dx.to(x.dtype()), x, rank);
  }
  if (out.dweight != nullptr) {
    const Array dw = gradient_target(*out.dweight, weight.shape(), options.op);
    if (s.n == 0) std::fill_n(dw.raw<char>(), dw.bytes(), char{0});
    if (dw.numel() > 0 && s.n > 0) pass_weight(dz, images, s, options, dw);
    deliver_gradient(dw, weight.dtype(), *out.dweight, options.op);
  }
  if (out.dbias != nullptr) {
    const Array db = gradient_target(*out.dbias, {s.o}, options.op);
    bias_gradient(dz, s.n * s.oh * s.ow, s.o, db);
    deliver_gradient(db, weight.dtype(), *out.dbias, options.op);
  }
}

}  // namespace nonet
