#include "bind.h"

#include "ops/pad/pad.h"

namespace nonet {

void bind_pad(py::module_& m) {
  m.def(
      "pad_forward",
      [](const Array& x, const std::vector<int64_t>& pads, const std::string& mode, double value) {
        return pad_forward(x, pads, pad_mode(mode), value);
      },
      py::arg("x"), py::arg("pads"), py::arg("mode"), py::arg("value"), no_gil());
  m.def(
      "pad_backward",
      [](const Array& dy, const Shape& shape, const std::vector<int64_t>& pads, const std::string& mode) {
        return pad_backward(dy, shape, pads, pad_mode(mode));
      },
      py::arg("dy"), py::arg("shape"), py::arg("pads"), py::arg("mode"), no_gil());
}

}  // namespace nonet
