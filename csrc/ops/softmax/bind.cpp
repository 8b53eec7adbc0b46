#include "bind.h"

#include "ops/softmax/softmax.h"

namespace nonet {

void bind_softmax(py::module_& m) {
  m.def("softmax_forward", &softmax_forward, py::arg("x"), py::arg("axis"), py::arg("log"), no_gil());
  m.def("softmax_backward", &softmax_backward, py::arg("dy"), py::arg("y"), py::arg("axis"), py::arg("log"), no_gil());
}

}  // namespace nonet
