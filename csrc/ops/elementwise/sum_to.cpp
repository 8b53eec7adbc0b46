#include "array/launch.h"
#include "ops/elementwise/elementwise.h"
#include "ops/reduce/reduce.h"

namespace nonet {

namespace {

// x [outer, n, inner] -> [outer, inner].
Array sum_middle(Array x, int64_t outer, int64_t n, int64_t inner) {
  if (n == 0) return zeros({outer, inner}, DType::float32, x.device());
  const bool on_cpu = x.device() == Device::cpu;
  const int64_t span = on_cpu ? fold_span(inner) : 2048;
  do {
    const int64_t spans = (n + span - 1) / span;
    Array y({outer, spans, inner}, DType::float32, Format::plain, x.device());
    if (!on_cpu) {
      on_device(&SumToDevice::sum_spans, "sum_to", y, x, y, outer, n, inner, span);
    } else {
      reduce_kernels().fold(Fold::sum, Term::value, x.data<float>(), nullptr, y.data<float>(), outer, n, inner);
    }
    x = y;
    n = spans;
  } while (n > 1);
  return x;
}

}  // namespace

Array sum_to(const Array& dy, const Shape& shape) {
  if (dy.shape() == shape) return dy;
  const int extra = dy.rank() - shape.rank();
  bool ok = extra >= 0;
  for (int axis = 0; ok && axis < shape.rank(); ++axis) {
    ok = shape[axis] == 1 || shape[axis] == dy.dim(extra + axis);
  }
  check(ok, "sum_to: shape ", shape, " does not broadcast to ", dy.shape());
  const auto summed = [&](int axis) { return axis < extra || (shape[axis - extra] == 1 && dy.dim(axis) != 1); };
  Array x = dy.to(DType::float32).plain();
  // From the last group of summed axes to the first; what lies behind it has been dealt with.
  int64_t inner = 1;
  int axis = dy.rank() - 1;
  while (axis >= 0) {
    int64_t n = 1;
    for (; axis >= 0 && !summed(axis); --axis) inner *= dy.dim(axis);
    const int last = axis;
    for (; axis >= 0 && (summed(axis) || dy.dim(axis) == 1); --axis) n *= dy.dim(axis);
    if (last < 0) break;
    x = sum_middle(x, dy.shape().product(0, axis + 1), n, inner);
  }
  return x.reshape(shape).to(dy.dtype());
}

}  // namespace nonet
