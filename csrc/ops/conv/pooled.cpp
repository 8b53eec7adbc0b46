#include "ops/conv/pooled.h"

#include <algorithm>
#include <vector>

#include "ops/conv/device.h"
#include "ops/conv/layout.h"
#include "ops/conv/maxima.h"
#include "ops/conv/passes.h"
#include "ops/conv/planes.h"
#include "ops/matmul/linear.h"

namespace nonet {

namespace {

constexpr int64_t most_slices = 16;        // partial sums of the weight gradient
constexpr int64_t most_patch = 512;        // floats of a patch
constexpr int64_t most_weights = 1 << 14;  // that stay in L1 with the patches they meet
constexpr int64_t most_channels = 512;
constexpr int64_t widest_vector = 16;
constexpr int64_t few_channels = 8;  // half of that
constexpr int64_t least_cols = 8;    // pooled pixels to a row that fill a vector well
constexpr int64_t most_terms = 256;  // of a sum, see k_chain
constexpr int64_t line = 16;         // floats of a cache line

// Whether sums over the maxima take less than those over all pixels: one in `places` of them, in vectors along a row
// of a patch.
bool sums_maxima(const ConvSizes& s, const PooledConv& o) {
  const PoolSpec& p = o.pool;
  const bool apart = p.dilation[0] == 1 && p.dilation[1] == 1 && p.stride[0] >= p.kernel[0] &&
                     p.stride[1] >= p.kernel[1] && p.kernel[0] * p.kernel[1] >= 4 && p.kernel[0] * p.kernel[1] <= 16;
  const int64_t patch = s.positions() * s.c;
  return apart && s.groups == 1 && o.conv.dilation[1] == 1 && s.n > 0 && s.c > 0 && s.o <= most_channels &&
         patch <= most_patch && patch * s.o <= most_weights;
}

struct Tables {
  std::vector<int32_t> offset;
  std::vector<uint8_t> place;
};

// Of all pixels of dY, in images whose rows and pixels have so many floats.
Tables tables(const ConvSizes& s, const PooledConv& o, int64_t row, int64_t pixel) {
  Tables out{std::vector<int32_t>(s.oh * s.ow), std::vector<uint8_t>(s.oh * s.ow)};
  const PoolSpec& p = o.pool;
  for (int64_t y = 0; y < s.oh; ++y) {
    for (int64_t x = 0; x < s.ow; ++x) {
      out.offset[y * s.ow + x] = static_cast<int32_t>(y * o.conv.stride[0] * row + x * o.conv.stride[1] * pixel);
      // Pixels between windows are nobody's maximum.
      const int64_t place = (y + p.padding[0]) % p.stride[0] * p.kernel[1] + (x + p.padding[1]) % p.stride[1];
      out.place[y * s.ow + x] = static_cast<uint8_t>(std::min(place, p.kernel[0] * p.kernel[1] - 1));
    }
  }
  return out;
}

Maxima maxima_of(const Array& dz, const Array& index, const Tables& t, const PooledConv& o) {
  return {dz.dim(0),
          dz.dim(2) * dz.dim(3),
          dz.dim(1),
          dz.raw<float>(),
          index.raw<int32_t>(),
          t.offset.data(),
          t.place.data(),
          o.pool.kernel[0] * o.pool.kernel[1]};
}

// The part of an image that patches reach, and all of the image.
Window window_of(const ConvSizes& s, const ConvOptions& o) {
  return {o.padding[0], o.padding[2],
          std::max((s.oh - 1) * o.stride[0] + (s.kh - 1) * o.dilation[0] + 1, o.padding[0] + s.h),
          std::max((s.ow - 1) * o.stride[1] + (s.kw - 1) * o.dilation[1] + 1, o.padding[2] + s.w), s.c};
}

// dz and index: [N, O, pooled], nhwc.
void maxima_weight(const Array& dz, const Array& index, const Array& x, const ConvSizes& s, const PooledConv& o,
                   const Array& dweight) {
  const Window window = window_of(s, o.conv);
  const int64_t step = images_at_a_time(x, window);
  const auto& kernels = maxima_kernels();
  Array memory;
  const Array sums(Shape{s.weights()});
  for (int64_t first = 0; first < s.n; first += step) {
    const int64_t images = std::min(step, s.n - first);
    const Pixels<const float> in = windowed(x, first, images, window, memory);
    const Array last(Shape{in.image + widest_vector});
    std::copy_n(in.data + (images - 1) * in.image, in.image, last.data<float>());
    std::fill_n(last.data<float>() + in.image, widest_vector, 0.f);
    const Tables t = tables(s, o, in.row, in.pixel);
    const Patch patch{s.kh, s.kw * s.c, s.c, o.conv.dilation[0] * in.row};
    const int64_t floats = kernels.weight_floats(patch, s.o);
    const int64_t slices = std::min(most_slices, images);
    const Array partial(Shape{slices * floats});
    kernels.weight({.maxima = maxima_of(dz.rows(first, first + images), index.rows(first, first + images), t, o),
                    .patch = patch,
                    .images = in.data,
                    .image_floats = in.image,
                    .last_image = last.data<float>(),
                    .partial = partial.data<float>(),
                    .slices = slices});
    conv_kernels().sum_slices(partial.data<float>(), slices, floats);
    float* to = first == 0 ? dweight.data<float>() : sums.data<float>();
    kernels.from_blocks(partial.data<float>(), patch, s.o, to);
    for (int64_t i = 0; first > 0 && i < s.weights(); ++i) dweight.data<float>()[i] += sums.data<float>()[i];
  }
}

void maxima_input(const Array& dz, const Array& index, const Array& weight, const ConvSizes& s, const PooledConv& o,
                  const Array& dx) {
  const Window window = window_of(s, o.conv);
  const int64_t row = window.width * s.c;
  const Tables t = tables(s, o, row, s.c);
  const Patch patch{s.kh, s.kw * s.c, s.c, o.conv.dilation[0] * row};
  const Array blocks(Shape{maxima_kernels().weight_floats(patch, s.o)});
  maxima_kernels().to_blocks(weight.data<float>(), patch, s.o, blocks.data<float>());
  maxima_kernels().input({.maxima = maxima_of(dz, index, t, o),
                          .patch = patch,
                          .weights = blocks.data<float>(),
                          .image_floats = (window.height * row + line - 1) / line * line,
                          .dx = dx.raw<float>(),
                          .height = s.h,
                          .width = s.w,
                          .channels = s.c,
                          .top = window.top,
                          .left = window.left,
                          .row = row});
}

void maxima_backward(const Array& dz, const Array& index, const Array& x, const Array& weight, const ConvSizes& s,
                     const PooledConv& o, const LayerGradients& out) {
  const Array at = index.to_format(Format::nhwc);
  if (out.dx != nullptr) {
    const Array dx(x.shape(), DType::float32, Format::nhwc);
    maxima_input(dz, at, weight.to(DType::float32), s, o, dx);
    *out.dx = dx.to(x.dtype());
  }
  if (out.dweight != nullptr) {
    const Array dw = gradient_target(*out.dweight, weight.shape(), o.conv.op);
    maxima_weight(dz, at, x.to(DType::float32), s, o, dw);
    deliver_gradient(dw, weight.dtype(), *out.dweight, o.conv.op);
  }
  if (out.dbias != nullptr) {
    const Array db = gradient_target(*out.dbias, {s.o}, o.conv.op);
    bias_gradient(dz, s.n * dz.dim(2) * dz.dim(3), s.o, db);
    deliver_gradient(db, weight.dtype(), *out.dbias, o.conv.op);
  }
}

// Whether vectors of pooled pixels are fuller than vectors of output channels, and hold pixels that lie side by side.
bool takes_planes(const Array& x, const Array& weight, const PooledConv& o) {
  const ConvOptions& c = o.conv;
  const auto is = [](const Shape& shape, int64_t size) { return shape == Shape{size, size}; };
  return x.device() == Device::cpu && x.dtype() == DType::float32 && !c.mixed && x.rank() == 4 && weight.rank() == 4 &&
         (x.format() == Format::plain || x.dim(1) == 1) && c.groups == 1 && c.stride[0] == 1 && c.stride[1] == 1 &&
         c.dilation[0] == 1 && c.dilation[1] == 1 && is(o.pool.kernel, 2) && is(o.pool.stride, 2) &&
         is(o.pool.padding, 0) && is(o.pool.dilation, 1) && x.numel() > 0;
}
bool pools_pairs(const ConvSizes& s, const PooledConv& o) {
  const bool whole = !o.pool.ceil_mode || (s.oh % 2 == 0 && s.ow % 2 == 0);
  return whole && s.oh >= 2 && s.ow >= 2 * least_cols && s.o > 0 && s.o <= few_channels &&
         s.positions() * s.c <= most_terms;
}

Pooled planes_forward(const Array& x, const Array& weight, const Array& bias, const ConvSizes& s, const PooledConv& o,
                      bool keep_index) {
  const Array y({s.n, s.o, s.oh / 2, s.ow / 2}, DType::float32, Format::nhwc);
  const Array index = keep_index ? Array(y.shape(), DType::int32, Format::nhwc) : Array();
  planes_kernels().forward({.images = s.n,
                            .channels = s.c,
                            .height = s.h,
                            .width = s.w,
                            .x = x.raw<float>(),
                            .top = o.conv.padding[0],
                            .left = o.conv.padding[2],
                            .kernel = {s.kh, s.kw},
                            .out = s.o,
                            .weights = weight.data<float>(),
                            .bias = bias.defined() ? bias.data<float>() : nullptr,
                            .relu = o.conv.activation == FusedActivation::relu,
                            .rows = s.oh / 2,
                            .cols = s.ow / 2,
                            .full_cols = s.ow,
                            .y = y.raw<float>(),
                            .index = keep_index ? index.raw<int32_t>() : nullptr});
  return {y, index};
}

}  // namespace

Pooled pooled_conv_forward(const Array& x, const Array& weight, const Array& bias, const PooledConv& o,
                           bool keep_index) {
  ConvOptions conv = o.conv;
  if (takes_planes(x, weight, o)) {
    const ConvSizes s = conv_sizes(x, weight, bias, conv);
    if (pools_pairs(s, o)) return planes_forward(x, weight, bias, s, o, keep_index);
  }
  // relu of the pooled image is the pooled relu, and less work; bfloat16 and devices have no kernel for it in place.
  const bool late = conv.activation == FusedActivation::relu && x.device() == Device::cpu &&
                    x.dtype() == DType::float32 && !conv.mixed;
  if (late) conv.activation = FusedActivation::none;
  const Pooled out = max_pool_forward(conv_forward(x, weight, bias, conv), o.pool, keep_index, o.pool_op);
  if (late) maxima_kernels().relu(out.y.raw<float>(), out.y.numel());
  return out;
}

void pooled_conv_backward(const Array& dy, const Array& x, const Array& weight, const Array& y, const Array& index,
                          const PooledConv& o, const LayerGradients& out) {
  ConvOptions linear = o.conv;
  linear.activation = FusedActivation::none;
  const ConvSizes s = conv_sizes(x, weight, Array(), linear);
  const bool batched = x.rank() == 4;
  const bool on_cpu = x.device() == Device::cpu;
  Array dz = dy;
  if (o.conv.activation != FusedActivation::none) {
    const Array d = as_images(dy, 2, batched);
    const Array saved = as_images(y, 2, batched);
    dz = on_cpu ? pass_activation(d, saved, o.conv.activation)
                : device_activation_gradient(d, saved, o.conv.activation).to(x.dtype());
    if (!batched) dz = dz.reshape(dy.shape());
  }
  if (on_cpu && batched && sums_maxima(s, o)) {
    check_shape(dy, index.shape(), o.pool_op, "gradient", "[like the output]");
    maxima_backward(dz.to(DType::float32).to_format(Format::nhwc), index, x, weight, s, o, out);
    return;
  }
  Shape shape{s.o, s.oh, s.ow};
  if (batched) shape = {s.n, s.o, s.oh, s.ow};
  conv_backward(max_pool_backward(dz, index, shape, o.pool, o.pool_op), x, weight, Array(), linear, out);
}

}  // namespace nonet
