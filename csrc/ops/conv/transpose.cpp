// Transposed convolution: the passes of the convolution whose output is this one's input, the other way round.
#include <algorithm>

#include "array/array.h"
#include "ops/conv/conv.h"
#include "ops/conv/device.h"
#include "ops/conv/passes.h"
#include "ops/matmul/linear.h"
#include "ops/shape/shape.h"

namespace nonet {

namespace {

// Sizes of the convolution that this one transposes: c, h, w are those of the result, o, oh, ow of the input. Checks
// everything; x may lack the batch axis.
ConvSizes sizes_of(const Array& x, const Array& weight, const Array& bias, const ConvOptions& o) {
  check_options(o);
  check_dtypes(x, weight, bias, o);
  const int rank = weight.rank() - 2;  // of the image
  const bool line = rank == 1;
  check(x.rank() == rank + 1 || x.rank() == rank + 2, o.op, ": input must have shape ",
        line ? "[N, C, L] or [C, L]" : "[N, C, H, W] or [C, H, W]", ", got ", x.shape());
  const int at = x.rank() - rank;
  const int64_t in = x.dim(at - 1);
  check(in % o.groups == 0, o.op, ": groups must divide the channels in and out, got ", o.groups, " groups of ", in,
        " channels in");
  check(weight.dim(0) == in, o.op, ": weight must have shape ",
        line ? "[in, out/groups, k]" : "[in, out/groups, kh, kw]", " = ", weight.shape().with(0, in), ", got ",
        weight.shape());
  ConvSizes s{};
  s.n = at == 2 ? x.dim(0) : 1;
  s.o = in;
  s.oh = line ? 1 : x.dim(at);
  s.ow = x.dim(x.rank() - 1);
  s.c = weight.dim(1) * o.groups;
  s.kh = line ? 1 : weight.dim(2);
  s.kw = weight.dim(weight.rank() - 1);
  s.groups = o.groups;
  s.in = weight.dim(1);
  s.out = in / o.groups;
  check(s.kh > 0 && s.kw > 0, o.op, ": weight must have a kernel of at least one element, got ", weight.shape());
  check(s.oh > 0 && s.ow > 0, o.op, ": input must have no empty axis but N and C, got ", x.shape());
  if (bias.defined()) check_shape(bias, {s.c}, o.op, "bias", "[out]");
  const auto size = [&](int axis, int64_t pixels, int64_t kernel) {
    const int64_t more = o.output_padding[axis];
    check(more >= 0 && more < std::max(o.stride[axis], o.dilation[axis]), o.op,
          ": output_padding must be at least 0 and smaller than stride or dilation, got ", more, " with stride ",
          o.stride[axis], " and dilation ", o.dilation[axis]);
    return (pixels - 1) * o.stride[axis] - o.padding[2 * axis] - o.padding[2 * axis + 1] +
           o.dilation[axis] * (kernel - 1) + more + 1;
  };
  s.h = size(0, s.oh, s.kh);
  s.w = size(1, s.ow, s.kw);
  check(s.h > 0 && s.w > 0, o.op, ": padding leaves nothing of the output, of size (", s.h, ", ", s.w, ")");
  return s;
}

// One pixel under a kernel that covers the output: Y [N, C kh kw] = X [N, O] W, and every pixel of Y is one product.
// As a correlation it would be kh kw products, each with all but one kernel position in the padding.
bool is_product(const ConvSizes& s, const ConvOptions& o) {
  return s.groups == 1 && s.oh == 1 && s.ow == 1 && s.h == s.kh && s.w == s.kw && o.padding[0] == 0 &&
         o.padding[2] == 0;
}

bool is_bfloat16(const Array& x) {
  return x.dtype() == DType::bfloat16;
}

// C [m, n] = op(A) op(B), on their device.
void product(const Array& a, bool transpose_a, const Array& b, bool transpose_b, const Array& c, int64_t m, int64_t n,
             int64_t k, Gemm g, const ConvOptions& o, const Array* weight) {
  g.m = m;
  g.n = n;
  g.k = k;
  g.a = a.address();
  g.lda = transpose_a ? m : k;
  g.transpose_a = transpose_a;
  g.b = b.address();
  g.ldb = transpose_b ? k : n;
  g.transpose_b = transpose_b;
  g.c = c.address();
  g.a_is_bfloat16 = is_bfloat16(a);
  g.b_is_bfloat16 = is_bfloat16(b);
  g.c_is_bfloat16 = is_bfloat16(c);
  g.precision = o.precision;
  run_gemm(g, c, o.op, weight);
}

Array product_forward(const Array& x, const Array& weight, const Array& bias, const ConvSizes& s, const ConvOptions& o,
                      DType dtype) {
  const Array y({s.n, s.c, s.h, s.w}, dtype, Format::plain, x.device());
  Gemm g{};
  Array each;  // the bias of a channel at all of its pixels
  if (bias.defined()) {
    each = expand(bias.to(DType::float32).reshape({s.c, 1}), {s.c, s.positions()}).plain();
    g.bias = static_cast<const float*>(each.address());
  }
  g.activation = o.activation;
  product(x.plain(), false, weight, false, y, s.n, s.c * s.positions(), s.o, g, o, &weight);
  return y.to_format(Format::nhwc);
}

void product_backward(const Array& dz, const Array& x, const Array& weight, const ConvSizes& s, const ConvOptions& o,
                      const LayerGradients& out) {
  const Array d = dz.plain();
  const int64_t columns = s.c * s.positions();
  if (out.dx != nullptr) {
    const Array dx = Array(x.shape(), x.dtype(), Format::plain, x.device());
    product(d, false, weight, true, dx, s.n, s.o, columns, {}, o, nullptr);
    *out.dx = dx;
  }
  if (out.dweight != nullptr) {
    const Array dw = gradient_target(*out.dweight, weight.shape(), o.op, weight.dtype(), x.device());
    product(x.plain(), true, d, false, dw, s.o, columns, s.n, {}, o, nullptr);
    deliver_gradient(dw, weight.dtype(), *out.dweight, o.op);
  }
}

void cpu_backward(const Array& dz, const Array& x, const Array& weight, const ConvSizes& s, const ConvOptions& o,
                  const LayerGradients& out) {
  if (out.dx != nullptr) {
    const Array dx(x.shape(), DType::float32, Format::nhwc);
    if (dx.numel() > 0) pass_forward(dz, weight.to(DType::float32), nullptr, s, o, dx);
    *out.dx = dx.to(x.dtype());
  }
  if (out.dweight != nullptr) {
    const Array dw = gradient_target(*out.dweight, weight.shape(), o.op);
    if (s.n == 0) std::fill_n(dw.raw<char>(), dw.bytes(), char{0});
    if (dw.numel() > 0 && s.n > 0) pass_weight(x.to(DType::float32), dz, s, o, dw);
    deliver_gradient(dw, weight.dtype(), *out.dweight, o.op);
  }
}

void device_transpose_backward(const Array& dz, const Array& x, const Array& weight, const ConvSizes& s,
                               const ConvOptions& o, const LayerGradients& out) {
  if (out.dx != nullptr) *out.dx = device_forward(dz, weight, Array(), s, o);
  if (out.dweight != nullptr) device_weight(x, dz, weight, s, o, *out.dweight);
}

}  // namespace

Array conv_transpose_forward(const Array& x, const Array& weight, const Array& bias, const ConvOptions& options) {
  const ConvSizes s = sizes_of(x, weight, bias, options);
  const int rank = weight.rank() - 2;
  const DType dtype = options.mixed ? DType::bfloat16 : x.dtype();
  const Array images = as_images(x, rank, x.rank() == rank + 2);
  if (is_product(s, options)) {
    return like_input(product_forward(images, as_kernels(weight), bias, s, options, dtype), x, rank);
  }
  if (x.device() != Device::cpu) {
    return like_input(device_input(images, as_kernels(weight), bias, s, options).to(dtype), x, rank);
  }
  const Array b = bias.defined() ? bias.to(DType::float32) : bias;
  const Array y({s.n, s.c, s.h, s.w}, DType::float32, Format::nhwc);
  if (y.numel() > 0) {
    pass_input(images.to(DType::float32), as_kernels(weight).to(DType::float32),
               b.defined() ? b.data<float>() : nullptr, s, options, y);
  }
  return like_input(y.to(dtype), x, rank);
}

void conv_transpose_backward(const Array& dy, const Array& x, const Array& weight, const Array& y,
                             const ConvOptions& options, const LayerGradients& out) {
  const ConvSizes s = sizes_of(x, weight, Array(), options);
  const int rank = weight.rank() - 2;
  const bool batched = x.rank() == rank + 2;
  const bool activated = options.activation != FusedActivation::none;
  const bool on_cpu = x.device() == Device::cpu;
  const Array d = as_images(dy, rank, batched);
  check(d.shape() == Shape{s.n, s.c, s.h, s.w}, options.op, ": gradient must have the output's shape, got ",
        dy.shape());
  const Array saved = activated ? as_images(y, rank, batched) : y;
  const Array dz = on_cpu
                       ? pass_activation(d, saved, options.activation)
                       : device_activation_gradient(d, saved, options.activation).to(x.dtype()).to_format(Format::nhwc);
  const Array images = as_images(x, rank, batched);
  const Array kernels = as_kernels(weight);
  ConvOptions linear = options;
  linear.activation = FusedActivation::none;
  const bool given = out.dweight != nullptr && out.dweight->defined();
  Array dw = given ? as_kernels(*out.dweight) : Array();
  const LayerGradients both{out.dx, out.dweight == nullptr ? nullptr : &dw, nullptr};
  if (is_product(s, options)) {
    product_backward(dz, images, kernels, s, linear, both);
  } else if (on_cpu) {
    cpu_backward(dz, images, kernels, s, linear, both);
  } else {
    device_transpose_backward(dz, images, kernels, s, linear, both);
  }
  if (out.dx != nullptr) *out.dx = like_input(*out.dx, x, rank);
  if (out.dweight != nullptr && !given) *out.dweight = dw.reshape(weight.shape());
  if (out.dbias != nullptr) {
    const Array db = gradient_target(*out.dbias, {s.c}, options.op, DType::float32, x.device());
    bias_gradient(dz, s.n * s.h * s.w, s.c, db);
    deliver_gradient(db, weight.dtype(), *out.dbias, options.op);
  }
}

}  // namespace nonet
