#include "bind.h"

#include "ops/activation/activation.h"

namespace nonet {

void bind_activation(py::module_& m) {
  for (int i = 0; i < static_cast<int>(Activation::count); ++i) {
    const auto op = static_cast<Activation>(i);
    m.def(
        name(op), [op](const Array& x, float a, float b, float c) { return activation(op, x, {a, b, c}); },
        py::arg("x"), py::arg("a") = 0.f, py::arg("b") = 0.f, py::arg("c") = 0.f, no_gil());
    m.def(
        message(name(op), "_backward").c_str(),
        [op](const Array& dy, const Array& saved, float a, float b, float c) {
          return activation_gradient(op, dy, saved, {a, b, c});
        },
        py::arg("dy"), py::arg("saved"), py::arg("a") = 0.f, py::arg("b") = 0.f, py::arg("c") = 0.f, no_gil());
  }
  m.def("prelu", &prelu, py::arg("x"), py::arg("w"), no_gil());
  m.def("prelu_backward", &prelu_input_gradient, py::arg("dy"), py::arg("x"), py::arg("w"), no_gil());
  m.def("prelu_weight_backward", &prelu_weight_gradient, py::arg("dy"), py::arg("x"), py::arg("w"), no_gil());
  m.def("glu", &glu, py::arg("x"), py::arg("axis"), no_gil());
  m.def("glu_backward", &glu_gradient, py::arg("dy"), py::arg("x"), py::arg("axis"), no_gil());
}

}  // namespace nonet
