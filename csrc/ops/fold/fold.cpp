#include "ops/fold/fold.h"

#include "array/array.h"
#include "array/launch.h"

namespace nonet {

namespace {

// Sizes of images of h x w; planes are the caller's.
FoldShape shape_of(int64_t h, int64_t w, const FoldOptions& o, const char* op) {
  FoldShape s{};
  s.h = h;
  s.w = w;
  s.kh = o.kernel[0];
  s.kw = o.kernel[1];
  for (int a = 0; a < 2; ++a) {
    const auto pair = [&](const int64_t (&v)[2]) { return Shape{v[0], v[1]}; };
    check(o.kernel[a] > 0, op, ": kernel_size must be positive, got ", pair(o.kernel));
    check(o.stride[a] > 0, op, ": stride must be positive, got ", pair(o.stride));
    check(o.dilation[a] > 0, op, ": dilation must be positive, got ", pair(o.dilation));
    check(o.padding[a] >= 0, op, ": padding must not be negative, got ", pair(o.padding));
    s.stride[a] = o.stride[a];
    s.padding[a] = o.padding[a];
    s.dilation[a] = o.dilation[a];
  }
  const auto count = [&](int a, int64_t size, int64_t kernel) {
    const int64_t room = size + 2 * o.padding[a] - o.dilation[a] * (kernel - 1) - 1;
    return room < 0 ? 0 : room / o.stride[a] + 1;
  };
  s.oh = count(0, h, s.kh);
  s.ow = count(1, w, s.kw);
  check(s.oh > 0 && s.ow > 0, op, ": the kernel must not be larger than the padded image, got kernel_size ",
        Shape{s.kh, s.kw}, ", dilation ", Shape{o.dilation[0], o.dilation[1]}, " and an image of ", Shape{h, w});
  return s;
}

}  // namespace

Array unfold(const Array& input, const FoldOptions& options) {
  check_floating(input, "unfold", "input");
  const int rank = input.rank();
  check(rank == 3 || rank == 4, "unfold: input must have shape [N, C, H, W] or [C, H, W], got ", input.shape());
  FoldShape s = shape_of(input.dim(rank - 2), input.dim(rank - 1), options, "unfold");
  const Array x = input.plain();
  const int64_t c = x.dim(rank - 3);
  s.planes = rank == 4 ? x.dim(0) * c : c;
  Shape shape{c * s.kh * s.kw, s.oh * s.ow};
  if (rank == 4) shape = {x.dim(0), c * s.kh * s.kw, s.oh * s.ow};
  const Array y(shape, x.dtype(), Format::plain, x.device());
  if (y.numel() == 0) return y;
  if (x.device() != Device::cpu) {
    on_device(&FoldDevice::unfold, "unfold", y, x.dtype(), x, y, s);
    return y;
  }
  const Array out = x.dtype() == DType::float32 ? y : Array(shape);
  fold_kernels().unfold(x.to(DType::float32).data<float>(), out.data<float>(), s);
  return out.to(x.dtype());
}

Array fold(const Array& input, int64_t height, int64_t width, const FoldOptions& options) {
  check_floating(input, "fold", "input");
  const int rank = input.rank();
  check(rank == 2 || rank == 3, "fold: input must have shape [N, C kh kw, L] or [C kh kw, L], got ", input.shape());
  check(height > 0 && width > 0, "fold: output_size must be positive, got ", Shape{height, width});
  FoldShape s = shape_of(height, width, options, "fold");
  const int64_t rows = input.dim(rank - 2);
  check(rows % (s.kh * s.kw) == 0, "fold: input must have a multiple of kh kw = ", s.kh * s.kw, " rows, got ",
        input.shape());
  check(input.dim(rank - 1) == s.oh * s.ow, "fold: input must have ", s.oh * s.ow,
        " columns for this output_size, kernel_size, stride, padding and dilation, got ", input.shape());
  const int64_t c = rows / (s.kh * s.kw);
  s.planes = rank == 3 ? input.dim(0) * c : c;
  const Shape shape = rank == 3 ? Shape{input.dim(0), c, height, width} : Shape{c, height, width};
  const Array y = input.plain();
  const Array x(shape, y.dtype(), Format::plain, y.device());
  if (x.numel() == 0) return x;
  if (y.device() != Device::cpu) {
    on_device(&FoldDevice::fold, "fold", x, y.dtype(), y, x, s);
    return x;
  }
  const Array out = y.dtype() == DType::float32 ? x : Array(shape);
  fold_kernels().fold(y.to(DType::float32).data<float>(), out.data<float>(), s);
  return out.to(y.dtype());
}

}  // namespace nonet
