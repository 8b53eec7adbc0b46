#include "ops/norm/layer_norm_arrays.h"
#include "ops/reduce/axes.h"
#include "ops/reduce/reduce.h"

namespace nonet {

namespace {

float* floats(const Array& x) {
  return x.defined() ? x.data<float>() : nullptr;
}

Array as_float(const Array& x) {
  return x.defined() ? x.plain().to(DType::float32) : x;
}

// The sum of the partial rows.
Array total(const Array& parts, const Shape& shape) {
  if (!parts.defined()) return parts;
  return reduce_sum(parts, Axes(parts.shape(), std::vector<int64_t>{0}, "layer_norm"), false).reshape(shape);
}

}  // namespace

LayerNormOutput layer_norm_forward(const Array& x, const Shape& shape, const Array& gamma, const Array& beta, float eps,
                                   bool centred) {
  const char* op = centred ? "layer_norm" : "rms_norm";
  check_floating(x, op, "input");
  const int axes = shape.rank();
  check(axes >= 1, op, ": normalized_shape must name at least one axis, got ", shape);
  check(axes <= x.rank() && x.shape().slice(x.rank() - axes, x.rank()) == shape, op,
        ": input must end in the axes normalized_shape = ", shape, ", got ", x.shape());
  for (const auto& [parameter, name] : {std::pair{&gamma, "weight"}, std::pair{&beta, "bias"}}) {
    if (!parameter->defined()) continue;
    check_floating(*parameter, op, name);
    check_shape(*parameter, shape, op, name, "normalized_shape");
  }
  const int64_t rows = x.shape().product(0, x.rank() - axes);
  const Array from = as_float(x);
  const Array y = empty_like(from);
  const Array mean = centred ? Array({rows}) : Array();
  const Array rstd({rows});
  layer_norm_kernels().forward(from.data<float>(), floats(as_float(gamma)), floats(as_float(beta)), y.data<float>(),
                               floats(mean), rstd.data<float>(), rows, shape.numel(), eps);
  return {y.to(x.dtype()), mean, rstd};
}

LayerNormGradients layer_norm_backward(const Array& dy, const Array& x, const Shape& shape, const Array& gamma,
                                       const Array& mean, const Array& rstd, bool want_x, bool want_gamma,
                                       bool want_beta) {
  check_shape(dy, x.shape(), mean.defined() ? "layer_norm" : "rms_norm", "gradient", "[like the output]");
  const int64_t rows = rstd.numel();
  const int64_t n = shape.numel();
  const int64_t blocks = (rows + layer_norm_block - 1) / layer_norm_block;
  const Array from = as_float(x);
  const Array dx = want_x ? empty_like(from) : Array();
  const Array dgamma = want_gamma ? Array({blocks, n}) : Array();
  const Array dbeta = want_beta ? Array({blocks, n}) : Array();
  layer_norm_kernels().backward(floats(as_float(dy)), from.data<float>(), floats(as_float(gamma)), floats(mean),
                                rstd.data<float>(), floats(dx), floats(dgamma), floats(dbeta), rows, n);
  return {want_x ? dx.to(x.dtype()) : dx, total(dgamma, shape), total(dbeta, shape)};
}

}  // namespace nonet
