#include "ops/softmax/softmax.h"

#include "array/axis.h"
#include "array/launch.h"
#include "ops/reduce/device.h"

namespace nonet {

Array softmax_forward(const Array& x, int64_t axis, bool log) {
  const char* op = log ? "log_softmax" : "softmax";
  check_floating(x, op, "input");
  if (x.rank() == 0) return softmax_forward(x.reshape({1}), normal_axis(axis, 1, op), log).reshape({});
  const int a = normal_axis(axis, x.rank(), op);
  if (x.device() != Device::cpu) {
    const Array from = x.plain();
    const Array y = empty_like(from);
    if (y.numel() == 0) return y;
    const auto [outer, n, inner] = around(x.shape(), a);
    const ReducePlan plan = reduce_plan(outer, n, inner);
    on_device(&SoftmaxDevice::forward, op, y, x.dtype(), from, y, log, plan,
              slice_scratch(plan, SoftmaxDevice::registers, x.device()));
    return y;
  }
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
  if (y.device() != Device::cpu) {
    const Array g = dy.plain().to(y.dtype());
    const Array dx = empty_like(g);
    if (dx.numel() == 0) return dx.to(dy.dtype());
    const auto [outer, n, inner] = around(y.shape(), a);
    const ReducePlan plan = reduce_plan(outer, n, inner);
    on_device(&SoftmaxDevice::backward, op, dx, y.dtype(), g, y.plain(), dx, log, plan,
              slice_scratch(plan, SoftmaxDevice::registers_backward, y.device()));
    return dx.to(dy.dtype());
  }
  const Array dy_rows = axis_last(dy.to(DType::float32), a);
  const Array y_rows = axis_last(y.to(DType::float32), a);
  Array dx = empty_like(dy_rows);
  softmax_kernels().backward(dy_rows.data<float>(), y_rows.data<float>(), dx.data<float>(), dx.dim(0), dx.dim(1), log);
  return axis_back(dx, y.shape(), a).to(dy.dtype());
}

}  // namespace nonet
