#include "bind.h"

#include "array/generator.h"
#include "ops/dropout/dropout.h"

namespace nonet {

void bind_dropout(py::module_& m) {
  m.def(
      "dropout_forward",
      [](const Array& x, Generator& generator, float p, float a, float b, float c, int64_t units) {
        check(units > 0 ? x.numel() % units == 0 : x.numel() == 0, "dropout: input of shape ", x.shape(),
              " does not consist of ", units, " units");
        const PhiloxKey key = generator.take(units);  // with the interpreter's lock
        Array y;
        {
          const py::gil_scoped_release release;
          y = dropout(x, key, p, {a, b, c}, units);
        }
        return py::make_tuple(y, key.seed, key.offset);
      },
      py::arg("x"), py::arg("generator"), py::arg("p"), py::arg("a"), py::arg("b"), py::arg("c"), py::arg("units"),
      "(y, seed, offset)");
  m.def(
      "dropout_backward",
      [](const Array& dy, uint64_t seed, uint64_t offset, float p, float a, int64_t units, bool nhwc) {
        return dropout_backward(dy, {seed, offset}, p, a, units, nhwc);
      },
      py::arg("dy"), py::arg("seed"), py::arg("offset"), py::arg("p"), py::arg("a"), py::arg("units"), py::arg("nhwc"),
      no_gil());
}

}  // namespace nonet
