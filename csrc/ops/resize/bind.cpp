#include "bind.h"

#include <string>

#include "ops/resize/resize.h"

namespace nonet {

namespace {

// scales: output over input per axis, 0 where the sizes say it.
ResizeOptions options_of(int64_t mode, bool align_corners, bool antialias, const std::vector<double>& scales,
                         const char* op) {
  ResizeOptions out;
  out.mode = static_cast<ResizeMode>(mode);
  out.align_corners = align_corners;
  out.antialias = antialias;
  check(scales.size() <= 2, op, ": expected at most 2 scales");
  std::copy(scales.begin(), scales.end(), out.scale);
  out.op = op;
  return out;
}

}  // namespace

void bind_resize(py::module_& m) {
  m.def(
      "resize_forward",
      [](const Array& x, const Shape& size, int64_t mode, bool align_corners, bool antialias,
         const std::vector<double>& scales,
         const char* op) { return resize_forward(x, size, options_of(mode, align_corners, antialias, scales, op)); },
      py::arg("x"), py::arg("size"), py::arg("mode"), py::arg("align_corners"), py::arg("antialias"), py::arg("scales"),
      py::arg("op"), no_gil());
  m.def(
      "resize_backward",
      [](const Array& dy, const Shape& shape, int64_t mode, bool align_corners, bool antialias,
         const std::vector<double>& scales,
         const char* op) { return resize_backward(dy, shape, options_of(mode, align_corners, antialias, scales, op)); },
      py::arg("dy"), py::arg("shape"), py::arg("mode"), py::arg("align_corners"), py::arg("antialias"),
      py::arg("scales"), py::arg("op"), no_gil());
}

}  // namespace nonet
