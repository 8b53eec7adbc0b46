#include "ops/norm/response_norm.h"

#include "array/launch.h"

namespace nonet {

namespace {

ResponseNorm layout_of(const Array& x, int64_t size, float alpha, float beta, float k) {
  const int64_t s = x.shape().product(2, x.rank());
  if (x.format() == Format::nhwc) return {x.dim(0) * s, x.dim(1), 1, size, alpha, beta, k};
  return {x.dim(0), x.dim(1), s, size, alpha, beta, k};
}

}  // namespace

Array response_norm_forward(const Array& x, int64_t size, float alpha, float beta, float k) {
  const char* op = "local_response_norm";
  check_floating(x, op, "input");
  check(x.rank() >= 3, op, ": input must have shape [N, C, ...] of three axes or more, got ", x.shape());
  check(size > 0, op, ": size must be positive, got ", size);
  const Array y = empty_like(x);
  const ResponseNorm r = layout_of(x, size, alpha, beta, k);
  if (x.device() != Device::cpu) {
    on_device(&ResponseNormDevice::forward, op, y, x.dtype(), x, y, r);
    return y;
  }
  response_norm_kernels().forward(x.dtype(), x.address(), y.address(), r);
  return y;
}

Array response_norm_backward(const Array& dy, const Array& x, int64_t size, float alpha, float beta, float k) {
  const char* op = "local_response_norm";
  check_shape(dy, x.shape(), op, "gradient", "[like the output]");
  const Array g = dy.to(x.dtype()).to_format(x.format());
  const Array dx = empty_like(x);
  const ResponseNorm r = layout_of(x, size, alpha, beta, k);
  if (x.device() != Device::cpu) {
    const Array terms({x.numel()}, DType::float32, Format::plain, x.device());
    on_device(&ResponseNormDevice::backward, op, dx, x.dtype(), g, x, terms, dx, r);
    return dx;
  }
  response_norm_kernels().backward(x.dtype(), g.address(), x.address(), dx.address(), r);
  return dx;
}

}  // namespace nonet
