#include "bind.h"

#include <optional>

#include "ops/index/rows.h"

namespace nonet {

void bind_index(py::module_& m) {
  m.def(
      "index_forward",
      [](const Array& x, const std::vector<std::optional<Array>>& indices) {
        std::vector<Array> all;
        for (const auto& index : indices) all.push_back(index.value_or(Array()));
        const Indexed out = index_forward(x, all);
        return std::make_pair(out.y, out.places);
      },
      py::arg("x"), py::arg("indices"), no_gil());
  m.def("index_backward", &index_backward, py::arg("dy"), py::arg("places"), py::arg("shape"), py::arg("indexed"),
        no_gil());
  m.def("gather", &gather, py::arg("x"), py::arg("axis"), py::arg("index"), no_gil());
  m.def(
      "scatter",
      [](const Array& x, int64_t axis, const Array& index, const Array& source, bool add) {
        return scatter(x, axis, index, source, add ? Scatter::add : Scatter::set);
      },
      py::arg("x"), py::arg("axis"), py::arg("index"), py::arg("source"), py::arg("add"), no_gil());
  m.def("index_add", &index_add, py::arg("x"), py::arg("axis"), py::arg("index"), py::arg("source"), py::arg("scale"),
        no_gil());
  m.def("nonzero", &nonzero, py::arg("x"), no_gil());
  m.def("one_hot", &one_hot, py::arg("index"), py::arg("classes"), no_gil());
}

}  // namespace nonet
