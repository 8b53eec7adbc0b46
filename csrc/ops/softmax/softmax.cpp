#include "ops/softmax/softmax.h"

#include "array/axis.h"
#include "array/launch.h"
#include "ops/reduce/device.h"

namespace nonet {

namespace {

Array scratch_of(const ReducePlan& plan, const Array& x) {
  return plan.inner == 1 ? slice_scratch(plan, SoftmaxDevice::registers, x.device()) : Array();
}

Array device_forward(const Array& x, int axis, bool log, const char* op) {
  const auto [outer, n, inner] = around(x.shape(), axis);
  const ReducePlan plan = reduce_plan(outer, n, inner);
  if (!columns_fit(plan)) return axis_back(device_forward(axis_last(x, axis), 1, log, op), x.shape(), axis);
  const Array from = x.plain();
  const Array y = empty_like(from);
  if (y.numel() == 0) return y;
  on_device(&SoftmaxDevice::forward, op, y, x.dtype(), from, y, log, plan, scratch_of(plan, x));
  return y;
}

Array device_backward(const Array& dy, const Array& y, int axis, bool log, const char* op) {
  const auto [outer, n, inner] = around(y.shape(), axis);
  const ReducePlan plan = reduce_plan(outer, n, inner);
  if (!columns_fit(plan)) {
    return axis_back(device_backward(axis_last(dy, axis), axis_last(y, axis), 1, log, op), y.shape(), axis);
  }
  const Array g = dy.plain();
  const Array dx = empty_like(g);
  if (dx.numel() == 0) return dx;
  on_device(&SoftmaxDevice::backward, op, dx, y.dtype(), g, y.plain(), dx, log, plan, scratch_of(plan, y));
  return dx;
}

}  // namespace

Array softmax_forward(const Array& x, int64_t axis, bool log) {
  const char* op = log ? "log_softmax" : "softmax";
  check_floating(x, op, "input");
  if (x.rank() == 0) return softmax_forward(x.reshape({1}), normal_axis(axis, 1, op), log).reshape({});
  const int a = normal_axis(axis, x.rank(), op);
  if (x.device() != Device::cpu) return device_forward(x, a, log, op);
  const Array rows = axis_last(x.to(DType::float32), a);
  Array y = empty_like(rows);
  softmax_kernels().forward(rows.data<float>(), y.data<float>(), rows.dim(0), rows.dim(1), log);
  return axis_back(y, x.shape(), a).to(x.dtype());
}

Array softmax_backward(const Array& dy, const Array& y, int64_t axis, bool log) {
  const char* op = log ? "log_softmax" : "softmax";
  check_shape(dy, y.shape(), op, "gradient", "[like the output]");
  if (y.rank() == 0) return softmax_backward(dy.reshape({1}), y.reshape({1}), 0, log).reshape({});
  const int a = normal_axis(axis, y.rank(), op);
  if (y.device() != Device::cpu) return device_backward(dy.to(y.dtype()), y, a, log, op).to(dy.dtype());
  const Array dy_rows = axis_last(dy.to(DType::float32), a);
  const Array y_rows = axis_last(y.to(DType::float32), a);
  Array dx = empty_like(dy_rows);
  softmax_kernels().backward(dy_rows.data<float>(), y_rows.data<float>(), dx.data<float>(), dx.dim(0), dx.dim(1), log);
  return axis_back(dx, y.shape(), a).to(dy.dtype());
}

}  // namespace nonet
