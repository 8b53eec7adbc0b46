#include "base/dtype.h"
#include "cuda/divide.cuh"
#include "cuda/elements.cuh"
#include "cuda/table.cuh"
#include "ops/fold/fold.h"

namespace nonet::NONET_CUDA_NS {

namespace {

// One axis: position p of the patches and kernel element k lie on pixel p stride + k dilation - padding.
template <class I>
struct FoldAxis {
  Divisor<I> pixels, kernel, patches, stride;
  I padding, dilation;

  FoldAxis(int64_t n, int64_t kernel_size, int64_t count, const FoldShape& s, int a)
      : pixels(n),
        kernel(kernel_size),
        patches(count),
        stride(s.stride[a]),
        padding(static_cast<I>(s.padding[a])),
        dilation(static_cast<I>(s.dilation[a])) {}

  // The pixel, or -1.
  NONET_DEVICE I source(I p, I k) const {
    const I at = p * stride.value + k * dilation - padding;
    return at < pixels.value ? at : -1;
  }
  // The patch whose kernel element k lies on the pixel, or -1.
  NONET_DEVICE I patch(I pixel, I k) const {
    const I at = pixel + padding - k * dilation;
    if (at < 0) return -1;
    const I p = stride.quotient(at);
    return p * stride.value == at && p < patches.value ? p : -1;
  }
};

template <class I>
struct FoldAxes {
  FoldAxis<I> rows, columns;

  explicit FoldAxes(const FoldShape& s) : rows(s.h, s.kh, s.oh, s, 0), columns(s.w, s.kw, s.ow, s, 1) {}
};

template <class T, class I>
struct Unfold {
  NONET_DEVICE void operator()(const T* x, T* y, int64_t n, const FoldAxes<I>& a) const {
    for_grid(n, [&](int64_t i) {
      const I line = a.columns.patches.quotient(static_cast<I>(i));
      const I q = static_cast<I>(i) - line * a.columns.patches.value;
      const I position = a.rows.patches.quotient(line);
      const I p = line - position * a.rows.patches.value;
      const I kernel_row = a.columns.kernel.quotient(position);
      const I kx = position - kernel_row * a.columns.kernel.value;
      const I plane = a.rows.kernel.quotient(kernel_row);
      const I ky = kernel_row - plane * a.rows.kernel.value;
      const I row = a.rows.source(p, ky);
      const I column = a.columns.source(q, kx);
      y[i] = row < 0 || column < 0 ? T{} : x[(plane * a.rows.pixels.value + row) * a.columns.pixels.value + column];
    });
  }
};

// Every pixel adds up the patches above it.
template <class T, class I>
struct Fold {
  NONET_DEVICE void operator()(const T* y, T* x, int64_t n, const FoldAxes<I>& a) const {
    for_grid(n, [&](int64_t i) {
      const I line = a.columns.pixels.quotient(static_cast<I>(i));
      const I column = static_cast<I>(i) - line * a.columns.pixels.value;
      const I plane = a.rows.pixels.quotient(line);
      const I row = line - plane * a.rows.pixels.value;
      float sum = 0;
      for (I ky = 0; ky < a.rows.kernel.value; ++ky) {
        const I p = a.rows.patch(row, ky);
        if (p < 0) continue;
        const I kernel_row = plane * a.rows.kernel.value + ky;
        for (I kx = 0; kx < a.columns.kernel.value; ++kx) {
          const I q = a.columns.patch(column, kx);
          if (q < 0) continue;
          const I position = kernel_row * a.columns.kernel.value + kx;
          sum += as_float(y[(position * a.rows.patches.value + p) * a.columns.patches.value + q]);
        }
      }
      x[i] = from_float<T>(sum);
    });
  }
};

template <template <class, class> class Kernel>
void run_fold(Stream stream, DType dtype, const void* from, void* to, int64_t n, const FoldShape& s) {
  const int64_t pixels = s.planes * s.h * s.w;
  const int64_t patches = s.planes * s.kh * s.kw * s.oh * s.ow;
  // What a kernel computes on the way to an index: a pixel in the padding, or one of another kernel element.
  const int64_t reach = s.h + s.w + 2 * (s.padding[0] + s.padding[1]) + s.kh * s.dilation[0] + s.kw * s.dilation[1];
  visit_floating(dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    visit_index((pixels > patches ? pixels : patches) + reach, [&](auto index) {
      using I = decltype(index);
      run_elements(stream, n, Kernel<T, I>{}, static_cast<const T*>(from), static_cast<T*>(to), n, FoldAxes<I>(s));
    });
  });
}

void unfold(Stream stream, DType dtype, const void* x, void* y, const FoldShape& s) {
  run_fold<Unfold>(stream, dtype, x, y, s.planes * s.kh * s.kw * s.oh * s.ow, s);
}

void fold(Stream stream, DType dtype, const void* y, void* x, const FoldShape& s) {
  run_fold<Fold>(stream, dtype, y, x, s.planes * s.h * s.w, s);
}

}  // namespace

NONET_DEVICE_TABLE(FoldDevice, simt, {unfold, fold});

}  // namespace nonet::NONET_CUDA_NS
