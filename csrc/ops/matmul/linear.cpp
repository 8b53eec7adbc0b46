#include "ops/matmul/linear.h"

#include "array/array.h"

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
  const Array y(x.shape().with(x.rank() - 1, out), dtype);
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
         a.raw<void>(),
         in,
         false,
         weight.raw<void>(),
         in,
         true,
         y.raw<void>(),
         is_bfloat16(x),
         is_bfloat16(weight),
         is_bfloat16(y)};
  if (b.defined()) g.bias = b.data<float>();
  if (r.defined()) g.residual = r.raw<void>();
  g.activation = activation;
  if (before != nullptr && saves_before(activation)) {
    *before = Array(y.shape(), dtype);
    g.before = before->raw<void>();
  }
  g.precision = numerics.precision;
  run_gemm(g, &weight);
  return y;
}

Array activation_gradient(const Array& dy, const Array& saved, FusedActivation activation) {
  const Array d = dy.plain();
  if (activation == FusedActivation::none) return d;
  const Array s = saved.plain().to(d.dtype());
  const Array dz(d.shape(), d.dtype());
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
  const Array dz = activation_gradient(dy, saved, activation);
  if (out.dx != nullptr) {
    const Array dx = gradient_target(*out.dx, x.shape(), "linear", x.dtype());
    run_gemm({.m = rows,
              .n = in,
              .k = n,
              .a = dz.raw<void>(),
              .lda = n,
              .transpose_a = false,
              .b = weight.raw<void>(),
              .ldb = in,
              .transpose_b = false,
              .c = dx.raw<void>(),
              .a_is_bfloat16 = is_bfloat16(dz),
              .b_is_bfloat16 = is_bfloat16(weight),
              .c_is_bfloat16 = is_bfloat16(dx),
              .precision = precision});
    deliver_gradient(dx, x.dtype(), *out.dx, "linear");
  }
  if (out.dweight != nullptr) {
    const Array a = x.plain();
    const Array dw = gradient_target(*out.dweight, weight.shape(), "linear", weight.dtype());
    run_gemm({.m = n,
              .n = in,
              .k = rows,
              .a = dz.raw<void>(),
              .lda = n,
              .transpose_a = true,
              .b = a.raw<void>(),
              .ldb = in,
              .transpose_b = false,
              .c = dw.raw<void>(),
              .a_is_bfloat16 = is_bfloat16(dz),
              .b_is_bfloat16 = is_bfloat16(a),
              .c_is_bfloat16 = is_bfloat16(dw),
              .precision = precision});
    deliver_gradient(dw, weight.dtype(), *out.dweight, "linear");
  }
  if (out.dbias != nullptr) {
    const Array db = gradient_target(*out.dbias, {n}, "linear");
    bias_gradient(dz, rows, n, db);
    deliver_gradient(db, weight.dtype(), *out.dbias, "linear");
  }
  if (out.dresidual != nullptr) *out.dresidual = dz;
}

Array gradient_target(const Array& out, const Shape& shape, const char* op, DType dtype) {
  if (!out.defined()) return Array(shape, dtype);
  check_shape(out, shape, op, "gradient", "[like its tensor]");
  out.begin_write(op);
  return out.dtype() == dtype && out.format() == Format::plain ? out : Array(shape, dtype);
}

void deliver_gradient(const Array& value, DType dtype, Array& out, const char* op) {
  if (!out.defined()) {
    out = value.to(dtype);
  } else if (out.raw<char>() != value.raw<char>()) {
    copy_into(out, value, op);
  }
}

void bias_gradient(const Array& dz, int64_t rows, int64_t n, const Array& out) {
  const LinearKernels& kernels = linear_kernels();
  const int64_t floats = kernels.bias_workspace(rows, n);
  const Array workspace = floats == 0 ? Array() : Array(Shape{floats});
  kernels.bias_gradient(dz.raw<void>(), is_bfloat16(dz), out.data<float>(), rows, n,
                        floats == 0 ? nullptr : workspace.data<float>());
}

}  // namespace nonet
