#include "ops/pool/pool.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "ops/pool/pooling.h"

namespace nonet {

namespace {

constexpr int64_t grain = 16384;       // input elements per block
constexpr int64_t channel_part = 64;   // channels of an nhwc image per block of a backward pass
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

// The windows along pooled axis `a` of n elements.
std::vector<PoolWindow> windows(int64_t n, const PoolSpec& spec, int a, bool average, const char* op) {
  std::vector<PoolWindow> out;
  if (spec.adaptive) {
    const int64_t m = spec.out[a] == -1 ? n : spec.out[a];
    check(m >= 0, op, ": output_size must be >= 0, got ", spec.out);
    for (int64_t o = 0; o < m; ++o) {
      const int64_t begin = o * n / m;
      const int64_t end = ((o + 1) * n + m - 1) / m;
      out.push_back({begin, end, static_cast<float>(end - begin)});
    }
    return out;
  }
  const int64_t k = spec.kernel[a];
  const int64_t s = spec.stride[a];
  const int64_t p = spec.padding[a];
  const int64_t d = spec.dilation[a];
  const int64_t room = n + 2 * p - d * (k - 1) - 1;
  int64_t m = room < 0 && !spec.ceil_mode ? 0 : (room + (spec.ceil_mode ? s - 1 : 0)) / s + 1;
  if (spec.ceil_mode && m > 0 && (m - 1) * s >= n + p) --m;  // the last window must begin inside
  check(m > 0, op, ": kernel_size ", spec.kernel, " exceeds the padded input, of size ", n + 2 * p,
        " along pooled axis ", a);
  for (int64_t o = 0; o < m; ++o) {
    const int64_t from = o * s - p;
    const int64_t end = std::min(from + (k - 1) * d + 1, n);
    const int64_t begin = from < 0 ? from + (-from + d - 1) / d * d : from;
    const int64_t counted = spec.count_include_pad ? std::min(from + k, n + p) - from : end - begin;
    if (begin < end) {
      out.push_back({begin, end, static_cast<float>(counted)});
    } else {  // a dilated window in the padding throughout: empty, at a valid position
      out.push_back({std::min(begin, n - 1), std::min(begin, n - 1), static_cast<float>(counted)});
    }
  }
  if (average && spec.divisor != 0) {
    for (PoolWindow& window : out) window.count = a == 0 ? static_cast<float>(spec.divisor) : 1.f;
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

Shape pooled_shape(const Shape& x, const PoolGeometry& g, int axes) {
  Shape out = x.with(x.rank() - 1, g.out_w);
  return axes == 2 ? out.with(x.rank() - 2, g.out_h) : out;
}

// One pooled axis: windows of one row.
Windows make_windows(const Shape& shape, const PoolSpec& spec, int axes, bool average, const char* op) {
  const char* letters = axes == 2 ? "[N, C, H, W] or [C, H, W]" : "[N, C, L] or [C, L]";
  check(shape.rank() == axes + 1 || shape.rank() == axes + 2, op, ": input must have shape ", letters, ", got ", shape);
  for (int axis = shape.rank() - axes - 1; axis < shape.rank(); ++axis) {
    check(shape[axis] > 0, op, ": input must have no empty axis but N, got ", shape);
  }
  if (!spec.adaptive) check_spec(spec, average, op);
  Windows out;
  out.g.w = shape.back();
  out.g.h = axes == 2 ? shape[shape.rank() - 2] : 1;
  check(out.g.h * out.g.w < std::numeric_limits<int32_t>::max(), op, ": input must have less than 2^31 positions, got ",
        shape);
  out.columns = windows(out.g.w, spec, axes - 1, average, op);
  out.rows = axes == 2 ? windows(out.g.h, spec, 0, average, op) : std::vector<PoolWindow>{{0, 1, 1.f}};
  out.g.out_h = static_cast<int64_t>(out.rows.size());
  out.g.out_w = static_cast<int64_t>(out.columns.size());
  out.g.rows = out.rows.data();
  out.g.columns = out.columns.data();
  out.g.step_h = axes == 2 && !spec.adaptive ? spec.dilation[0] : 1;
  out.g.step_w = spec.adaptive ? 1 : spec.dilation[axes - 1];
  if (!spec.adaptive) {
    out.g.kernel_w = spec.kernel[axes - 1];
    out.g.stride_w = spec.stride[axes - 1];
    out.g.padding_w = spec.padding[axes - 1];
  }
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
  const int64_t parts = (c + channel_part - 1) / channel_part;
  parallel_for(n * parts, 1 + grain / (1 + pixels * std::min(c, channel_part)), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t c0 = i % parts * channel_part;
      body(i / parts, c0, std::min(c0 + channel_part, c));
    }
  });
}

Array zeros_as(const Shape& shape, Format format) {
  const Array out(shape, DType::float32, format);
  std::fill_n(out.raw<float>(), out.numel(), 0.f);
  return out;
}

}  // namespace

Pooled max_pool_forward(const Array& input, const PoolSpec& spec, bool keep_index, const char* op) {
  check_floating(input, op, "input");
  const int axes = axes_of(spec);
  const Windows windows = make_windows(input.shape(), spec, axes, false, op);
  const PoolGeometry& g = windows.g;
  const Shape out_shape = pooled_shape(input.shape(), g, axes);
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

Array max_pool_backward(const Array& dy, const Array& index, const Shape& shape, int axes) {
  const Array d = images(dy.to(DType::float32), axes);
  const Array p = images(index, axes).to_format(d.format());
  const Array dx = zeros_as(image_shape(shape, axes), d.format());
  const int64_t n = d.dim(0);
  const int64_t c = d.dim(1);
  const int64_t outs = d.dim(2) * d.dim(3);
  const int64_t ins = dx.dim(2) * dx.dim(3);
  const float* from = d.raw<float>();
  const int32_t* at = p.raw<int32_t>();
  float* to = dx.raw<float>();
  if (d.format() == Format::nhwc) {
    for_channel_parts(n, c, ins, [&](int64_t image, int64_t begin, int64_t end) {
      float* plane = to + image * ins * c;
      for (int64_t o = image * outs; o < (image + 1) * outs; ++o) {
        for (int64_t i = begin; i < end; ++i) plane[at[o * c + i] * c + i] += from[o * c + i];
      }
    });
  } else {
    parallel_for(n * c, 1 + grain / (1 + ins), [&](int64_t begin, int64_t end) {
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
  const Windows windows = make_windows(input.shape(), spec, axes, true, op);
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
  return y.reshape(pooled_shape(input.shape(), g, axes)).to(input.dtype());
}

Array avg_pool_backward(const Array& dy, const Shape& shape, const PoolSpec& spec, const char* op) {
  const int axes = axes_of(spec);
  const Windows windows = make_windows(shape, spec, axes, true, op);
  const PoolGeometry& g = windows.g;
  const Array d = images(dy.to(DType::float32), axes);
  const int64_t n = d.dim(0);
  const int64_t c = d.dim(1);
  if (d.format() == Format::nhwc) {
    const Array dx = zeros_as({n, c, g.h, g.w}, Format::nhwc);
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
