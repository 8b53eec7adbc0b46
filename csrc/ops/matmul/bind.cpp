#include "bind.h"

#include "ops/matmul/linear.h"
#include "ops/matmul/packed.h"

namespace nonet {

namespace {

FusedActivation activation_of(int64_t code) {
  check(code >= 0 && code <= static_cast<int64_t>(FusedActivation::gelu_tanh), "linear: unknown activation ", code);
  return static_cast<FusedActivation>(code);
}

py::tuple matmul_gradients(const Array& dy, const Array& a, const Array& b, bool transpose_a, bool transpose_b,
                           int64_t precision, bool need_a, bool need_b) {
  Array da;
  Array db;
  {
    const py::gil_scoped_release release;
    matmul_backward(dy, a, b, transpose_a, transpose_b, numerics_from_code(precision).precision, need_a ? &da : nullptr,
                    need_b ? &db : nullptr);
  }
  return py::make_tuple(need_a ? py::cast(da) : py::none(), need_b ? py::cast(db) : py::none());
}

// Products that no op of its own makes, for the tests of every path.
Gemm plain_gemm(const Array& c, const Array& a, const Array& b, bool transpose_a, bool transpose_b, int64_t precision) {
  return {.m = a.dim(transpose_a ? 1 : 0),
          .n = b.dim(transpose_b ? 0 : 1),
          .k = a.dim(transpose_a ? 0 : 1),
          .a = a.address(),
          .lda = a.dim(1),
          .transpose_a = transpose_a,
          .b = b.address(),
          .ldb = b.dim(1),
          .transpose_b = transpose_b,
          .c = c.address(),
          .a_is_bfloat16 = a.dtype() == DType::bfloat16,
          .b_is_bfloat16 = b.dtype() == DType::bfloat16,
          .precision = numerics_from_code(precision).precision};
}

// (c, largest, sum): with the statistics of its rows.
py::tuple row_statistics(const Array& a, const Array& b, bool transpose_a, bool transpose_b, int64_t precision) {
  const int64_t m = a.dim(transpose_a ? 1 : 0);
  const int64_t n = b.dim(transpose_b ? 0 : 1);
  const auto make = [&](int64_t columns) { return Array({m, columns}, DType::float32, Format::plain, a.device()); };
  const Array c = make(n);
  const Array largest = make((n + 31) / 32);
  const Array sum = make((n + 31) / 32);
  Gemm g = plain_gemm(c, a, b, transpose_a, transpose_b, precision);
  g.row_max = static_cast<float*>(largest.address());
  g.row_sum = static_cast<float*>(sum.address());
  run_gemm(g, c, "matmul_row_statistics");
  return py::make_tuple(c, largest, sum);
}

// c += op(a) op(b), c float32.
void accumulate(const Array& c, const Array& a, const Array& b, bool transpose_a, bool transpose_b, int64_t precision) {
  Gemm g = plain_gemm(c, a, b, transpose_a, transpose_b, precision);
  g.accumulate = true;
  run_gemm(g, c, "matmul_accumulate");
}

// (y, z): z is None unless it is to be kept and the activation needs it.
py::tuple linear_outputs(const Array& x, const Array& weight, const Array* bias, const Array* residual,
                         int64_t activation, int64_t precision, bool keep) {
  Array before;
  Array y;
  {
    const py::gil_scoped_release release;
    y = linear_forward(x, weight, or_undefined(bias), or_undefined(residual), activation_of(activation),
                       numerics_from_code(precision), keep ? &before : nullptr);
  }
  return py::make_tuple(std::move(y), before.defined() ? py::cast(std::move(before)) : py::none());
}

py::tuple linear_gradients(const Array& dy, const Array& x, const Array& weight, const Array* saved, int64_t activation,
                           int64_t precision, const py::list& needs) {
  Array dx;
  Array dweight;
  Array dbias;
  Array dresidual;
  const py::handle need_x = needs[0];
  const py::handle need_weight = needs[1];
  const py::handle need_bias = needs[2];
  const bool has_residual = needs.size() > 3;
  const bool need_residual = has_residual && py::handle(needs[3]).ptr() != Py_False;
  const LayerGradients out{wanted(need_x, dx), wanted(need_weight, dweight), wanted(need_bias, dbias),
                           need_residual ? &dresidual : nullptr};
  {
    const py::gil_scoped_release release;
    linear_backward(dy, x, weight, or_undefined(saved), activation_of(activation),
                    numerics_from_code(precision).precision, out);
  }
  if (!has_residual)
    return py::make_tuple(given_or_new(need_x, dx), given_or_new(need_weight, dweight), given_or_new(need_bias, dbias));
  return py::make_tuple(given_or_new(need_x, dx), given_or_new(need_weight, dweight), given_or_new(need_bias, dbias),
                        dresidual.defined() ? py::cast(dresidual) : py::none());
}

}  // namespace

void bind_matmul(py::module_& m) {
  m.def(
      "matmul_forward",
      [](const Array& a, const Array& b, bool transpose_a, bool transpose_b, int64_t precision, const char* op,
         double scale, const Array* residual) {
        return matmul_forward(a, b, transpose_a, transpose_b, numerics_from_code(precision), op, scale,
                              or_undefined(residual));
      },
      py::arg("a"), py::arg("b"), py::arg("transpose_a"), py::arg("transpose_b"), py::arg("precision"), py::arg("op"),
      py::arg("scale") = 1., py::arg("residual").none(true) = py::none(), no_gil());
  m.def("matmul_backward", &matmul_gradients, py::arg("dy"), py::arg("a"), py::arg("b"), py::arg("transpose_a"),
        py::arg("transpose_b"), py::arg("precision"), py::arg("need_a"), py::arg("need_b"));
  m.def(
      "linear_forward",
      [](const Array& x, const Array& weight, const Array* bias, int64_t precision) {
        return linear_forward(x, weight, or_undefined(bias), Array(), FusedActivation::none,
                              numerics_from_code(precision), nullptr);
      },
      py::arg("x"), py::arg("weight"), py::arg("bias").none(true), py::arg("precision"), no_gil());
  m.def("linear_activation_forward", &linear_outputs, py::arg("x"), py::arg("weight"), py::arg("bias").none(true),
        py::arg("residual").none(true), py::arg("activation"), py::arg("precision"), py::arg("keep"));
  m.def("linear_backward", &linear_gradients, py::arg("dy"), py::arg("x"), py::arg("weight"),
        py::arg("saved").none(true), py::arg("activation"), py::arg("precision"), py::arg("needs"));

  m.def("matmul_row_statistics", &row_statistics, py::arg("a"), py::arg("b"), py::arg("transpose_a"),
        py::arg("transpose_b"), py::arg("precision"));
  m.def("matmul_accumulate", &accumulate, py::arg("c"), py::arg("a"), py::arg("b"), py::arg("transpose_a"),
        py::arg("transpose_b"), py::arg("precision"));

  m.def("cache_bytes", &packed_weight_bytes);
  m.def("cache_budget", &packed_weight_budget);
  m.def("set_cache_budget", &set_packed_weight_budget, py::arg("bytes"));
  m.def("drop_packed_weights", &drop_packed_weights);
}

}  // namespace nonet
