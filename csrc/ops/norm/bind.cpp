#include "bind.h"

#include "ops/norm/layer_norm_arrays.h"

namespace nonet {

namespace {

py::object object(const Array& array) {
  return array.defined() ? py::cast(array) : py::none();
}

}  // namespace

void bind_norm(py::module_& m) {
  m.def(
      "layer_norm_forward",
      [](const Array& x, const Shape& shape, const Array* weight, const Array* bias, float eps, bool centred) {
        LayerNormOutput out;
        {
          const py::gil_scoped_release release;
          out = layer_norm_forward(x, shape, or_undefined(weight), or_undefined(bias), eps, centred);
        }
        return py::make_tuple(out.y, object(out.mean), out.rstd);
      },
      py::arg("x"), py::arg("shape"), py::arg("weight").none(true), py::arg("bias").none(true), py::arg("eps"),
      py::arg("centred"), "(y, mean or None, rstd)");
  m.def(
      "layer_norm_backward",
      [](const Array& dy, const Array& x, const Shape& shape, const Array* weight, const Array* mean, const Array& rstd,
         bool want_x, bool want_weight, bool want_bias) {
        LayerNormGradients out;
        {
          const py::gil_scoped_release release;
          out = layer_norm_backward(dy, x, shape, or_undefined(weight), or_undefined(mean), rstd, want_x, want_weight,
                                    want_bias);
        }
        return py::make_tuple(object(out.dx), object(out.dgamma), object(out.dbeta));
      },
      py::arg("dy"), py::arg("x"), py::arg("shape"), py::arg("weight").none(true), py::arg("mean").none(true),
      py::arg("rstd"), py::arg("want_x"), py::arg("want_weight"), py::arg("want_bias"), "(dx, dweight, dbias) or None");
}

}  // namespace nonet
