#include "ops/pool/pool.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "array/launch.h"
#include "ops/pool/pooling.h"
#include "ops/pool/window.h"

namespace nonet {

namespace {

constexpr int64_t grain = 16384;       // input elements per block
constexpr int64_t enough_images = 4;   // to share out whole, so that memory is written in order
constexpr int64_t channel_part = 64;   // else: channels of an nhwc image per block of a backward pass
constexpr int64_t widest_vector = 16;  // floats that a kernel may read past its data in scratch

struct Windows {
  std::vector<PoolWindow> rows;
  std::vector<PoolWindow> columns;
  PoolGeometry g = {};
};

void check_spec(const PoolSpec& spec, bool average, const char* op) {
  for (int a = 0; a < spec.kernel.rank(); ++a) {
    check(spec.kernel[a] > 0, op, ": kernel_size must be > 0, got ", spec.kernel);
    check(spec.stride[a] > 0, op, ": stride must be > 0, got ", spec.stride);
    check(spec.dilation[a] > 0, op, ": dilation must be > 0, got ", spec.dilation);
    const int64_t reach = average ? spec.kernel[a] : (spec.kernel[a] - 1) * spec.dilation[a] + 1;
    check(spec.padding[a] >= 0 && spec.padding[a] <= reach / 2, op,
          ": padding must be between 0 and half of kernel_size ", spec.kernel, ", got ", spec.padding);
  }
}

// Pooled axis `a` of n elements.
PoolAxis pool_axis(int64_t n, const PoolSpec& spec, int a, bool average, const char* op) {
  if (spec.adaptive) {
    const int64_t m = spec.out[a] == -1 ? n : spec.out[a];
    check(m >= 0, op, ": output_size must be >= 0, got ", spec.out);
    return {.n = n,
            .m = m,
            .kernel = 0,
            .stride = 1,
            .padding = 0,
            .dilation = 1,
            .adaptive = true,
            .include_pad = false,
            .divisor = 0};
  }
  const int64_t s = spec.stride[a];
  const int64_t p = spec.padding[a];
  const int64_t room = n + 2 * p - spec.dilation[a] * (spec.kernel[a] - 1) - 1;
  int64_t m = room < 0 && !spec.ceil_mode ? 0 : (room + (spec.ceil_mode ? s - 1 : 0)) / s + 1;
  if (spec.ceil_mode && m > 0 && (m - 1) * s >= n + p) --m;  // the last window must begin inside
  check(m > 0, op, ": kernel_size ", spec.kernel, " exceeds the padded input, of size ", n + 2 * p,
        " along pooled axis ", a);
  float divisor = 0;
  if (average && spec.divisor != 0) divisor = a == 0 ? static_cast<float>(spec.divisor) : 1.f;
  return {.n = n,
          .m = m,
          .kernel = spec.kernel[a],
          .stride = s,
          .padding = p,
          .dilation = spec.dilation[a],
          .adaptive = false,
          .include_pad = spec.count_include_pad,
          .divisor = divisor};
}

std::vector<PoolWindow> windows(const PoolAxis& axis) {
  std::vector<PoolWindow> out;
  for (int64_t o = 0; o < axis.m; ++o) {
    const PoolSpan<int64_t> window = pool_window<int64_t>(axis, o);
    out.push_back({window.begin, window.end, pool_count(axis, o, window)});
  }
  return out;
}

// A shape as [N, C, H, W].
Shape image_shape(const Shape& s, int axes) {
  const bool batched = s.rank() == axes + 2;
  if (axes == 2) return batched ? s : Shape{1, s[0], s[1], s[2]};
  return batched ? Shape{s[0], s[1], 1, s[2]} : Shape{1, s[0], 1, s[1]};
}
Array images(const Array& x, int axes) {
  return x.reshape(image_shape(x.shape(), axes));
}

struct Axes {
  PoolAxis rows, columns;
};

Shape pooled_shape(const Shape& x, const Axes& axes, int count) {
  Shape out = x.with(x.rank() - 1, axes.columns.m);
  return count == 2 ? out.with(x.rank() - 2, axes.rows.m) : out;
}

// One pooled axis: images of one row.
Axes make_axes(const Shape& shape, const PoolSpec& spec, int axes, bool average, const char* op) {
  const char* letters = axes == 2 ? "[N, C, H, W] or [C, H, W]" : "[N, C, L] or [C, L]";
  check(shape.rank() == axes + 1 || shape.rank() == axes + 2, op, ": input must have shape ", letters, ", got ", shape);
  for (int axis = shape.rank() - axes - 1; axis < shape.rank(); ++axis) {
    check(shape[axis] > 0, op, ": input must have no empty axis but N, got ", shape);
  }
  if (!spec.adaptive) check_spec(spec, average, op);
  const int64_t w = shape.back();
  const int64_t h = axes == 2 ? shape[shape.rank() - 2] : 1;
  check(h * w < std::numeric_limits<int32_t>::max(), op, ": input must have less than 2^31 positions, got ", shape);
  const PoolAxis columns = pool_axis(w, spec, axes - 1, average, op);
  if (axes == 2) return {pool_axis(h, spec, 0, average, op), columns};
  const PoolAxis one = {.n = 1,
                        .m = 1,
                        .kernel = 1,
                        .stride = 1,
                        .padding = 0,
                        .dilation = 1,
                        .adaptive = false,
                        .include_pad = false,
                        .divisor = 0};
  return {one, columns};
}

Windows make_windows(const Axes& axes) {
  const auto& [rows, columns] = axes;
  Windows out;
  out.rows = windows(rows);
  out.columns = windows(columns);
  out.g = {.h = rows.n,
           .w = columns.n,
           .out_h = rows.m,
           .out_w = columns.m,
           .rows = out.rows.data(),
           .columns = out.columns.data(),
           .step_h = rows.dilation,
           .step_w = columns.dilation,
           .kernel_w = columns.kernel,
           .stride_w = columns.stride,
           .padding_w = columns.padding};
  return out;
}

// As kernels of a device see images [N, C, H, W].
PoolImages stored_images(const Array& x, const Axes& axes, const char* op) {
  const bool nhwc = x.format() == Format::nhwc;
  const PoolImages out = {nhwc ? x.dim(0) : x.dim(0) * x.dim(1), nhwc ? x.dim(1) : 1, axes.rows, axes.columns};
  const int64_t largest = out.inner * std::max(axes.rows.n * axes.columns.n, axes.rows.m * axes.columns.m);
  check(largest < PoolDevice::limit, op, ": a device takes less than 2^30 elements of an image, got ", largest);
  return out;
}

int axes_of(const PoolSpec& spec) {
  return spec.adaptive ? spec.out.rank() : spec.kernel.rank();
}

float* scratch(int64_t floats) {
  static thread_local std::vector<float> memory;
  if (static_cast<int64_t>(memory.size()) < floats) memory.resize(floats);
  return memory.data();
}

int64_t max_scratch(const PoolGeometry& g) {
  return g.h * g.stride_w * (g.out_w + (g.kernel_w - 1) * g.step_w / g.stride_w + widest_vector);
}

// body(image, first channel, last channel) over an nhwc array.
template <class Body>
void for_channel_parts(int64_t n, int64_t c, int64_t pixels, const Body& body) {
  const int64_t part = n < enough_images ? channel_part : c;
  const int64_t parts = (c + part - 1) / part;
  parallel_for(n * parts, 1 + grain / (1 + pixels * part), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t c0 = i % parts * part;
      body(i / parts, c0, std::min(c0 + part, c));
    }
  });
}

}  // namespace

Pooled max_pool_forward(const Array& input, const PoolSpec& spec, bool keep_index, const char* op) {
  check_floating(input, op, "input");
  const int axes = axes_of(spec);
  const Axes sizes = make_axes(input.shape(), spec, axes, false, op);
  const Shape out_shape = pooled_shape(input.shape(), sizes, axes);
  if (input.device() != Device::cpu) {
    const Array from = images(input, axes);
    const Array y({from.dim(0), from.dim(1), sizes.rows.m, sizes.columns.m}, input.dtype(), from.format(),
                  input.device());
    const Array index = keep_index ? Array(y.shape(), DType::int32, from.format(), input.device()) : Array();
    on_device(&PoolDevice::max, op, y, y.dtype(), from, y, index, stored_images(from, sizes, op));
    return {y.reshape(out_shape), keep_index ? index.reshape(out_shape) : index};
  }
  const Windows windows = make_windows(sizes);
  const PoolGeometry& g = windows.g;
  Array x = images(input.to(DType::float32), axes);
  const Format format = x.format();
  if (spec.adaptive) x = x.to_format(Format::nhwc);
  const int64_t n = x.dim(0);
  const int64_t c = x.dim(1);
  const Array y({n, c, g.out_h, g.out_w}, DType::float32, x.format());
  const Array index = keep_index ? Array(y.shape(), DType::int32, x.format()) : Array();
  int32_t* at = keep_index ? index.raw<int32_t>() : nullptr;
  const int64_t planes = g.out_h * g.out_w == 0 ? 0 : n * c;
  if (x.format() == Format::nhwc) {
    parallel_for(planes == 0 ? 0 : n * g.out_h, 1 + grain * g.out_h / (g.h * g.w * c), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        pool_kernels().max_nhwc(x.raw<float>(), y.raw<float>(), at, c, g, row);
      }
    });
  } else {
    parallel_for(planes, 1 + grain / (g.h * g.w), [&](int64_t begin, int64_t end) {
      const int64_t out = begin * g.out_h * g.out_w;
      pool_kernels().max_plain(x.raw<float>() + begin * g.h * g.w, y.raw<float>() + out, at == nullptr ? at : at + out,
                               end - begin, g, scratch(max_scratch(g)));
    });
  }
  const auto shaped = [&](const Array& a) { return a.to_format(format).reshape(out_shape); };
  return {shaped(y).to(input.dtype()), keep_index ? shaped(index) : index};
}

Array max_pool_backward(const Array& dy, const Array& index, const Shape& shape, const PoolSpec& spec, const char* op) {
  const int axes = axes_of(spec);
  const Axes sizes = make_axes(shape, spec, axes, false, op);
  check_shape(dy, pooled_shape(shape, sizes, axes), op, "gradient", "[like the output]");
  if (dy.device() != Device::cpu) {
    const Array d = images(dy, axes);
    const Array dx(image_shape(shape, axes), dy.dtype(), d.format(), dy.device());
    on_device(&PoolDevice::max_backward, op, dx, dy.dtype(), d, images(index, axes).to_format(d.format()), dx,
              stored_images(dx, sizes, op));
    return dx.reshape(shape);
  }
  const Array d = images(dy.to(DType::float32), axes);
  const Array p = images(index, axes).to_format(d.format());
  const int64_t n = d.dim(0);
  const int64_t c = d.dim(1);
  const int64_t outs = d.dim(2) * d.dim(3);
  const int64_t ins = sizes.rows.n * sizes.columns.n;
  const Array dx(image_shape(shape, axes), DType::float32, d.format());
  const float* from = d.raw<float>();
  const int32_t* at = p.raw<int32_t>();
  float* to = dx.raw<float>();
  if (d.format() == Format::nhwc) {
    const Windows windows = make_windows(sizes);
    for_channel_parts(n, c, ins, [&](int64_t image, int64_t begin, int64_t end) {
      const int64_t first = image * outs * c;
      pool_kernels().max_nhwc_backward(from + first, at + first, to + image * ins * c, c, begin, end, windows.g);
    });
  } else {
    parallel_for(n * c, 1 + grain / (1 + ins), [&](int64_t begin, int64_t end) {
      std::fill_n(to + begin * ins, (end - begin) * ins, 0.f);
      for (int64_t plane = begin; plane < end; ++plane) {
        for (int64_t o = plane * outs; o < (plane + 1) * outs; ++o) to[plane * ins + at[o]] += from[o];
      }
    });
  }
  return dx.reshape(shape).to(dy.dtype());
}

Array avg_pool_forward(const Array& input, const PoolSpec& spec, const char* op) {
  check_floating(input, op, "input");
  const int axes = axes_of(spec);
  const Axes sizes = make_axes(input.shape(), spec, axes, true, op);
  if (input.device() != Device::cpu) {
    const Array from = images(input, axes);
    const Array y({from.dim(0), from.dim(1), sizes.rows.m, sizes.columns.m}, input.dtype(), from.format(),
                  input.device());
    on_device(&PoolDevice::average, op, y, y.dtype(), from, y, stored_images(from, sizes, op));
    return y.reshape(pooled_shape(input.shape(), sizes, axes));
  }
  const Windows windows = make_windows(sizes);
  const PoolGeometry& g = windows.g;
  const Array x = images(input.to(DType::float32), axes);
  const int64_t n = x.dim(0);
  const int64_t c = x.dim(1);
  const Array y({n, c, g.out_h, g.out_w}, DType::float32, x.format());
  const int64_t planes = y.numel() == 0 ? 0 : n * c;
  if (x.format() == Format::nhwc) {
    parallel_for(planes == 0 ? 0 : n * g.out_h, 1 + grain * g.out_h / (g.h * g.w * c), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) pool_kernels().avg_nhwc(x.raw<float>(), y.raw<float>(), c, g, row);
    });
  } else {
    parallel_for(planes, 1 + grain / (g.h * g.w), [&](int64_t begin, int64_t end) {
      pool_kernels().avg_plain(x.raw<float>() + begin * g.h * g.w, y.raw<float>() + begin * g.out_h * g.out_w,
                               end - begin, g, scratch(g.w));
    });
  }
  return y.reshape(pooled_shape(input.shape(), sizes, axes)).to(input.dtype());
}

Array avg_pool_backward(const Array& dy, const Shape& shape, const PoolSpec& spec, const char* op) {
  const int axes = axes_of(spec);
  const Axes sizes = make_axes(shape, spec, axes, true, op);
  check_shape(dy, pooled_shape(shape, sizes, axes), op, "gradient", "[like the output]");
  if (dy.device() != Device::cpu) {
    const Array from = images(dy, axes);
    const Array dx(image_shape(shape, axes), dy.dtype(), from.format(), dy.device());
    on_device(&PoolDevice::average_backward, op, dx, dy.dtype(), from, dx, stored_images(dx, sizes, op));
    return dx.reshape(shape);
  }
  const Windows windows = make_windows(sizes);
  const PoolGeometry& g = windows.g;
  const Array d = images(dy.to(DType::float32), axes);
  const int64_t n = d.dim(0);
  const int64_t c = d.dim(1);
  if (d.format() == Format::nhwc) {
    const Array dx({n, c, g.h, g.w}, DType::float32, Format::nhwc);
    for_channel_parts(n, c, g.h * g.w, [&](int64_t image, int64_t begin, int64_t end) {
      pool_kernels().avg_nhwc_backward(d.raw<float>() + image * g.out_h * g.out_w * c,
                                       dx.raw<float>() + image * g.h * g.w * c, c, begin, end, g);
    });
    return dx.reshape(shape).to(dy.dtype());
  }
  const Array dx({n, c, g.h, g.w});
  parallel_for(n * c, 1 + grain / (g.h * g.w), [&](int64_t begin, int64_t end) {
    pool_kernels().avg_plain_backward(d.raw<float>() + begin * g.out_h * g.out_w, dx.raw<float>() + begin * g.h * g.w,
                                      end - begin, g, scratch(g.w));
  });
  return dx.reshape(shape).to(dy.dtype());
}

}  // namespace nonet
