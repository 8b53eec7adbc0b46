#include "ops/conv/device.h"

#include <limits>

#include "array/launch.h"
#include "array/strided.h"
#include "ops/activation/activation.h"
#include "ops/conv/tiles.h"

namespace nonet {

namespace {

ConvShape shape_of(const ConvSizes& s, const ConvOptions& o) {
  constexpr int64_t limit = std::numeric_limits<int32_t>::max();
  const int64_t in = s.n * s.h * s.w;
  const int64_t out = s.n * s.oh * s.ow;
  check(in < limit && out < limit && s.c * s.h * s.w < limit && s.o * s.oh * s.ow < limit, o.op,
        ": a device takes less than 2^31 pixels, and values of one image, got ", s.n, " images [", s.c, ", ", s.h, ", ",
        s.w, "]");
  return {.n = s.n,
          .c = s.c,
          .h = s.h,
          .w = s.w,
          .o = s.o,
          .kh = s.kh,
          .kw = s.kw,
          .oh = s.oh,
          .ow = s.ow,
          .groups = s.groups,
          .stride = {o.stride[0], o.stride[1]},
          .padding = {o.padding[0], o.padding[2]},
          .dilation = {o.dilation[0], o.dilation[1]}};
}

bool aligned(const Array& x) {
  return reinterpret_cast<uintptr_t>(x.address()) % 16 == 0;
}

// [groups][kh][kw][depth][columns rounded up to 4]; depth and columns are the channels in and out of a group, for the
// gradient of the input the other way round. depthwise: [kh][kw][C].
Array packed(const Array& weight, const ConvSizes& s, bool backward) {
  const Array w = weight.plain().to(DType::float32);
  if (s.depthwise()) {
    const Array out = read_strided(w, strided(Shape{s.o, s.positions()}).permuted({1, 0}));
    return aligned(out) ? out : out.clone();
  }
  const Strided by_group = strided(Shape{s.groups, s.out, s.in, s.positions()});
  const Array out = read_strided(w, by_group.permuted(backward ? Shape{0, 3, 1, 2} : Shape{0, 3, 2, 1}));
  const int64_t columns = out.dim(3);
  if (columns % 4 == 0) return aligned(out) ? out : out.clone();
  const Array padded = zeros(out.shape().with(3, divide_up(columns, 4) * 4), DType::float32, out.device());
  write_strided(padded, strided(padded.shape()).sliced(3, 0, columns), out);
  return padded;
}

// Whether the memory is that of an nhwc image (too).
bool stored_nhwc(const Array& x) {
  return x.format() == Format::nhwc || x.dim(1) == 1 || x.dim(2) * x.dim(3) == 1;
}

void weight_slices_and_sum(const Array& dz, const Array& x, const ConvShape& shape, const Array& dweight,
                           const char* op) {
  const Array partial({weight_slices(shape), dweight.numel()}, DType::float32, Format::plain, x.device());
  if (shape.depthwise()) {
    on_device(&DepthwiseDevice::slices, op, dweight, x.dtype(), dz, x.to_format(Format::nhwc), partial, shape);
  } else {
    on_device(&ConvWeightDevice::slices, op, dweight, x.dtype(), dz, x, stored_nhwc(x), partial, shape);
  }
  on_device(&ConvWeightDevice::sum, op, dweight, partial, dweight.dtype(), dweight, shape);
}

}  // namespace

Array device_forward(const Array& x, const Array& weight, const Array& bias, const ConvSizes& s, const ConvOptions& o) {
  const ConvShape shape = shape_of(s, o);
  const Array y({s.n, s.o, s.oh, s.ow}, x.dtype(), Format::nhwc, x.device());
  if (y.numel() == 0) return y;
  const Array b = bias.defined() ? bias.plain().to(DType::float32) : bias;
  const Array w = packed(weight, s, false);
  if (s.depthwise()) {
    on_device(&DepthwiseDevice::forward, o.op, y, x.dtype(), x.to_format(Format::nhwc), w, b, o.activation, y, shape);
  } else {
    on_device(&ConvDevice::forward, o.op, y, x.dtype(), x, stored_nhwc(x), w, b, o.activation, y, shape);
  }
  return y;
}

Array device_activation_gradient(const Array& dy, const Array& y, FusedActivation activation) {
  switch (activation) {
    case FusedActivation::relu:
      return activation_gradient(Activation::relu, dy, y);
    case FusedActivation::tanh:
      return unary_gradient(Unary::tanh, dy, y);
    case FusedActivation::sigmoid:
      return unary_gradient(Unary::sigmoid, dy, y);
    default:
      return dy;
  }
}

Array device_input(const Array& dz, const Array& weight, const Array& bias, const ConvSizes& s, const ConvOptions& o) {
  const ConvShape shape = shape_of(s, o);
  const Array dx({s.n, s.c, s.h, s.w}, dz.dtype(), Format::nhwc, dz.device());
  if (dx.numel() == 0) return dx;
  const Array d = dz.to_format(Format::nhwc);
  const Array b = bias.defined() ? bias.plain().to(DType::float32) : bias;
  const Array w = packed(weight, s, true);
  if (s.depthwise()) {
    on_device(&DepthwiseDevice::backward_input, o.op, dx, d.dtype(), d, w, b, o.activation, dx, shape);
  } else {
    on_device(&ConvDevice::backward_input, o.op, dx, d.dtype(), d, w, b, o.activation, dx, shape);
  }
  return dx;
}

void device_weight(const Array& dz, const Array& x, const Array& weight, const ConvSizes& s, const ConvOptions& o,
                   Array& dweight) {
  const Array dw = gradient_target(dweight, weight.shape(), o.op, weight.dtype(), x.device());
  if (dw.numel() > 0) weight_slices_and_sum(dz.to_format(Format::nhwc), x, shape_of(s, o), dw, o.op);
  deliver_gradient(dw, weight.dtype(), dweight, o.op);
}

void device_backward(const Array& gradient, const Array& x, const Array& weight, const ConvSizes& s,
                     const ConvOptions& options, const LayerGradients& out) {
  ConvOptions o = options;
  o.activation = FusedActivation::none;
  const Array dz = gradient.to(x.dtype()).to_format(Format::nhwc);
  if (out.dx != nullptr) *out.dx = device_input(dz, weight, Array(), s, o);
  if (out.dweight != nullptr) device_weight(dz, x, weight, s, o, *out.dweight);
  if (out.dbias != nullptr) {
    const Array rows(dz.storage(), dz.byte_offset(), {s.n * s.oh * s.ow, s.o}, dz.dtype());
    const Array db = gradient_target(*out.dbias, {s.o}, o.op, DType::float32, x.device());
    bias_gradient(rows, rows.dim(0), s.o, db);
    deliver_gradient(db, weight.dtype(), *out.dbias, o.op);
  }
}

}  // namespace nonet
