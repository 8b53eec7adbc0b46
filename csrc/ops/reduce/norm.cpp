// Vector norms, in float64 so that squares neither overflow nor vanish.
#include <cmath>
#include <limits>
#include <vector>

#include "ops/reduce/axes.h"
#include "ops/reduce/device.h"
#include "ops/reduce/reduce.h"

namespace nonet {

namespace {

constexpr int64_t span = 4096;

double absolute_maximum(double a, double b) {
  return a > b || std::isnan(a) ? a : b;
}
double absolute_minimum(double a, double b) {
  return a < b || std::isnan(a) ? a : b;
}

// op over term(x_i) of one span, in four chains.
template <class Term, class Op>
double fold(const float* x, int64_t n, double first, const Term& term, const Op& op) {
  double part[4] = {first, first, first, first};
  int64_t i = 0;
  for (; i + 4 <= n; i += 4) {
    for (int k = 0; k < 4; ++k) part[k] = op(part[k], term(static_cast<double>(std::fabs(x[i + k]))));
  }
  for (; i < n; ++i) part[0] = op(part[0], term(static_cast<double>(std::fabs(x[i]))));
  return op(op(part[0], part[1]), op(part[2], part[3]));
}

// y[row] = finish(op over the row of term(|x|)).
template <class Term, class Op, class Finish>
void rows(const float* x, float* y, int64_t count, int64_t n, double first, const Term& term, const Op& op,
          const Finish& finish) {
  const int64_t spans = (n + span - 1) / span;
  std::vector<double> parts(count * spans);
  parallel_for(count * spans, 1 + 4 * span / (n + 1), [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t at = task % spans * span;
      parts[task] = fold(x + task / spans * n + at, std::min(span, n - at), first, term, op);
    }
  });
  for (int64_t row = 0; row < count; ++row) {
    double total = first;
    for (int64_t i = 0; i < spans; ++i) total = op(total, parts[row * spans + i]);
    y[row] = static_cast<float>(finish(total));
  }
}

}  // namespace

Array reduce_norm(const Array& x, const Axes& axes, bool keepdim, double p) {
  check_floating(x, "norm", "input");
  const bool extreme = std::isinf(p);
  check(!(extreme || p < 0) || axes.count() > 0 || axes.result(false).numel() == 0, "norm: p = ", p,
        " has no value for an empty slice, got shape ", x.shape());
  if (x.device() != Device::cpu) return device_norm(x, axes, keepdim, p);
  const Gathered view(axes, Gathered::Inner::none);
  const Array from = view.gather(x.to(DType::float32));
  const Array out(axes.result(keepdim));
  const auto same = [](double v) { return v; };
  const auto add = [](double a, double b) { return a + b; };
  const auto run = [&](double first, const auto& term, const auto& op, const auto& finish) {
    rows(from.data<float>(), out.data<float>(), view.outer(), view.n(), first, term, op, finish);
  };
  if (extreme) {
    if (p > 0) {
      run(0, same, absolute_maximum, same);
    } else {
      run(std::numeric_limits<double>::infinity(), same, absolute_minimum, same);
    }
  } else if (p == 2) {
    run(0, [](double v) { return v * v; }, add, [](double v) { return std::sqrt(v); });
  } else if (p == 1) {
    run(0, same, add, same);
  } else if (p == 0) {
    run(0, [](double v) { return v != 0 ? 1. : 0.; }, add, same);
  } else {
    run(0, [&](double v) { return std::pow(v, p); }, add, [&](double v) { return std::pow(v, 1 / p); });
  }
  return out.to(x.dtype());
}

Array norm_backward(const Array& dy, const Array& x, const Array& y, const Axes& axes, double p) {
  if (x.device() != Device::cpu) return device_gradient(ReduceGradient::norm, dy, x, y, {}, axes, p);
  const Gathered view(axes, Gathered::Inner::none);
  const Array from = view.gather(x.to(DType::float32));
  const Array norms = y.plain().to(DType::float32);
  const Array d = dy.plain().to(DType::float32);
  const Array dx = empty_like(from);
  const int64_t n = view.n();
  parallel_for(view.outer(), 1 + 16384 / (n + 1), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const float* a = from.data<float>() + row * n;
      float* out = dx.data<float>() + row * n;
      const double norm = norms.data<float>()[row];
      const double g = d.data<float>()[row];
      double ties = 0;
      if (std::isinf(p)) {
        for (int64_t i = 0; i < n; ++i) ties += std::fabs(a[i]) == norm || (std::isnan(norm) && std::isnan(a[i]));
      }
      for (int64_t i = 0; i < n; ++i) {
        const double v = a[i];
        const double sign = v > 0 ? 1 : (v < 0 ? -1 : v);  // of NaN: NaN
        double slope;
        if (std::isinf(p)) {
          slope = std::fabs(v) == norm || std::isnan(v) ? sign / ties : 0;
        } else if (p == 2) {
          slope = norm == 0 ? 0 : v / norm;
        } else if (p == 1) {
          slope = sign;
        } else {
          slope = p == 0 || v == 0 || norm == 0 ? 0 : sign * std::pow(std::fabs(v) / norm, p - 1);
        }
        out[i] = static_cast<float>(slope * g);
      }
    }
  });
  return view.restore(dx).to(dy.dtype());
}

}  // namespace nonet
