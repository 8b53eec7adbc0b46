#include "ops/resize/resize.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "array/array.h"
#include "array/launch.h"

namespace nonet {

namespace {

// A sparse matrix under construction.
struct Matrix {
  int64_t m, n;
  std::vector<int64_t> first{0};
  std::vector<int32_t> index{};
  std::vector<float> weight{};

  void add(int64_t i, double w) {
    index.push_back(static_cast<int32_t>(i));
    weight.push_back(static_cast<float>(w));
  }
  void end_row() { first.push_back(static_cast<int64_t>(index.size())); }
  ResizeTaps taps() const { return {m, n, first.data(), index.data(), weight.data()}; }

  // Without the entries that are 0: an infinite gradient would not stay where it belongs.
  Matrix transposed() const {
    std::vector<std::vector<std::pair<int32_t, float>>> rows(n);
    for (int64_t o = 0; o < m; ++o) {
      for (int64_t k = first[o]; k < first[o + 1]; ++k) {
        if (weight[k] != 0) rows[index[k]].emplace_back(static_cast<int32_t>(o), weight[k]);
      }
    }
    Matrix out{n, m};
    for (const auto& row : rows) {
      for (const auto& [o, w] : row) out.add(o, w);
      out.end_row();
    }
    return out;
  }
  bool copies() const {
    return static_cast<int64_t>(index.size()) == m &&
           std::all_of(weight.begin(), weight.end(), [](float w) { return w == 1; }) && rows_have_one();
  }

 private:
  bool rows_have_one() const {
    for (int64_t o = 0; o < m; ++o) {
      if (first[o + 1] - first[o] != 1) return false;
    }
    return true;
  }
};

// Keys' kernel.
double cubic(double x, double a) {
  x = std::abs(x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

// Inputs per output.
double ratio(int64_t n, int64_t m, double scale, bool align_corners) {
  if (align_corners) return m > 1 ? static_cast<double>(n - 1) / static_cast<double>(m - 1) : 0;
  return scale > 0 ? 1 / scale : static_cast<double>(n) / static_cast<double>(m);
}

Matrix nearest(int64_t n, int64_t m, const ResizeOptions& o, double scale) {
  Matrix out{m, n};
  // In float32, as PyTorch does: where the product is nearly whole, rounding decides.
  const auto s = scale > 0 ? static_cast<float>(1 / scale) : static_cast<float>(n) / static_cast<float>(m);
  const float half = o.mode == ResizeMode::nearest_exact ? 0.5f : 0.f;
  for (int64_t p = 0; p < m; ++p) {
    const auto at = static_cast<int64_t>(std::floor((static_cast<float>(p) + half) * s));
    out.add(std::min(at, n - 1), 1);
    out.end_row();
  }
  return out;
}

Matrix neighbours(int64_t n, int64_t m, const ResizeOptions& o, double scale) {
  Matrix out{m, n};
  const double s = ratio(n, m, scale, o.align_corners);
  const bool linear = o.mode == ResizeMode::linear;
  for (int64_t p = 0; p < m; ++p) {
    double u = o.align_corners ? s * static_cast<double>(p) : s * (static_cast<double>(p) + 0.5) - 0.5;
    if (linear) u = std::max(u, 0.);
    const int64_t i = std::min(static_cast<int64_t>(std::floor(u)), n - 1);
    const double t = std::clamp(u - static_cast<double>(i), 0., 1.);
    if (linear) {
      out.add(i, 1 - t);
      out.add(std::min(i + 1, n - 1), t);
    } else {
      for (int64_t k = -1; k <= 2; ++k)
        out.add(std::clamp<int64_t>(i + k, 0, n - 1), cubic(t - static_cast<double>(k), -0.75));
    }
    out.end_row();
  }
  return out;
}

Matrix antialiased(int64_t n, int64_t m, const ResizeOptions& o, double scale) {
  Matrix out{m, n};
  const double s = ratio(n, m, scale, o.align_corners);
  const double stretch = std::max(s, 1.);
  const bool linear = o.mode == ResizeMode::linear;
  const double support = (linear ? 1 : 2) * stretch;
  std::vector<double> weights;
  for (int64_t p = 0; p < m; ++p) {
    const double center = s * (static_cast<double>(p) + 0.5);
    const int64_t begin = std::max<int64_t>(static_cast<int64_t>(center - support + 0.5), 0);
    const int64_t end = std::min<int64_t>(static_cast<int64_t>(center + support + 0.5), n);
    weights.clear();
    double total = 0;
    for (int64_t i = begin; i < end; ++i) {
      const double x = (static_cast<double>(i) - center + 0.5) / stretch;
      weights.push_back(linear ? std::max(1 - std::abs(x), 0.) : cubic(x, -0.5));
      total += weights.back();
    }
    for (int64_t i = begin; i < end; ++i) out.add(i, weights[i - begin] / total);
    out.end_row();
  }
  return out;
}

Matrix matrix(int64_t n, int64_t m, const ResizeOptions& o, double scale) {
  const bool plain_linear = o.mode == ResizeMode::linear && !o.antialias;
  if (n == m && (scale == 0 || n == 1 || plain_linear)) {  // as PyTorch has it
    Matrix out{m, n};
    for (int64_t p = 0; p < m; ++p) {
      out.add(p, 1);
      out.end_row();
    }
    return out;
  }
  if (o.mode <= ResizeMode::nearest_exact) return nearest(n, m, o, scale);
  return o.antialias ? antialiased(n, m, o, scale) : neighbours(n, m, o, scale);
}

struct Plan {
  Matrix rows, columns;
  std::vector<int32_t> padded_index;
  std::vector<float> padded_weight;

  // Entries side by side for vectors of outputs.
  int64_t pad() {
    const Matrix& c = columns;
    int64_t most = 0;
    for (int64_t o = 0; o < c.m; ++o) most = std::max(most, c.first[o + 1] - c.first[o]);
    padded_index.assign(most * c.m, static_cast<int32_t>(c.n));
    padded_weight.assign(most * c.m, 0);
    for (int64_t o = 0; o < c.m; ++o) {
      for (int64_t k = c.first[o]; k < c.first[o + 1]; ++k) {
        padded_index[(k - c.first[o]) * c.m + o] = c.index[k];
        padded_weight[(k - c.first[o]) * c.m + o] = c.weight[k];
      }
    }
    return most;
  }
};

void check_options(const Shape& shape, const Shape& size, const ResizeOptions& o) {
  const int axes = size.rank();
  check((axes == 1 || axes == 2) && shape.rank() == axes + 2, o.op, ": input must have shape ",
        axes == 2 ? "[N, C, H, W]" : "[N, C, L]", ", got ", shape);
  constexpr int64_t limit = std::numeric_limits<int32_t>::max();
  for (int a = 0; a < axes; ++a) {
    check(size[a] > 0 && size[a] < limit, o.op, ": size must be positive, got ", size);
    check(shape[2 + a] > 0 && shape[2 + a] < limit, o.op, ": input must have no empty axis but N and C, got ", shape);
  }
}

Plan plan_of(const Shape& shape, const Shape& size, const ResizeOptions& o) {
  if (size.rank() == 1) return {matrix(1, 1, o, 0), matrix(shape[2], size[0], o, o.scale[0]), {}, {}};
  const bool same = shape[2] == size[0] && shape[3] == size[1];
  if (same && o.mode <= ResizeMode::nearest_exact)
    return {matrix(size[0], size[0], o, 0), matrix(size[1], size[1], o, 0), {}, {}};
  return {matrix(shape[2], size[0], o, o.scale[0]), matrix(shape[3], size[1], o, o.scale[1]), {}, {}};
}

Array image(const Array& x) {
  return x.rank() == 4 ? x : x.reshape({x.dim(0), x.dim(1), 1, x.dim(2)});
}

template <class T>
Array on(Device device, const std::vector<T>& values, DType dtype) {
  const Array out({static_cast<int64_t>(values.size())}, dtype);
  std::copy(values.begin(), values.end(), out.data<T>());
  return out.to(device);
}

// A matrix in the memory of a device.
struct DeviceMatrix {
  Array first, index, weight;
  ResizeTaps taps;

  DeviceMatrix(const Matrix& from, Device device)
      : first(on(device, from.first, DType::int64)),
        index(on(device, from.index, DType::int32)),
        weight(on(device, from.weight, DType::float32)),
        taps{from.m, from.n, static_cast<const int64_t*>(first.address()), static_cast<const int32_t*>(index.address()),
             static_cast<const float*>(weight.address())} {}
};

// y = R x K^T for images of rank 4.
Array apply(const Array& x, Plan plan, const char* op) {
  const Array y({x.dim(0), x.dim(1), plan.rows.m, plan.columns.m}, x.dtype(), x.format(), x.device());
  const bool nhwc = x.format() == Format::nhwc;
  const int64_t outer = nhwc ? x.dim(0) : x.dim(0) * x.dim(1);
  const int64_t inner = nhwc ? x.dim(1) : 1;
  if (y.numel() == 0) return y;
  if (x.device() != Device::cpu) {
    const DeviceMatrix rows(plan.rows, x.device());
    const DeviceMatrix columns(plan.columns, x.device());
    on_device(&ResizeDevice::resize, op, y, x.dtype(), x, y, outer, inner, rows.taps, columns.taps);
    return y;
  }
  const int64_t most = plan.pad();
  const ResizeGeometry g = {.outer = outer,
                            .inner = inner,
                            .rows = plan.rows.taps(),
                            .columns = plan.columns.taps(),
                            .copies_rows = plan.rows.copies(),
                            .copies_columns = plan.columns.copies(),
                            .most = most,
                            .padded_index = plan.padded_index.data(),
                            .padded_weight = plan.padded_weight.data()};
  const Array out = y.dtype() == DType::float32 ? y : Array(y.shape(), DType::float32, y.format());
  resize_kernels().resize(x.to(DType::float32).raw<float>(), out.raw<float>(), g);
  return out.to(x.dtype());
}

Shape resized(const Shape& shape, const Shape& size) {
  Shape out = shape;
  for (int a = 0; a < size.rank(); ++a) out[2 + a] = size[a];
  return out;
}

}  // namespace

Array resize_forward(const Array& x, const Shape& size, const ResizeOptions& options) {
  check_floating(x, options.op, "input");
  check_options(x.shape(), size, options);
  return apply(image(x), plan_of(x.shape(), size, options), options.op).reshape(resized(x.shape(), size));
}

Array resize_backward(const Array& dy, const Shape& shape, const ResizeOptions& options) {
  const Shape size = shape.rank() == 3 ? Shape{dy.shape().back()} : Shape{dy.dim(2), dy.dim(3)};
  check_shape(dy, resized(shape, size), options.op, "gradient", "[like the output]");
  const Plan plan = plan_of(shape, size, options);
  return apply(image(dy), {plan.rows.transposed(), plan.columns.transposed(), {}, {}}, options.op).reshape(shape);
}

}  // namespace nonet
