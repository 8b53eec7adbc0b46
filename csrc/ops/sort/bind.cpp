#include "bind.h"

#include "ops/sort/sorting.h"

namespace nonet {

void bind_sort(py::module_& m) {
  m.def(
      "sort",
      [](const Array& x, int64_t axis, bool descending) {
        const Sorted out = sort(x, axis, -1, descending, "sort");
        return std::make_pair(out.values, out.positions);
      },
      py::arg("x"), py::arg("axis"), py::arg("descending"), no_gil());
  m.def(
      "topk",
      [](const Array& x, int64_t k, int64_t axis, bool largest) {
        check(k >= 0, "topk: k must be >= 0, got ", k);
        const Sorted out = sort(x, axis, k, largest, "topk");
        return std::make_pair(out.values, out.positions);
      },
      py::arg("x"), py::arg("k"), py::arg("axis"), py::arg("largest"), no_gil());
  m.def("place_along", &place_along, py::arg("dy"), py::arg("positions"), py::arg("shape"), py::arg("axis"), no_gil());
}

}  // namespace nonet
