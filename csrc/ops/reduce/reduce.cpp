#include "ops/reduce/reduce.h"

#include <cmath>
#include <limits>

#include "array/axis.h"
#include "ops/reduce/axes.h"
#include "ops/reduce/device.h"

namespace nonet {

namespace {

float identity(Fold op) {
  switch (op) {
    case Fold::product:
      return 1.f;
    case Fold::maximum:
      return -std::numeric_limits<float>::infinity();
    case Fold::minimum:
      return std::numeric_limits<float>::infinity();
    default:
      return 0.f;
  }
}

// One float32 per result, in the order of Axes::result; x: float32 [outer, n, inner], p: as many numbers, or none.
Array fold(const Array& x, Fold op, Term term = Term::value, const Array& p = {}) {
  const int64_t outer = x.dim(0);
  const int64_t inner = x.dim(2);
  Array from = x;
  int64_t n = x.dim(1);
  if (n == 0) {
    Array out({outer * inner});
    fill(out, identity(op));
    return out;
  }
  do {
    const int64_t spans = (n + fold_span(inner) - 1) / fold_span(inner);
    const Array to({outer, spans, inner});
    reduce_kernels().fold(op, term, from.data<float>(), p.defined() ? p.data<float>() : nullptr, to.data<float>(),
                          outer, n, inner);
    // What is left to do is to fold the partial results (of sums: whatever the terms were).
    from = to;
    n = spans;
    term = Term::value;
  } while (n > 1);
  return from.reshape({outer * inner});
}

// Of the values themselves: groups of axes one after the other, without a copy that brings them together.
Array fold_values(const Array& x, const Axes& axes, bool keepdim, Fold op) {
  Array from = x.plain().to(DType::float32);
  for_groups(axes,
             [&](const Axes& group) { from = fold(Gathered(group).gather(from), op).reshape(group.result(true)); });
  return (axes.count() == 1 ? from.clone() : from).reshape(axes.result(keepdim));
}

// out[k] = f(a[k], b[k]) on one number per result.
template <class F>
Array each(const Array& a, const Array& b, const F& f) {
  const Array x = a.plain().to(DType::float32);
  const Array y = b.plain().to(DType::float32);
  const Array out({x.numel()});
  for (int64_t i = 0; i < x.numel(); ++i) out.data<float>()[i] = f(x.data<float>()[i], y.data<float>()[i]);
  return out;
}
template <class F>
Array each(const Array& a, const F& f) {
  return each(a, a, [&](float x, float) { return f(x); });
}

// dx in the shape and dtype of the input; p and d: one number per result.
Array spread(const Axes& axes, const Gathered& view, Spread what, const Array& x, const Array& p, const Array& d,
             DType dtype) {
  check(d.numel() == view.results(), "backward of a reduction: gradient must have shape ", axes.result(false), ", got ",
        d.shape());
  const Array dx({view.outer(), view.n(), view.inner()});
  reduce_kernels().spread(what, x.defined() ? x.data<float>() : nullptr, p.defined() ? p.data<float>() : nullptr,
                          d.data<float>(), dx.data<float>(), view.outer(), view.n(), view.inner());
  return view.restore(dx).to(dtype);
}

Array gathered_floats(const Array& x, const Gathered& view) {
  return view.gather(x.to(DType::float32));
}

// Integers, exactly: y = op(y, term(x)) over the middle axis.
template <class To, class Visit, class Op>
Array fold_exact(const Array& x, const Axes& axes, bool keepdim, DType dtype, To first, const Visit& term,
                 const Op& op) {
  const Gathered view(axes);
  const Array from = view.gather(x);
  const Array out(axes.result(keepdim), dtype);
  To* y = out.data<To>();
  visit(x.dtype(), [&](auto type) {
    using T = typename decltype(type)::type;
    const T* a = from.data<T>();
    const int64_t n = view.n();
    const int64_t inner = view.inner();
    parallel_for(view.outer(), 1 + 16384 / (n * inner + 1), [&](int64_t begin, int64_t end) {
      for (int64_t o = begin; o < end; ++o) {
        for (int64_t i = 0; i < inner; ++i) y[o * inner + i] = first;
        for (int64_t j = 0; j < n; ++j) {
          const T* row = a + (o * n + j) * inner;
          for (int64_t i = 0; i < inner; ++i) y[o * inner + i] = op(y[o * inner + i], term(row[i]));
        }
      }
    });
  });
  return out;
}

bool on_device(const Array& x) {
  return x.device() != Device::cpu;
}

constexpr auto is_true = [](auto x) {
  if constexpr (std::is_same_v<decltype(x), bfloat16>) {
    return to_float(x) != 0.f;
  } else {
    return x != decltype(x){0};
  }
};

constexpr auto as_int64 = [](auto x) -> int64_t {
  if constexpr (std::is_same_v<decltype(x), bfloat16>) {
    return static_cast<int64_t>(to_float(x));
  } else {
    return static_cast<int64_t>(x);
  }
};

}  // namespace

Array reduce_sum(const Array& x, const Axes& axes, bool keepdim) {
  if (on_device(x)) return device_sum(x, axes, keepdim, Fold::sum);
  if (!is_floating(x.dtype())) {
    return fold_exact(x, axes, keepdim, DType::int64, int64_t{0}, as_int64, [](int64_t a, int64_t b) {
      return static_cast<int64_t>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
    });
  }
  return fold_values(x, axes, keepdim, Fold::sum).to(x.dtype());
}

Array sum_backward(const Array& dy, const Axes& axes, float scale) {
  check(dy.numel() == axes.result(false).numel(), "sum: gradient must have shape ", axes.result(false), ", got ",
        dy.shape());
  if (on_device(dy)) return device_sum_gradient(dy, axes, scale);
  Array dx = (scale == 1.f ? dy.plain().to(DType::float32) : each(dy, [&](float v) {
               return v * scale;
             })).reshape(axes.result(true));
  for_groups(axes, [&](const Axes& group) {  // here the other axes are those that have their size already
    Axes spread_here(group);
    for (int axis = 0; axis < axes.shape.rank(); ++axis) {
      spread_here.shape[axis] = group.reduced[axis] ? axes.shape[axis] : dx.dim(axis);
    }
    dx = spread(spread_here, Gathered(spread_here), Spread::constant, {}, {}, dx, DType::float32);
  });
  return dx.to(dy.dtype());
}

Array reduce_mean(const Array& x, const Axes& axes, bool keepdim) {
  check_floating(x, "mean", "input");
  const float n = static_cast<float>(axes.count());
  if (on_device(x)) return device_fold(x, axes, keepdim, Fold::sum, n, "mean");
  const Array total = fold_values(x, axes, keepdim, Fold::sum);
  return each(total, [&](float v) { return v / n; }).reshape(total.shape()).to(x.dtype());
}

Array reduce_prod(const Array& x, const Axes& axes, bool keepdim) {
  if (on_device(x)) return device_sum(x, axes, keepdim, Fold::product);
  if (!is_floating(x.dtype())) {
    return fold_exact(x, axes, keepdim, DType::int64, int64_t{1}, as_int64, [](int64_t a, int64_t b) {
      return static_cast<int64_t>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
    });
  }
  return fold_values(x, axes, keepdim, Fold::product).to(x.dtype());
}

// Products of all the others, from both ends: no division, so zeros are no special case.
Array prod_backward(const Array& dy, const Array& x, const Axes& axes) {
  const Gathered view(axes, Gathered::Inner::none);
  const Array from = gathered_floats(x, view);
  const Array d = dy.plain().to(DType::float32);
  if (on_device(x)) return view.restore(device_products(from.reshape({view.outer(), view.n()}), d)).to(dy.dtype());
  const Array dx = empty_like(from);
  const int64_t n = view.n();
  parallel_for(view.outer(), 1 + 16384 / (n + 1), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const float* a = from.data<float>() + row * n;
      float* out = dx.data<float>() + row * n;
      double before = d.data<float>()[row];
      for (int64_t i = 0; i < n; ++i) {
        out[i] = static_cast<float>(before);
        before *= a[i];
      }
      double after = 1;
      before = d.data<float>()[row];
      for (int64_t i = n; i-- > 0;) {
        out[i] = static_cast<float>(out[i] * after);
        after *= a[i];
      }
    }
  });
  return view.restore(dx).to(dy.dtype());
}

Array reduce_extreme(const Array& x, const Axes& axes, bool keepdim, bool largest) {
  const char* op = largest ? "amax" : "amin";
  check(axes.count() > 0 || axes.result(false).numel() == 0, op, ": an empty slice has no ",
        largest ? "maximum" : "minimum", ", got shape ", x.shape());
  if (on_device(x)) return device_amax(x, axes, keepdim, largest);
  if (!is_floating(x.dtype())) {
    const int64_t first = largest ? std::numeric_limits<int64_t>::min() : std::numeric_limits<int64_t>::max();
    return fold_exact(x, axes, keepdim, DType::int64, first, as_int64,
                      [&](int64_t a, int64_t b) { return (a > b) == largest ? a : b; })
        .to(x.dtype());
  }
  return fold_values(x, axes, keepdim, largest ? Fold::maximum : Fold::minimum).to(x.dtype());
}

Array extreme_backward(const Array& dy, const Array& x, const Array& y, const Axes& axes) {
  if (on_device(x)) return device_gradient(ReduceGradient::extreme, dy, x, y, {}, axes, 0);
  const Gathered view(axes);
  const Array from = gathered_floats(x, view);
  const Array value = y.plain().to(DType::float32);
  const Array ties = fold(from, Fold::sum, Term::equal, value);
  const Array d = each(dy, ties, [](float g, float count) { return g / count; });
  return spread(axes, view, Spread::equal, from, value, d, dy.dtype());
}

Array reduce_logsumexp(const Array& x, const Axes& axes, bool keepdim) {
  check_floating(x, "logsumexp", "input");
  if (on_device(x)) return device_logsumexp(x, axes, keepdim);
  const Array from = gathered_floats(x, Gathered(axes));
  const Array m = each(fold(from, Fold::maximum), [](float v) { return std::isinf(v) ? 0.f : v; });
  const Array total = fold(from, Fold::sum, Term::exp_offset, m);
  return each(m, total, [](float a, float s) { return a + std::log(s); }).reshape(axes.result(keepdim)).to(x.dtype());
}

Array logsumexp_backward(const Array& dy, const Array& x, const Array& y, const Axes& axes) {
  if (on_device(x)) return device_gradient(ReduceGradient::logsumexp, dy, x, y, {}, axes, 0);
  const Gathered view(axes);
  // Where all of x is -inf, so is y: the gradient there is 0, not exp(-inf + inf).
  const Array offset = each(y, [](float v) { return v == -std::numeric_limits<float>::infinity() ? 0.f : v; });
  return spread(axes, view, Spread::exp_offset, gathered_floats(x, view), offset, dy.plain().to(DType::float32),
                dy.dtype());
}

namespace {

// The root of the mean square distance in float64, for squares that leave the range of float32.
float wide_deviation(const float* x, int64_t n, int64_t stride, double mean, double freedom) {
  double total = 0;
  for (int64_t j = 0; j < n; ++j) {
    const double distance = x[j * stride] - mean;
    total += distance * distance;
  }
  return static_cast<float>(std::sqrt(total / freedom));
}

}  // namespace

Moments reduce_var(const Array& x, const Axes& axes, bool keepdim, double correction, bool root) {
  check_floating(x, root ? "std" : "var", "input");
  const float freedom = std::max(0.f, static_cast<float>(static_cast<double>(axes.count()) - correction));
  if (on_device(x)) return device_moments(x, axes, keepdim, freedom, root);
  const Array from = gathered_floats(x, Gathered(axes));
  const float n = static_cast<float>(axes.count());
  const Array mean = each(fold(from, Fold::sum), [&](float v) { return v / n; });
  const Array squares = fold(from, Fold::sum, Term::squared_offset, mean);
  const Array out = each(squares, [&](float v) { return root ? std::sqrt(v / freedom) : v / freedom; });
  if (root) {
    const int64_t inner = from.dim(2);
    for (int64_t i = 0; i < out.numel(); ++i) {
      const float square = squares.data<float>()[i];
      if (square > 1e-30f && square <= std::numeric_limits<float>::max()) continue;
      const float* first = from.data<float>() + i / inner * from.dim(1) * inner + i % inner;
      out.data<float>()[i] = wide_deviation(first, from.dim(1), inner, mean.data<float>()[i], freedom);
    }
  }
  const Shape shape = axes.result(keepdim);
  return {out.reshape(shape).to(x.dtype()), mean.reshape(shape).to(x.dtype())};
}

Array var_backward(const Array& dy, const Array& x, const Array& y, const Array& mean, const Axes& axes,
                   double correction, bool root) {
  const float freedom = std::max(0.f, static_cast<float>(static_cast<double>(axes.count()) - correction));
  if (on_device(x)) {
    return device_gradient(root ? ReduceGradient::deviation : ReduceGradient::variance, dy, x, y, mean, axes, freedom);
  }
  const Gathered view(axes);
  const Array d = each(dy, y, [&](float g, float v) {
    if (!root) return 2.f * g / freedom;
    return v == 0.f ? 0.f : g / (v * freedom);
  });
  return spread(axes, view, Spread::offset, gathered_floats(x, view), mean.plain().to(DType::float32), d, dy.dtype());
}

Array count_nonzero(const Array& x, const Axes& axes, bool keepdim) {
  if (on_device(x)) return device_exact(x, axes, keepdim, ExactFold::nonzero, DType::int64, "count_nonzero");
  return fold_exact(
      x, axes, keepdim, DType::int64, int64_t{0}, [](auto v) { return int64_t{is_true(v)}; },
      [](int64_t a, int64_t b) { return a + b; });
}

Array reduce_truth(const Array& x, const Axes& axes, bool keepdim, bool all) {
  if (on_device(x)) {
    return device_exact(x, axes, keepdim, all ? ExactFold::all : ExactFold::any, DType::boolean, all ? "all" : "any");
  }
  return fold_exact(
      x, axes, keepdim, DType::boolean, all, [](auto v) { return is_true(v); },
      [&](bool a, bool b) { return all ? a && b : a || b; });
}

}  // namespace nonet
