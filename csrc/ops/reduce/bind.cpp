#include "bind.h"

#include "ops/reduce/axes.h"
#include "ops/reduce/reduce.h"

namespace nonet {

namespace {

using List = std::optional<std::vector<int64_t>>;  // None or an empty sequence: all axes

auto over(Array (*reduce)(const Array&, const Axes&, bool), const char* op) {
  return [=](const Array& x, const List& axes, bool keepdim) { return reduce(x, Axes(x.shape(), axes, op), keepdim); };
}

}  // namespace

void bind_reduce(py::module_& m) {
  const auto x = py::arg("x");
  const auto axes = py::arg("axes");
  const auto keepdim = py::arg("keepdim");
  m.def("reduce_sum", over(&reduce_sum, "sum"), x, axes, keepdim, no_gil());
  m.def("reduce_mean", over(&reduce_mean, "mean"), x, axes, keepdim, no_gil());
  m.def("reduce_prod", over(&reduce_prod, "prod"), x, axes, keepdim, no_gil());
  m.def("reduce_logsumexp", over(&reduce_logsumexp, "logsumexp"), x, axes, keepdim, no_gil());
  m.def("count_nonzero", over(&count_nonzero, "count_nonzero"), x, axes, keepdim, no_gil());
  m.def(
      "reduce_extreme",
      [](const Array& x, const List& axes, bool keepdim, bool largest) {
        return reduce_extreme(x, Axes(x.shape(), axes, largest ? "amax" : "amin"), keepdim, largest);
      },
      x, axes, keepdim, py::arg("largest"), no_gil());
  m.def(
      "reduce_truth",
      [](const Array& x, const List& axes, bool keepdim, bool all) {
        return reduce_truth(x, Axes(x.shape(), axes, all ? "all" : "any"), keepdim, all);
      },
      x, axes, keepdim, py::arg("all"), no_gil());
  m.def(
      "reduce_norm",
      [](const Array& x, const List& axes, bool keepdim, double p) {
        return reduce_norm(x, Axes(x.shape(), axes, "norm"), keepdim, p);
      },
      x, axes, keepdim, py::arg("p"), no_gil());
  m.def(
      "reduce_var",
      [](const Array& x, const List& axes, bool keepdim, double correction, bool root) {
        const Moments out = reduce_var(x, Axes(x.shape(), axes, root ? "std" : "var"), keepdim, correction, root);
        return std::make_pair(out.var, out.mean);
      },
      x, axes, keepdim, py::arg("correction"), py::arg("root"), no_gil());

  const auto dy = py::arg("dy");
  const auto y = py::arg("y");
  m.def(
      "sum_backward",
      [](const Array& dy, const Shape& shape, const List& axes, float scale) {
        return sum_backward(dy, Axes(shape, axes, "sum"), scale);
      },
      dy, py::arg("shape"), axes, py::arg("scale"), no_gil());
  m.def(
      "prod_backward",
      [](const Array& dy, const Array& x, const List& axes) {
        return prod_backward(dy, x, Axes(x.shape(), axes, "prod"));
      },
      dy, x, axes, no_gil());
  m.def(
      "extreme_backward",
      [](const Array& dy, const Array& x, const Array& y, const List& axes) {
        return extreme_backward(dy, x, y, Axes(x.shape(), axes, "amax"));
      },
      dy, x, y, axes, no_gil());
  m.def(
      "logsumexp_backward",
      [](const Array& dy, const Array& x, const Array& y, const List& axes) {
        return logsumexp_backward(dy, x, y, Axes(x.shape(), axes, "logsumexp"));
      },
      dy, x, y, axes, no_gil());
  m.def(
      "norm_backward",
      [](const Array& dy, const Array& x, const Array& y, const List& axes, double p) {
        return norm_backward(dy, x, y, Axes(x.shape(), axes, "norm"), p);
      },
      dy, x, y, axes, py::arg("p"), no_gil());
  m.def(
      "var_backward",
      [](const Array& dy, const Array& x, const Array& y, const Array& mean, const List& axes, double correction,
         bool root) { return var_backward(dy, x, y, mean, Axes(x.shape(), axes, "var"), correction, root); },
      dy, x, y, py::arg("mean"), axes, py::arg("correction"), py::arg("root"), no_gil());

  const auto axis = py::arg("axis");
  m.def(
      "extreme_along",
      [](const Array& x, int64_t axis, bool keepdim, bool largest) {
        const Extreme out = extreme_along(x, axis, keepdim, largest);
        return std::make_pair(out.values, out.positions);
      },
      x, axis, keepdim, py::arg("largest"), no_gil());
  m.def("cumsum", &cumsum, x, axis, py::arg("reverse"), no_gil());
  m.def("cumprod", &cumprod, x, axis, no_gil());
  m.def("cumprod_backward", &cumprod_backward, dy, x, axis, no_gil());
}

}  // namespace nonet
