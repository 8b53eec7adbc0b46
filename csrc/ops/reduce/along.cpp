// Positions of extremes, running sums and products: one axis, as rows.
#include <limits>

#include "array/axis.h"
#include "ops/reduce/axes.h"
#include "ops/reduce/device.h"
#include "ops/reduce/reduce.h"

namespace nonet {

namespace {

// The rows [m, n] of an axis; a number counts as a row of one.
struct Rows {
  Rows(const Array& x, int64_t axis, const char* op)
      : shape(x.rank() == 0 ? Shape{1} : x.shape()), axis(normal_axis(axis, shape.rank(), op)) {}

  Array of(const Array& x) const { return axis_last(x.plain().reshape(shape), axis); }
  Array back(const Array& rows, const Shape& original) const { return axis_back(rows, shape, axis).reshape(original); }

  Shape shape;
  int axis;
};

// body(row of x, row of y, n) on every row; x and y: [m, n].
template <class T, class Body>
void for_rows(const Array& x, const Array& y, const Body& body) {
  const int64_t n = x.dim(1);
  parallel_for(x.dim(0), 1 + 16384 / (n + 1), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) body(x.data<T>() + row * n, y.data<T>() + row * n, n);
  });
}

template <class T>
void extreme_rows(const Array& x, const Array& values, const Array& positions, bool largest) {
  const int64_t n = x.dim(1);
  const T* a = x.data<T>();
  for (int64_t row = 0; row < x.dim(0); ++row, a += n) {
    int64_t best = 0;
    for (int64_t i = 1; i < n; ++i) {
      if (largest ? a[i] > a[best] : a[i] < a[best]) best = i;
    }
    values.data<T>()[row] = a[best];
    positions.data<int64_t>()[row] = best;
  }
}

}  // namespace

Extreme extreme_along(const Array& x, int64_t axis, bool keepdim, bool largest) {
  const char* op = largest ? "max" : "min";
  const Rows rows(x, axis, op);
  check(rows.shape[rows.axis] > 0 || rows.shape.with(rows.axis, 1).numel() == 0, op, ": an empty slice has no ",
        largest ? "maximum" : "minimum", ", got shape ", x.shape());
  const Axes axes(x.shape(), std::vector<int64_t>{axis}, op);
  if (x.device() != Device::cpu) return device_extreme(x, axes, keepdim, largest);
  const Array positions(axes.result(keepdim), DType::int64);
  if (!is_floating(x.dtype())) {
    const Array from = rows.of(x);
    const Array values(positions.shape(), x.dtype());
    visit(x.dtype(), [&](auto type) {
      using T = typename decltype(type)::type;
      if constexpr (!std::is_same_v<T, bfloat16>) extreme_rows<T>(from, values, positions, largest);
    });
    return {values, positions};
  }
  const Array from = x.plain().to(DType::float32);
  const auto [outer, n, inner] = around(rows.shape, rows.axis);
  if (inner >= 8 && n <= std::numeric_limits<int32_t>::max()) {
    const Array values = reduce_extreme(from, axes, keepdim, largest);
    reduce_kernels().find(from.data<float>(), values.data<float>(), positions.data<int64_t>(), outer, n, inner);
    return {values.to(x.dtype()), positions};
  }
  const Array values(positions.shape());
  reduce_kernels().extreme(rows.of(from).data<float>(), values.data<float>(), positions.data<int64_t>(), outer * inner,
                           n, largest);
  return {values.to(x.dtype()), positions};
}

Array cumsum(const Array& x, int64_t axis, bool reverse) {
  const Rows rows(x, axis, "cumsum");
  const bool floating = is_floating(x.dtype());
  if (x.device() != Device::cpu) {
    const Array y = device_running(reverse ? Running::sum_reversed : Running::sum, rows.of(x),
                                   floating ? x.dtype() : DType::int64, "cumsum");
    return rows.back(y, x.shape());
  }
  const Array from = rows.of(x.to(floating ? DType::float32 : DType::int64));
  const Array out = empty_like(from);
  const auto run = [&](auto total) {
    using Total = decltype(total);
    using T = std::conditional_t<std::is_same_v<Total, double>, float, int64_t>;
    for_rows<T>(from, out, [&](const T* a, T* y, int64_t n) {
      Total sum = 0;
      for (int64_t k = 0; k < n; ++k) {
        const int64_t i = reverse ? n - 1 - k : k;
        sum += static_cast<Total>(a[i]);
        y[i] = static_cast<T>(sum);
      }
    });
  };
  if (floating) {
    run(double{});
  } else {
    run(uint64_t{});  // unsigned: wraps
  }
  return rows.back(out, x.shape()).to(floating ? x.dtype() : DType::int64);
}

Array cumprod(const Array& x, int64_t axis) {
  check_floating(x, "cumprod", "input");
  const Rows rows(x, axis, "cumprod");
  const Array from = rows.of(x.to(DType::float32));
  if (x.device() != Device::cpu) {
    return rows.back(device_running(Running::product, from, DType::float32, "cumprod"), x.shape()).to(x.dtype());
  }
  const Array out = empty_like(from);
  for_rows<float>(from, out, [](const float* a, float* y, int64_t n) {
    double product = 1;
    for (int64_t i = 0; i < n; ++i) y[i] = static_cast<float>(product *= a[i]);
  });
  return rows.back(out, x.shape()).to(x.dtype());
}

Array cumprod_backward(const Array& dy, const Array& x, int64_t axis) {
  const Rows rows(x, axis, "cumprod");
  const Array from = rows.of(x.to(DType::float32));
  if (x.device() != Device::cpu) {
    const Array d = rows.of(dy.to(DType::float32));
    return rows.back(device_products_so_far(from, d), x.shape()).to(dy.dtype());
  }
  const Array dx = rows.of(dy.to(DType::float32)).clone();
  for_rows<float>(from, dx, [](const float* a, float* d, int64_t n) {
    double suffix = 0;
    for (int64_t i = n; i-- > 0;) {
      suffix = d[i] + (i + 1 < n ? a[i + 1] * suffix : 0);
      d[i] = static_cast<float>(suffix);
    }
    double prefix = 1;
    for (int64_t i = 0; i < n; ++i) {
      d[i] = static_cast<float>(prefix * d[i]);
      prefix *= a[i];
    }
  });
  return rows.back(dx, x.shape()).to(dy.dtype());
}

}  // namespace nonet
