#include "ops/dropout/dropout.h"

#include "array/launch.h"

namespace nonet {

Array dropout(const Array& x, PhiloxKey key, float p, Affine affine, int64_t units) {
  check_floating(x, "dropout", "input");
  if (x.numel() == 0) return x;
  const Array from = units == x.numel() ? x : x.plain();
  const Array y = empty_like(from);
  const int64_t inner = x.numel() / units;
  if (x.device() != Device::cpu) {
    on_device(&DropoutDevice::apply, "dropout", y, key, p, affine, x.dtype(), from, y, units, inner);
  } else if (x.dtype() == DType::bfloat16) {
    dropout_kernels().apply_bfloat16(key, p, affine, from.raw<bfloat16>(), y.raw<bfloat16>(), units, inner);
  } else {
    dropout_kernels().apply(key, p, affine, from.raw<float>(), y.raw<float>(), units, inner);
  }
  return y;
}

Array dropout_backward(const Array& dy, PhiloxKey key, float p, float a, int64_t units, bool nhwc) {
  return dropout(dy.to_format(nhwc ? Format::nhwc : Format::plain), key, p, {a, 0.f, 0.f}, units);
}

}  // namespace nonet
