#include "bind.h"

#include "ops/conv/conv.h"
#include "ops/conv/pooled.h"

namespace nonet {

namespace {

// stride, dilation: (height, width); padding: (top, bottom, left, right).
// code: see numerics_from_code().
ConvOptions options_of(const Shape& stride, const Shape& padding, const Shape& dilation, int64_t groups,
                       int64_t activation, int64_t code, const char* op) {
  check(stride.rank() == 2 && padding.rank() == 4 && dilation.rank() == 2, op, ": expected 2, 4 and 2 sizes");
  const Numerics numerics = numerics_from_code(code);
  ConvOptions out;
  std::copy_n(stride.begin(), 2, out.stride);
  std::copy_n(padding.begin(), 4, out.padding);
  std::copy_n(dilation.begin(), 2, out.dilation);
  out.groups = groups;
  out.activation = static_cast<FusedActivation>(activation);
  out.mixed = numerics.mixed;
  out.precision = numerics.precision;
  out.op = op;
  return out;
}

ConvOptions transpose_options(const Shape& stride, const Shape& padding, const Shape& output_padding,
                              const Shape& dilation, int64_t groups, int64_t activation, int64_t code, const char* op) {
  ConvOptions out = options_of(stride, padding, dilation, groups, activation, code, op);
  check(output_padding.rank() == 2, op, ": expected 2 sizes");
  std::copy_n(output_padding.begin(), 2, out.output_padding);
  return out;
}

// The protocol of a rule around backward(out).
template <class Backward>
py::tuple gradients(const py::list& needs, const Backward& backward) {
  Array dx;
  Array dweight;
  Array dbias;
  const py::handle need_x = needs[0];
  const py::handle need_weight = needs[1];
  const py::handle need_bias = needs[2];
  const LayerGradients out{wanted(need_x, dx), wanted(need_weight, dweight), wanted(need_bias, dbias)};
  {
    const py::gil_scoped_release release;
    backward(out);
  }
  return py::make_tuple(given_or_new(need_x, dx), given_or_new(need_weight, dweight), given_or_new(need_bias, dbias));
}

py::tuple conv_gradients(const Array& dy, const Array& x, const Array& weight, const Array* y, const Shape& stride,
                         const Shape& padding, const Shape& dilation, int64_t groups, int64_t activation, int64_t code,
                         const char* op, const py::list& needs) {
  return gradients(needs, [&](const LayerGradients& out) {
    conv_backward(dy, x, weight, or_undefined(y), options_of(stride, padding, dilation, groups, activation, code, op),
                  out);
  });
}

PoolSpec pool_of(const Shape& kernel, const Shape& stride, const Shape& padding, const Shape& dilation,
                 bool ceil_mode) {
  return {kernel, stride, padding, dilation, ceil_mode, true, 0, false, {}};
}

}  // namespace

void bind_conv(py::module_& m) {
  m.def(
      "conv_forward",
      [](const Array& x, const Array& weight, const Array* bias, const Shape& stride, const Shape& padding,
         const Shape& dilation, int64_t groups, int64_t activation, int64_t code, const char* op, bool keep) {
        ConvOptions o = options_of(stride, padding, dilation, groups, activation, code, op);
        o.keeps_weights = keep;
        return conv_forward(x, weight, or_undefined(bias), o);
      },
      py::arg("x"), py::arg("weight"), py::arg("bias").none(true), py::arg("stride"), py::arg("padding"),
      py::arg("dilation"), py::arg("groups"), py::arg("activation"), py::arg("code"), py::arg("op"), py::arg("keep"),
      no_gil());
  m.def("conv_backward", &conv_gradients, py::arg("dy"), py::arg("x"), py::arg("weight"), py::arg("y").none(true),
        py::arg("stride"), py::arg("padding"), py::arg("dilation"), py::arg("groups"), py::arg("activation"),
        py::arg("code"), py::arg("op"), py::arg("needs"));
  m.def(
      "conv_transpose_forward",
      [](const Array& x, const Array& weight, const Array* bias, const Shape& stride, const Shape& padding,
         const Shape& output_padding, const Shape& dilation, int64_t groups, int64_t activation, int64_t code,
         const char* op, bool keep) {
        ConvOptions o = transpose_options(stride, padding, output_padding, dilation, groups, activation, code, op);
        o.keeps_weights = keep;
        return conv_transpose_forward(x, weight, or_undefined(bias), o);
      },
      py::arg("x"), py::arg("weight"), py::arg("bias").none(true), py::arg("stride"), py::arg("padding"),
      py::arg("output_padding"), py::arg("dilation"), py::arg("groups"), py::arg("activation"), py::arg("code"),
      py::arg("op"), py::arg("keep"), no_gil());
  m.def(
      "conv_transpose_backward",
      [](const Array& dy, const Array& x, const Array& weight, const Array* y, const Shape& stride,
         const Shape& padding, const Shape& output_padding, const Shape& dilation, int64_t groups, int64_t activation,
         int64_t code, const char* op, const py::list& needs) {
        return gradients(needs, [&](const LayerGradients& out) {
          conv_transpose_backward(
              dy, x, weight, or_undefined(y),
              transpose_options(stride, padding, output_padding, dilation, groups, activation, code, op), out);
        });
      },
      py::arg("dy"), py::arg("x"), py::arg("weight"), py::arg("y").none(true), py::arg("stride"), py::arg("padding"),
      py::arg("output_padding"), py::arg("dilation"), py::arg("groups"), py::arg("activation"), py::arg("code"),
      py::arg("op"), py::arg("needs"));
  m.def(
      "pooled_conv_forward",
      [](const Array& x, const Array& weight, const Array* bias, const Shape& stride, const Shape& padding,
         const Shape& dilation, int64_t groups, int64_t activation, int64_t code, const char* op,
         const Shape& pool_kernel, const Shape& pool_stride, const Shape& pool_padding, const Shape& pool_dilation,
         bool ceil_mode, const char* pool_op, bool keep_index) {
        PooledConv o{options_of(stride, padding, dilation, groups, activation, code, op),
                     pool_of(pool_kernel, pool_stride, pool_padding, pool_dilation, ceil_mode), pool_op};
        o.conv.keeps_weights = !keep_index;
        const Pooled out = pooled_conv_forward(x, weight, or_undefined(bias), o, keep_index);
        return std::pair(out.y, if_defined(out.index));
      },
      py::arg("x"), py::arg("weight"), py::arg("bias").none(true), py::arg("stride"), py::arg("padding"),
      py::arg("dilation"), py::arg("groups"), py::arg("activation"), py::arg("code"), py::arg("op"),
      py::arg("pool_kernel"), py::arg("pool_stride"), py::arg("pool_padding"), py::arg("pool_dilation"),
      py::arg("ceil_mode"), py::arg("pool_op"), py::arg("keep_index"), no_gil());
  m.def(
      "pooled_conv_backward",
      [](const Array& dy, const Array& x, const Array& weight, const Array* y, const Array& index, const Shape& stride,
         const Shape& padding, const Shape& dilation, int64_t groups, int64_t activation, int64_t code, const char* op,
         const Shape& pool_kernel, const Shape& pool_stride, const Shape& pool_padding, const Shape& pool_dilation,
         bool ceil_mode, const char* pool_op, const py::list& needs) {
        return gradients(needs, [&](const LayerGradients& out) {
          pooled_conv_backward(dy, x, weight, or_undefined(y), index,
                               {options_of(stride, padding, dilation, groups, activation, code, op),
                                pool_of(pool_kernel, pool_stride, pool_padding, pool_dilation, ceil_mode), pool_op},
                               out);
        });
      },
      py::arg("dy"), py::arg("x"), py::arg("weight"), py::arg("y").none(true), py::arg("index"), py::arg("stride"),
      py::arg("padding"), py::arg("dilation"), py::arg("groups"), py::arg("activation"), py::arg("code"), py::arg("op"),
      py::arg("pool_kernel"), py::arg("pool_stride"), py::arg("pool_padding"), py::arg("pool_dilation"),
      py::arg("ceil_mode"), py::arg("pool_op"), py::arg("needs"));
}

}  // namespace nonet
