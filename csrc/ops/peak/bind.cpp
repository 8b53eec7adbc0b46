#include "bind.h"

#include "ops/peak/peak.h"

namespace nonet {

void bind_peak(py::module_& m) {
  m.def("peak_fma", &peak_fma, py::arg("iterations"), py::arg("threads"), no_gil());
  m.def("peak_amx", &peak_amx, py::arg("iterations"), py::arg("threads"), no_gil());
  m.def("peak_dot", &peak_dot, py::arg("iterations"), py::arg("threads"), no_gil());
  m.def("peak_read", &peak_read, py::arg("x"), py::arg("repeats"), py::arg("threads"), no_gil());
  m.def("peak_copy", &peak_copy, py::arg("x"), py::arg("y"), py::arg("repeats"), py::arg("threads"), no_gil());
}

}  // namespace nonet
