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

bool saves_before(FusedActivation activation) {
  return activation == FusedActivation::gelu || activation == FusedActivation::gelu_tanh;
}

}  // namespace

Array linear_forward(const Array& x, const Array& weight, const Array& bias, FusedActivation activation,
                     const Numerics& numerics, Array* before) {
  if (weight.rank() == 1) {  // one output without an axis of its own
    const Array y = linear_forward(x, weight.reshape({1, weight.dim(0)}), bias, activation, numerics, before);
    return y.reshape(y.shape().slice(0, y.rank() - 1));
  }
  const DType dtype = check_linear(x, weight, bias, numerics);
  const int64_t in = weight.dim(1);
  const int64_t out = weight.dim(0);
  const Array a = x.to(DType::float32).plain();
  const Array w = weight.to(DType::float32);
  const Array b = bias.defined() ? bias.to(DType::float32) : bias;
  const Array y(x.shape().with(x.rank() - 1, out));
  Gemm g{x.shape().product(0, x.rank() - 1),
         out,
         in,
         a.data<float>(),
         in,
         false,
         w.data<float>(),
         in,
         true,
         y.data<float>()};
  if (b.defined()) g.bias = b.data<float>();
  g.activation = activation;
  if (before != nullptr && saves_before(activation)) {
    *before = Array(y.shape());
    g.before = before->data<float>();
  }
  g.precision = numerics.precision;
  g.a_is_bfloat16 = x.dtype() == DType::bfloat16;
  g.b_is_bfloat16 = weight.dtype() == DType::bfloat16;
  run_gemm(g, &w);
  return y.to(dtype);
}

void linear_backward(const Array& dy, const Array& x, const Array& weight, const Array& saved,
                     FusedActivation activation, Precision precision, const LayerGradients& out) {
  if (weight.rank() == 1) {
    Shape column = dy.shape();
    column.push_back(1);
    Array dweight;
    Array dbias;
    linear_backward(dy.reshape(column), x, weight.reshape({1, weight.dim(0)}), saved, activation, precision,
                    {out.dx, out.dweight == nullptr ? nullptr : &dweight, out.dbias == nullptr ? nullptr : &dbias});
    if (out.dweight != nullptr)
      deliver_gradient(dweight.reshape(weight.shape()), weight.dtype(), *out.dweight, "linear");
    if (out.dbias != nullptr) deliver_gradient(dbias, weight.dtype(), *out.dbias, "linear");
    return;
  }
  const int64_t rows = x.shape().product(0, x.rank() - 1);
  const int64_t in = weight.dim(1);
  const int64_t n = weight.dim(0);
  check_shape(dy, x.shape().with(x.rank() - 1, n), "linear", "gradient", "[..., out]");
  Array dz = dy.to(DType::float32).plain();
  if (activation != FusedActivation::none) {
    const Array y = saved.to(DType::float32).plain();
    const Array scaled(dz.shape());
    linear_kernels().activation_backward(dz.data<float>(), y.data<float>(), scaled.data<float>(), dz.numel(),
                                         activation);
    dz = scaled;
  }
  const bool bfloat16_dz = dy.dtype() == DType::bfloat16 && activation == FusedActivation::none;
  if (out.dx != nullptr) {
    const Array w = weight.to(DType::float32);
    const Array dx = gradient_target(*out.dx, x.shape(), "linear");
    run_gemm({.m = rows,
              .n = in,
              .k = n,
              .a = dz.data<float>(),
              .lda = n,
              .transpose_a = false,
              .b = w.data<float>(),
              .ldb = in,
              .transpose_b = false,
              .c = dx.data<float>(),
              .precision = precision,
              .a_is_bfloat16 = bfloat16_dz,
              .b_is_bfloat16 = weight.dtype() == DType::bfloat16});
    deliver_gradient(dx, x.dtype(), *out.dx, "linear");
  }
  if (out.dweight != nullptr) {
    const Array a = x.to(DType::float32).plain();
    const Array dw = gradient_target(*out.dweight, weight.shape(), "linear");
    run_gemm({.m = n,
              .n = in,
              .k = rows,
              .a = dz.data<float>(),
              .lda = n,
              .transpose_a = true,
              .b = a.data<float>(),
              .ldb = in,
              .transpose_b = false,
              .c = dw.data<float>(),
              .precision = precision,
              .a_is_bfloat16 = bfloat16_dz,
              .b_is_bfloat16 = x.dtype() == DType::bfloat16});
    deliver_gradient(dw, weight.dtype(), *out.dweight, "linear");
  }
  if (out.dbias != nullptr) {
    const Array db = gradient_target(*out.dbias, {n}, "linear");
    bias_gradient(dz, rows, n, db);
    deliver_gradient(db, weight.dtype(), *out.dbias, "linear");
  }
}

Array gradient_target(const Array& out, const Shape& shape, const char* op) {
  if (!out.defined()) return Array(shape);
  check_shape(out, shape, op, "gradient", "[like its tensor]");
  out.begin_write(op);
  return out.dtype() == DType::float32 && out.format() == Format::plain ? out : Array(shape);
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
  kernels.bias_gradient(dz.raw<float>(), out.data<float>(), rows, n, floats == 0 ? nullptr : workspace.data<float>());
}

}  // namespace nonet
