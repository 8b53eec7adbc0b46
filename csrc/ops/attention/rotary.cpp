#include "ops/attention/rotary.h"

#include "array/launch.h"

namespace nonet {

Array rotary(const Array& x, const Array& cos, const Array& sin, int64_t heads, bool interleaved, bool back) {
  const char* op = "rotary";
  check_floating(x, op, "input");
  check_rank(cos, 2, op, "cos", "[T, half]");
  check_shape(sin, cos.shape(), op, "sin", "[T, half]");
  check_dtype(cos, DType::float32, op, "cos");
  check_dtype(sin, DType::float32, op, "sin");
  const int rank = x.rank();
  check(rank >= 2 && heads > 0 && x.dim(rank - 1) % heads == 0 && x.dim(rank - 2) == cos.dim(0), op,
        ": input must have shape [..., T, heads * E] with T = ", cos.dim(0), " and ", heads, " heads, got ", x.shape());
  const int64_t size = x.dim(rank - 1) / heads;
  check(2 * cos.dim(1) <= size, op, ": heads of ", size, " elements have no ", cos.dim(1), " pairs");
  check_same_device(x, cos, op);
  check_same_device(x, sin, op);
  const Array from = x.plain();
  const Array y = empty_like(from);
  if (y.numel() == 0) return y;
  const Rotation r{x.shape().product(0, rank - 2),
                   cos.dim(0),
                   heads,
                   size,
                   cos.dim(1),
                   static_cast<const float*>(cos.address()),
                   static_cast<const float*>(sin.address()),
                   interleaved,
                   back};
  if (x.device() != Device::cpu) {
    on_device(&RotaryDevice::rotate, op, y, x.dtype(), r, from, y);
  } else if (x.dtype() == DType::bfloat16) {
    rotary_kernels().rotate_bfloat16(r, from.data<bfloat16>(), y.data<bfloat16>());
  } else {
    rotary_kernels().rotate(r, from.data<float>(), y.data<float>());
  }
  return y;
}

}  // namespace nonet
