#include "ops/matmul/linear.h"

#include "array/launch.h"

namespace nonet {

namespace {

DType check_linear(const Array& x, const Array& weight, const Array& bias, const Numerics& numerics) {
  check_floating(x, "linear", "input");
  check<TypeError>(weight.dtype() == x.dtype() || (numerics.mixed && is_floating(weight.dtype())),
                   "linear: weight must be ", x.dtype(), " like input, got ", weight.dtype());
  check(weight.rank() == 2, "linear: weight must have shape [out, in] or [in], got ", weight.shape());
  check(x.rank() > 0 && x.shape().back() == weight.dim(1), "linear: input must have shape [..., in] = [..., ",
        weight.dim(1), "], got ", x.shape());
  check_same_device(x, weight, "linear");
  if (bias.defined()) {
    check<TypeError>(bias.dtype() == weight.dtype(), "linear: bias must be ", weight.dtype(), " like weight, got ",
                     bias.dtype());
    check_shape(bias, {weight.dim(0)}, "linear", "bias", "[out]");
    check_same_device(x, bias, "linear");
  }
  return numerics.mixed ? DType::bfloat16 : x.dtype();
}

bool is_bfloat16(const Array& x) {
  return x.dtype() == DType::bfloat16;
}

bool saves_before(FusedActivation activation) {
  return activation == FusedActivation::gelu || activation == FusedActivation::gelu_tanh;
}

}  // namespace

Array linear_forward(const Array& x, const Array& weight, const Array& bias, const Array& residual,
                     FusedActivation activation, const Numerics& numerics, Array* before) {
  if (weight.rank() == 1) {  // one output without an axis of its own
    Array column = residual;
    if (residual.defined()) {
      Shape shape = residual.shape();
      shape.push_back(1);
      column = residual.reshape(shape);
    }
    const Array y = linear_forward(x, weight.reshape({1, weight.dim(0)}), bias, column, activation, numerics, before);
    return y.reshape(y.shape().slice(0, y.rank() - 1));
  }
  const DType dtype = check_linear(x, weight, bias, numerics);
  const int64_t in = weight.dim(1);
  const int64_t out = weight.dim(0);
  const Array a = x.plain();
  const Array b = bias.defined() ? bias.to(DType::float32) : bias;
  const Array y(x.shape().with(x.rank() - 1, out), dtype, Format::plain, x.device());
  Array r;
  if (residual.defined()) {
    check_same_device(x, residual, "linear");
    check_floating(residual, "linear", "residual");
    check_shape(residual, y.shape(), "linear", "residual", "[..., out]");
    r = residual.plain().to(dtype);
  }
  Gemm g{x.shape().product(0, x.rank() - 1),
         out,
         in,
         a.address(),
         in,
         false,
         weight.address(),
         in,
         true,
         y.address(),
         is_bfloat16(x),
         is_bfloat16(weight),
         is_bfloat16(y)};
  if (b.defined()) g.bias = static_cast<const float*>(b.address());
  if (r.defined()) g.residual = r.address();
  g.activation = activation;
  if (before != nullptr && saves_before(activation)) {
    *before = empty_like(y);
    g.before = before->address();
  }
  g.precision = numerics.precision;
  run_gemm(g, y, "linear", &weight);
  return y;
}

Array activation_gradient(const Array& dy, const Array& saved, FusedActivation activation) {
  const Array d = dy.plain();
  if (activation == FusedActivation::none) return d;
  const Array s = saved.plain().to(d.dtype());
  const Array dz = empty_like(d);
  if (d.device() != Device::cpu) {
    on_device(&LinearDevice::activation_backward, "linear", dz, d.dtype(), d, s, dz, d.numel(), activation);
    return dz;
  }
  linear_kernels().activation_backward(d.raw<void>(), s.raw<void>(), dz.raw<void>(), d.numel(), activation,
                                       is_bfloat16(d));
  return dz;
}

void linear_backward(const Array& dy, const Array& x, const Array& weight, const Array& saved,
                     FusedActivation activation, Precision precision, const LayerGradients& out) {
  if (weight.rank() == 1) {
    Shape column = dy.shape();
    column.push_back(1);
    Array dweight;
    Array dbias;
    linear_backward(
        dy.reshape(column), x, weight.reshape({1, weight.dim(0)}), saved, activation, precision,
        {out.dx, out.dweight == nullptr ? nullptr : &dweight, out.dbias == nullptr ? nullptr : &dbias, out.dresidual});
    if (out.dweight != nullptr)
      deliver_gradient(dweight.reshape(weight.shape()), weight.dtype(), *out.dweight, "linear");
    if (out.dbias != nullptr) deliver_gradient(dbias, weight.dtype(), *out.dbias, "linear");
    if (out.dresidual != nullptr) *out.dresidual = out.dresidual->reshape(dy.shape());
    return;
  }
  const int64_t rows = x.shape().product(0, x.rank() - 1);
  const int64_t in = weight.dim(1);
  const int64_t n = weight.dim(0);
  check_shape(dy, x.shape().with(x.rank() - 1, n), "linear", "gradient", "[..., out]");
  check_same_device(dy, x, "linear");
  check_same_device(x, weight, "linear");
  const Array dz = activation_gradient(dy, saved, activation);
  if (out.dx != nullptr) {
    const Array dx = gradient_target(*out.dx, x.shape(), "linear", x.dtype(), x.device());
    const Gemm g{.m = rows,
                 .n = in,
                 .k = n,
                 .a = dz.address(),
                 .lda = n,
                 .transpose_a = false,
                 .b = weight.address(),
                 .ldb = in,
                 .transpose_b = false,
                 .c = dx.address(),
                 .a_is_bfloat16 = is_bfloat16(dz),
                 .b_is_bfloat16 = is_bfloat16(weight),
                 .c_is_bfloat16 = is_bfloat16(dx),
                 .precision = precision};
    run_gemm(g, dx, "linear");
    deliver_gradient(dx, x.dtype(), *out.dx, "linear");
  }
  if (out.dweight != nullptr) {
    const Array a = x.plain();
    const Array dw = gradient_target(*out.dweight, weight.shape(), "linear", weight.dtype(), x.device());
    const Gemm g{.m = n,
                 .n = in,
                 .k = rows,
                 .a = dz.address(),
                 .lda = n,
                 .transpose_a = true,
                 .b = a.address(),
                 .ldb = in,
                 .transpose_b = false,
                 .c = dw.address(),
                 .a_is_bfloat16 = is_bfloat16(dz),
                 .b_is_bfloat16 = is_bfloat16(a),
                 .c_is_bfloat16 = is_bfloat16(dw),
                 .precision = precision};
    run_gemm(g, dw, "linear");
    deliver_gradient(dw, weight.dtype(), *out.dweight, "linear");
  }
  if (out.dbias != nullptr) {
    const Array db = gradient_target(*out.dbias, {n}, "linear", DType::float32, x.device());
    bias_gradient(dz, rows, n, db);
    deliver_gradient(db, weight.dtype(), *out.dbias, "linear");
  }
  if (out.dresidual != nullptr) *out.dresidual = dz;
}

Array gradient_target(const Array& out, const Shape& shape, const char* op, DType dtype, Device device) {
  if (!out.defined()) return Array(shape, dtype, Format::plain, device);
  check_shape(out, shape, op, "gradient", "[like its tensor]");
  out.begin_write(op);
  const bool fits = out.dtype() == dtype && out.format() == Format::plain && out.device() == device;
  return fits ? out : Array(shape, dtype, Format::plain, device);
}
Array gradient_target(const Array& out, const Shape& shape, const char* op, DType dtype) {
  return gradient_target(out, shape, op, dtype, Device::cpu);
}

void deliver_gradient(const Array& value, DType dtype, Array& out, const char* op) {
  if (!out.defined()) {
    out = value.to(dtype);
  } else if (out.address() != value.address()) {
    copy_into(out, value, op);
  }
}

void bias_gradient(const Array& dz, int64_t rows, int64_t n, const Array& out) {
  const auto workspace = [&](int64_t floats) {
    return floats == 0 ? Array() : Array(Shape{floats}, DType::float32, Format::plain, out.device());
  };
  if (out.device() != Device::cpu) {
    const LinearDevice& table = device_table<LinearDevice>(out.device());
    const Array w = workspace(table.bias_workspace == nullptr ? 0 : table.bias_workspace(rows, n));
    return on_device(&LinearDevice::bias_gradient, "linear", out, dz.dtype(), dz, out, rows, n, w);
  }
  const LinearKernels& kernels = linear_kernels();
  const Array w = workspace(kernels.bias_workspace(rows, n));
  kernels.bias_gradient(dz.raw<void>(), is_bfloat16(dz), out.data<float>(), rows, n,
                        w.defined() ? w.data<float>() : nullptr);
}

}  // namespace nonet
