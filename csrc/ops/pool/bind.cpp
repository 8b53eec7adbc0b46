#include "bind.h"

#include <optional>

#include "ops/pool/pooling.h"

namespace nonet {

namespace {

PoolSpec adaptive(const Shape& out) {
  PoolSpec spec;
  spec.adaptive = true;
  spec.out = out;
  return spec;
}

std::pair<Array, std::optional<Array>> pair(const Pooled& pooled) {
  return {pooled.y, pooled.index.defined() ? std::optional(pooled.index) : std::nullopt};
}

PoolSpec average(const Shape& kernel, const Shape& stride, const Shape& padding, bool ceil_mode, bool count_include_pad,
                 int64_t divisor) {
  Shape dilation = kernel;
  for (int a = 0; a < dilation.rank(); ++a) dilation[a] = 1;
  return {kernel, stride, padding, dilation, ceil_mode, count_include_pad, divisor, false, {}};
}

}  // namespace

void bind_pool(py::module_& m) {
  m.def(
      "max_pool_forward",
      [](const Array& x, const Shape& kernel, const Shape& stride, const Shape& padding, const Shape& dilation,
         bool ceil_mode, bool keep_index, const char* op) {
        return pair(
            max_pool_forward(x, {kernel, stride, padding, dilation, ceil_mode, true, 0, false, {}}, keep_index, op));
      },
      py::arg("x"), py::arg("kernel"), py::arg("stride"), py::arg("padding"), py::arg("dilation"), py::arg("ceil_mode"),
      py::arg("keep_index"), py::arg("op"), no_gil());
  m.def(
      "adaptive_max_pool_forward",
      [](const Array& x, const Shape& out, bool keep_index, const char* op) {
        return pair(max_pool_forward(x, adaptive(out), keep_index, op));
      },
      py::arg("x"), py::arg("out"), py::arg("keep_index"), py::arg("op"), no_gil());
  m.def(
      "max_pool_backward",
      [](const Array& dy, const Array& index, const Shape& shape, const Shape& kernel, const Shape& stride,
         const Shape& padding, const Shape& dilation, bool ceil_mode, const char* op) {
        return max_pool_backward(dy, index, shape, {kernel, stride, padding, dilation, ceil_mode, true, 0, false, {}},
                                 op);
      },
      py::arg("dy"), py::arg("index"), py::arg("shape"), py::arg("kernel"), py::arg("stride"), py::arg("padding"),
      py::arg("dilation"), py::arg("ceil_mode"), py::arg("op"), no_gil());
  m.def(
      "adaptive_max_pool_backward",
      [](const Array& dy, const Array& index, const Shape& shape, const Shape& out, const char* op) {
        return max_pool_backward(dy, index, shape, adaptive(out), op);
      },
      py::arg("dy"), py::arg("index"), py::arg("shape"), py::arg("out"), py::arg("op"), no_gil());
  m.def(
      "avg_pool_forward",
      [](const Array& x, const Shape& kernel, const Shape& stride, const Shape& padding, bool ceil_mode,
         bool count_include_pad, int64_t divisor, const char* op) {
        return avg_pool_forward(x, average(kernel, stride, padding, ceil_mode, count_include_pad, divisor), op);
      },
      py::arg("x"), py::arg("kernel"), py::arg("stride"), py::arg("padding"), py::arg("ceil_mode"),
      py::arg("count_include_pad"), py::arg("divisor"), py::arg("op"), no_gil());
  m.def(
      "avg_pool_backward",
      [](const Array& dy, const Shape& shape, const Shape& kernel, const Shape& stride, const Shape& padding,
         bool ceil_mode, bool count_include_pad, int64_t divisor, const char* op) {
        return avg_pool_backward(dy, shape, average(kernel, stride, padding, ceil_mode, count_include_pad, divisor),
                                 op);
      },
      py::arg("dy"), py::arg("shape"), py::arg("kernel"), py::arg("stride"), py::arg("padding"), py::arg("ceil_mode"),
      py::arg("count_include_pad"), py::arg("divisor"), py::arg("op"), no_gil());
  m.def(
      "adaptive_avg_pool_forward",
      [](const Array& x, const Shape& out, const char* op) { return avg_pool_forward(x, adaptive(out), op); },
      py::arg("x"), py::arg("out"), py::arg("op"), no_gil());
  m.def(
      "adaptive_avg_pool_backward",
      [](const Array& dy, const Shape& shape, const Shape& out, const char* op) {
        return avg_pool_backward(dy, shape, adaptive(out), op);
      },
      py::arg("dy"), py::arg("shape"), py::arg("out"), py::arg("op"), no_gil());
  m.def("max_unpool_forward", &max_unpool_forward, py::arg("x"), py::arg("index"), py::arg("size"), py::arg("op"),
        no_gil());
  m.def("max_unpool_backward", &max_unpool_backward, py::arg("dy"), py::arg("index"), py::arg("axes"), py::arg("op"),
        no_gil());
}

}  // namespace nonet
