#include "ops/activation/activation.h"

#include <iterator>

#include "array/axis.h"
#include "array/launch.h"

namespace nonet {

namespace {

constexpr const char* names[] = {"relu",        "leaky_relu", "elu",        "gelu",       "gelu_tanh",  "silu",
                                 "mish",        "softplus",   "softsign",   "tanhshrink", "logsigmoid", "hardtanh",
                                 "hardsigmoid", "hardswish",  "hardshrink", "softshrink", "threshold"};
static_assert(std::size(names) == static_cast<size_t>(Activation::count));

Array as_rows(const Array& image) {  // nhwc, as [pixels, C]
  const int64_t c = image.dim(1);
  return Array(image.storage(), image.byte_offset(), {c == 0 ? 0 : image.numel() / c, c}, image.dtype());
}

// x and w in shapes that broadcast; an nhwc image as rows of channels.
struct Sloped {
  Array x, w;
  Shape shape;
  Format format;

  // The gradient of the output in the shape of `x`, and an array of that shape in the output's.
  Array along(const Array& dy) const {
    const Array same = dy.to(x.dtype()).to_format(format);
    return x.rank() == shape.rank() ? same : as_rows(same);
  }
  Array back(const Array& y) const { return Array(y.storage(), y.byte_offset(), shape, y.dtype(), format); }
};

Sloped sloped(const Array& x, const Array& w) {
  check_floating(x, "prelu", "input");
  check_floating(w, "prelu", "weight");
  const Array slope = w.to(x.dtype());
  if (w.shape() == x.shape()) return {x.plain(), slope.plain(), x.shape(), Format::plain};
  const int64_t channels = x.rank() < 2 ? 1 : x.dim(1);
  check(w.rank() <= 1 && (w.numel() == 1 || w.numel() == channels),
        "prelu: weight must have shape [1] or [channels] = [", channels, "], got ", w.shape());
  if (w.numel() == 1) return {x, slope.reshape({}), x.shape(), x.format()};
  if (x.format() == Format::nhwc) return {as_rows(x), slope, x.shape(), x.format()};
  Shape along;
  along.push_back(channels);
  for (int axis = 2; axis < x.rank(); ++axis) along.push_back(1);
  return {x, slope.reshape(along), x.shape(), x.format()};
}

}  // namespace

const char* name(Activation op) {
  return names[static_cast<int>(op)];
}

Array activation(Activation op, const Array& x, MapNumbers numbers) {
  check_floating(x, name(op), "input");
  if (x.device() != Device::cpu) {
    const Array y = empty_like(x);
    on_device(&ActivationDevice::map, name(op), y, op, x.dtype(), x, y, x.numel(), numbers);
    return y;
  }
  return map_array(activation_kernels().op[static_cast<int>(op)], x, numbers, name(op));
}

Array activation_gradient(Activation op, const Array& dy, const Array& saved, MapNumbers numbers) {
  if (saved.device() != Device::cpu) {
    check_shape(dy, saved.shape(), name(op), "gradient", "[like the output]");
    const Array g = dy.to(saved.dtype()).to_format(saved.format());
    const Array dx = empty_like(saved);
    on_device(&ActivationDevice::gradient, name(op), dx, op, saved.dtype(), g, saved, dx, dx.numel(), numbers);
    return dx;
  }
  return map_gradient(activation_kernels().op[static_cast<int>(op)], dy, saved, numbers, name(op));
}

Array prelu(const Array& x, const Array& w) {
  const Sloped s = sloped(x, w);
  return s.back(binary(Binary::prelu, s.x, s.w));
}

Array prelu_input_gradient(const Array& dy, const Array& x, const Array& w) {
  const Sloped s = sloped(x, w);
  return s.back(binary_gradient(Partial::prelu, s.along(dy), s.x, s.w));
}

Array prelu_weight_gradient(const Array& dy, const Array& x, const Array& w) {
  const Sloped s = sloped(x, w);
  const Array products = binary_gradient(Partial::prelu_slope, s.along(dy), s.x, s.w);
  return sum_to(products, s.w.shape()).reshape(w.shape()).to(w.dtype());
}

namespace {

// [outer, 2n, inner] as rows of two halves of `half` elements each.
struct Halves {
  Array x;  // plain
  int64_t outer;
  int64_t half;
  Shape shape;  // of the output
};

Halves halves(const Array& x, int64_t axis) {
  check_floating(x, "glu", "input");
  check(x.rank() > 0, "glu: input must have at least one axis");
  const int a = normal_axis(axis, x.rank(), "glu");
  check(x.dim(a) % 2 == 0, "glu: the size of axis ", a, " must be even, got input of shape ", x.shape());
  const auto [outer, n, inner] = around(x.shape(), a);
  return {x.plain(), outer, n / 2 * inner, x.shape().with(a, n / 2)};
}

// body(row, begin, end) over pieces of the rows.
template <class Body>
void over_halves(const Halves& h, const Body& body) {
  constexpr int64_t grain = 16384;
  const int64_t pieces = (h.half + grain - 1) / grain;
  parallel_for(h.outer * pieces, 1 + grain / (h.half + 1), [&](int64_t begin, int64_t end) {
    for (int64_t piece = begin; piece < end; ++piece) {
      const int64_t from = piece % pieces * grain;
      body(piece / pieces, from, from + grain < h.half ? from + grain : h.half);
    }
  });
}

}  // namespace

Array glu(const Array& x, int64_t axis) {
  const Halves h = halves(x, axis);
  if (x.device() != Device::cpu) {
    const Array y(h.shape, x.dtype(), Format::plain, x.device());
    on_device(&ActivationDevice::glu, "glu", y, x.dtype(), h.x, y, h.outer, h.half);
    return y;
  }
  const Array from = h.x.to(DType::float32);
  Array y(h.shape);
  const BinaryMap gate = binary_kernels().op[static_cast<int>(Binary::gate)].float32;
  over_halves(h, [&](int64_t row, int64_t begin, int64_t end) {
    const float* a = from.data<float>() + row * 2 * h.half;
    gate(a + begin, 1, a + h.half + begin, 1, y.data<float>() + row * h.half + begin, end - begin);
  });
  return y.to(x.dtype());
}

Array glu_gradient(const Array& dy, const Array& x, int64_t axis) {
  const Halves h = halves(x, axis);
  check_shape(dy, h.shape, "glu", "gradient", "[like the output]");
  if (x.device() != Device::cpu) {
    const Array dx(x.shape(), x.dtype(), Format::plain, x.device());
    on_device(&ActivationDevice::glu_gradient, "glu", dx, x.dtype(), dy.to(x.dtype()).plain(), h.x, dx, h.outer,
              h.half);
    return dx;
  }
  const Array x32 = h.x.to(DType::float32);
  const Array g = dy.to(DType::float32).plain();
  Array dx(x.shape());
  const BinaryMap gate = binary_kernels().op[static_cast<int>(Binary::gate)].float32;
  const PartialMap gate_gradient = binary_kernels().partial[static_cast<int>(Partial::gate)];
  over_halves(h, [&](int64_t row, int64_t begin, int64_t end) {
    const float* from = g.data<float>() + row * h.half + begin;
    const float* a = x32.data<float>() + row * 2 * h.half + begin;
    float* da = dx.data<float>() + row * 2 * h.half + begin;
    gate(from, 1, a + h.half, 1, da, end - begin);
    gate_gradient(from, a, 1, a + h.half, 1, da + h.half, end - begin);
  });
  return dx.to(x.dtype());
}

}  // namespace nonet
