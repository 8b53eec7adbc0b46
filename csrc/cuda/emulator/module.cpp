// nonet._emulator: hands the emulator to nonet._core as the device "emulator". For tests; never in a wheel.
#include <pybind11/pybind11.h>

#include "base/backend.h"
#include "cuda/table.cuh"

namespace nonet {
const Backend& emulator_backend();  // runtime.cpp
namespace emulator {
void leave_out(const std::string& name);
}
}  // namespace nonet

PYBIND11_MODULE(_emulator, m) {
  namespace py = pybind11;
  m.doc() = "A model of a GPU on the CPU, as the device \"emulator\".";
  m.def("seed", &nonet::emulator::emulator_seed, py::arg("seed"), "The order of threads from now on.");
  m.def(
      "fail_next", [](const std::string& text) { nonet::emulator::note({1, text}); }, py::arg("text"),
      "As if the next launch of this thread had failed.");
  m.def("leave_out", &nonet::emulator::leave_out, py::arg("table"),
        "As if a family had no kernels. Before it is used for the first time.");
  m.def("check_races", &nonet::emulator::emulator_check_races, py::arg("on"));
  auto* backend = const_cast<nonet::Backend*>(&nonet::emulator_backend());
  py::module_::import("nonet._core").attr("register_backend")("emulator", py::capsule(backend, "nonet.backend"));
}
