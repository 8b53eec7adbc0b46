#include "bind.h"

#include "ops/embedding/embedding.h"

namespace nonet {

namespace {

BagMode bag_mode(const std::string& name) {
  if (name == "mean") return BagMode::mean;
  if (name == "max") return BagMode::max;
  check(name == "sum", "embedding_bag: mode must be sum, mean or max, got ", name);
  return BagMode::sum;
}

}  // namespace

void bind_embedding(py::module_& m) {
  m.def(
      "embedding_forward",
      [](const Array& weight, const Array& index) {
        const Embedded out = embedding_forward(weight, index);
        return std::make_pair(out.y, out.rows);
      },
      py::arg("weight"), py::arg("index"), no_gil());
  m.def("embedding_backward", &embedding_backward, py::arg("dy"), py::arg("rows"), py::arg("v"), py::arg("padding"),
        py::arg("scale_by_freq"), py::arg("out"), no_gil());
  m.def("embedding_add_gradient", &embedding_add_gradient, py::arg("table"), py::arg("dy"), py::arg("rows"),
        py::arg("padding"), py::arg("scale_by_freq"), no_gil());
  m.def("embedding_renorm", &embedding_renorm, py::arg("weight"), py::arg("index"), py::arg("max_norm"), py::arg("p"),
        no_gil());
  m.def(
      "bag_forward",
      [](const Array& weight, const Array& index, const Array& offsets, const std::string& mode,
         const std::optional<Array>& scales, bool include_last, int64_t padding) {
        const Bags out = bag_forward(weight, index, offsets, bag_mode(mode), scales, include_last, padding);
        return std::make_tuple(out.y, out.rows, out.bags, if_defined(out.scales), if_defined(out.arg));
      },
      py::arg("weight"), py::arg("index"), py::arg("offsets"), py::arg("mode"), py::arg("scales"),
      py::arg("include_last"), py::arg("padding"), no_gil());
  m.def("bag_backward", &bag_backward, py::arg("dy"), py::arg("rows"), py::arg("bags"), py::arg("scales"), py::arg("v"),
        py::arg("scale_by_freq"), py::arg("out"), no_gil());
  m.def("bag_scales_backward", &bag_scales_backward, py::arg("dy"), py::arg("weight"), py::arg("rows"), py::arg("bags"),
        no_gil());
  m.def("bag_max_backward", &bag_max_backward, py::arg("dy"), py::arg("arg"), py::arg("v"), no_gil());
}

}  // namespace nonet
