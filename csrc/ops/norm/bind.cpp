#include "bind.h"

#include "ops/norm/channel_norm_arrays.h"
#include "ops/norm/layer_norm_arrays.h"
#include "ops/norm/response_norm.h"

namespace nonet {

namespace {

py::object object(const Array& array) {
  return array.defined() ? py::cast(array) : py::none();
}

}  // namespace

void bind_norm(py::module_& m) {
  m.def(
      "layer_norm_forward",
      [](const Array& x, const Array* residual, const Shape& shape, const Array* weight, const Array* bias, float eps,
         bool centred) {
        LayerNormOutput out;
        {
          const py::gil_scoped_release release;
          out = layer_norm_forward(x, or_undefined(residual), shape, or_undefined(weight), or_undefined(bias), eps,
                                   centred);
        }
        return py::make_tuple(out.y, object(out.mean), out.rstd, object(out.sum));
      },
      py::arg("x"), py::arg("residual").none(true), py::arg("shape"), py::arg("weight").none(true),
      py::arg("bias").none(true), py::arg("eps"), py::arg("centred"), "(y, mean or None, rstd, sum or None)");
  m.def(
      "layer_norm_backward",
      [](const Array& dy, const Array& x, const Array* dsum, const Shape& shape, const Array* weight, const Array* mean,
         const Array& rstd, bool want_x, bool want_weight, bool want_bias) {
        LayerNormGradients out;
        {
          const py::gil_scoped_release release;
          out = layer_norm_backward(dy, x, or_undefined(dsum), shape, or_undefined(weight), or_undefined(mean), rstd,
                                    want_x, want_weight, want_bias);
        }
        return py::make_tuple(object(out.dx), object(out.dgamma), object(out.dbeta));
      },
      py::arg("dy"), py::arg("x"), py::arg("dsum").none(true), py::arg("shape"), py::arg("weight").none(true),
      py::arg("mean").none(true), py::arg("rstd"), py::arg("want_x"), py::arg("want_weight"), py::arg("want_bias"),
      "(dx, dweight, dbias) or None");
  m.def(
      "channel_norm_forward",
      [](const Array& x, const Array* residual, const Array* weight, const Array* bias, const Array* running_mean,
         const Array* running_var, double momentum, int64_t groups, float eps, bool given, bool relu, const char* op) {
        ChannelNormOutput out;
        {
          const py::gil_scoped_release release;
          out = channel_norm_forward({x, or_undefined(residual), or_undefined(weight), or_undefined(bias)},
                                     {or_undefined(running_mean), or_undefined(running_var), momentum},
                                     {op, groups, eps, given, relu});
        }
        return py::make_tuple(out.y, out.mean, out.rstd);
      },
      py::arg("x"), py::arg("residual").none(true), py::arg("weight").none(true), py::arg("bias").none(true),
      py::arg("running_mean").none(true), py::arg("running_var").none(true), py::arg("momentum"), py::arg("groups"),
      py::arg("eps"), py::arg("given"), py::arg("relu"), py::arg("op"), "(y, mean, rstd)");
  m.def(
      "channel_norm_backward",
      [](const Array& dy, const Array& x, const Array* weight, const Array* bias, const Array* y, const Array& mean,
         const Array& rstd, int64_t groups, float eps, bool given, bool relu, const char* op, bool want_x,
         bool want_residual, bool want_weight, bool want_bias) {
        ChannelNormGradients out;
        {
          const py::gil_scoped_release release;
          out =
              channel_norm_backward(dy, {x, {}, or_undefined(weight), or_undefined(bias)}, or_undefined(y), mean, rstd,
                                    {op, groups, eps, given, relu}, {want_x, want_residual, want_weight, want_bias});
        }
        return py::make_tuple(object(out.dx), object(out.dresidual), object(out.dgamma), object(out.dbeta));
      },
      py::arg("dy"), py::arg("x"), py::arg("weight").none(true), py::arg("bias").none(true), py::arg("y").none(true),
      py::arg("mean"), py::arg("rstd"), py::arg("groups"), py::arg("eps"), py::arg("given"), py::arg("relu"),
      py::arg("op"), py::arg("want_x"), py::arg("want_residual"), py::arg("want_weight"), py::arg("want_bias"),
      "(dx, dresidual, dweight, dbias) or None");
  m.def("response_norm_forward", &response_norm_forward, py::arg("x"), py::arg("size"), py::arg("alpha"),
        py::arg("beta"), py::arg("k"), no_gil());
  m.def("response_norm_backward", &response_norm_backward, py::arg("dy"), py::arg("x"), py::arg("size"),
        py::arg("alpha"), py::arg("beta"), py::arg("k"), no_gil());
}

}  // namespace nonet
