#include "ops/softmax/softmax.h"

#include "array/axis.h"

namespace nonet {

Array softmax_forward(const Array& x, int64_t axis, bool log) {
  const char* op = log ? "log_softmax" : "softmax";
  check_floating(x, op, "input");
  if (x.rank() == 0) return softmax_forward(x.reshape({1}), normal_axis(axis, 1, op), log).reshape({});
  const int a = normal_axis(axis, x.rank(), op);
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
  const Array dy_rows = axis_last(dy.to(DType::float32), a);
  const Array y_rows = axis_last(y.to(DType::float32), a);
  Array dx = empty_like(dy_rows);
  softmax_kernels().backward(dy_rows.data<float>(), y_rows.data<float>(), dx.data<float>(), dx.dim(0), dx.dim(1), log);
  return axis_back(dx, y.shape(), a).to(dy.dtype());
}

}  // namespace nonet
