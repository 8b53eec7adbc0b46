#include "array/launch.h"
#include "ops/elementwise/elementwise.h"
#include "ops/norm/layer_norm_arrays.h"
#include "ops/reduce/axes.h"
#include "ops/reduce/device.h"
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

Array on(Device device, const Shape& shape) {
  return Array(shape, DType::float32, Format::plain, device);
}

LayerNormOutput device_forward(const Array& x, const Array& gamma, const Array& beta, float eps, bool centred,
                               int64_t rows, int64_t n, const char* op) {
  const Array from = x.plain();
  const Array y = empty_like(from);
  const Array mean = centred ? on(x.device(), {rows}) : Array();
  const Array rstd = on(x.device(), {rows});
  const ReducePlan plan = reduce_plan(rows, n, 1);
  on_device(&LayerNormDevice::forward, op, y, x.dtype(), from, as_float(gamma), as_float(beta), y, mean, rstd, eps,
            plan, slice_scratch(plan, LayerNormDevice::registers, x.device()));
  return {y, mean, rstd, {}};
}

LayerNormGradients device_backward(const Array& dy, const Array& x, const Shape& shape, const Array& gamma,
                                   const Array& mean, const Array& rstd, bool want_x, bool want_gamma, bool want_beta) {
  const char* op = mean.defined() ? "layer_norm" : "rms_norm";
  const int64_t rows = rstd.numel();
  const int64_t n = shape.numel();
  const Array from = x.plain();
  const Array g = dy.plain().to(x.dtype());
  const Array scale = as_float(gamma);
  const Array dx = want_x ? empty_like(from) : Array();
  const bool want_sums = want_gamma || want_beta;
  Array sums;
  if (n <= LayerNormDevice::registers_backward) {
    if (want_sums) sums = on(x.device(), {std::min(rows, LayerNormDevice::blocks), 2, n});
    on_device(&LayerNormDevice::backward, op, want_x ? dx : sums, x.dtype(), g, from, scale, mean, rstd, dx, sums, rows,
              n);
    if (want_sums) sums = reduce_sum(sums, Axes(sums.shape(), std::vector<int64_t>{0}, op), false);
  } else {
    if (want_x) {
      const ReducePlan plan = reduce_plan(rows, n, 1);
      on_device(&LayerNormDevice::backward_input, op, dx, x.dtype(), g, from, scale, mean, rstd, dx, plan,
                slice_scratch(plan, 0, x.device()));
    }
    if (want_sums) {
      const ReducePlan plan = reduce_plan(1, rows, n);
      sums = on(x.device(), {2, n});
      on_device(&LayerNormDevice::backward_parameters, op, sums, x.dtype(), g, from, mean, rstd, sums, plan,
                reduce_parts(plan, x.device()));
    }
  }
  return {dx, want_gamma ? sums.rows(0, 1).reshape(shape) : Array(),
          want_beta ? sums.rows(1, 2).reshape(shape) : Array()};
}

}  // namespace

LayerNormOutput layer_norm_forward(const Array& x, const Array& residual, const Shape& shape, const Array& gamma,
                                   const Array& beta, float eps, bool centred) {
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
  const bool two = residual.defined();
  if (two) {
    check_dtype(residual, x.dtype(), op, "residual");
    check_shape(residual, x.shape(), op, "residual", "[like input]");
    check_same_device(x, residual, op);
  }
  const int64_t rows = x.shape().product(0, x.rank() - axes);
  if (x.device() != Device::cpu) {
    const Array sum = two ? add(x, residual) : Array();
    LayerNormOutput out = device_forward(two ? sum : x, gamma, beta, eps, centred, rows, shape.numel(), op);
    out.sum = sum;
    return out;
  }
  const Array from = x.plain();
  const Array y = empty_like(from);
  const Array sum = two ? empty_like(from) : Array();
  const Array mean = centred ? Array({rows}) : Array();
  const Array rstd({rows});
  layer_norm_kernels().forward(x.dtype(), from.address(), two ? residual.plain().address() : nullptr,
                               two ? sum.address() : nullptr, floats(as_float(gamma)), floats(as_float(beta)),
                               y.address(), floats(mean), rstd.data<float>(), rows, shape.numel(), eps);
  return {y, mean, rstd, sum};
}

LayerNormGradients layer_norm_backward(const Array& dy, const Array& x, const Array& dsum, const Shape& shape,
                                       const Array& gamma, const Array& mean, const Array& rstd, bool want_x,
                                       bool want_gamma, bool want_beta) {
  check_shape(dy, x.shape(), mean.defined() ? "layer_norm" : "rms_norm", "gradient", "[like the output]");
  if (x.device() != Device::cpu) {
    LayerNormGradients out = device_backward(dy, x, shape, gamma, mean, rstd, want_x, want_gamma, want_beta);
    if (want_x && dsum.defined()) out.dx = add(out.dx, dsum.to(x.dtype()));
    return out;
  }
  const int64_t rows = rstd.numel();
  const int64_t n = shape.numel();
  const int64_t blocks = (rows + layer_norm_block - 1) / layer_norm_block;
  const Array from = x.plain();
  const Array g = dy.plain().to(x.dtype());
  const Array more = dsum.defined() ? dsum.plain().to(x.dtype()) : dsum;
  const Array dx = want_x ? empty_like(from) : Array();
  const Array dgamma = want_gamma ? Array({blocks, n}) : Array();
  const Array dbeta = want_beta ? Array({blocks, n}) : Array();
  layer_norm_kernels().backward(x.dtype(), g.address(), from.address(), more.defined() ? more.address() : nullptr,
                                floats(as_float(gamma)), floats(mean), rstd.data<float>(),
                                want_x ? dx.address() : nullptr, floats(dgamma), floats(dbeta), rows, n);
  return {dx, total(dgamma, shape), total(dbeta, shape)};
}

}  // namespace nonet
