// Convolutions as products of matrices: [pixels, kernel positions and channels] times the weights. Kernels of one pixel
// read the image where it lies. For others the patches under the kernel are put side by side, which pays where
// processors multiply bfloat16 terms faster than float32 (see matmul.h).
#include <vector>

#include "array/convert.h"
#include "ops/conv/passes.h"
#include "ops/matmul/matmul.h"

namespace nonet {

namespace {

constexpr int64_t chunk_floats = 4 << 20;  // of patches at a time
constexpr int64_t grain = 16384;           // floats moved by a task
constexpr int64_t least_depth = 32;        // values of a sum that fill a step of terms
constexpr int64_t least_channels = 16;
constexpr int64_t least_pair_depth = 16;  // channels whose patches are not worth their copies on pairs

bool is_pointwise(const ConvSizes& s, const ConvOptions& o) {
  return s.groups == 1 && s.positions() == 1 && o.stride[0] == 1 && o.stride[1] == 1 && s.oh == s.h && s.ow == s.w &&
         o.padding[0] == 0 && o.padding[2] == 0;
}

// depth: of a kernel position.
bool takes_patches(const ConvSizes& s, const ConvOptions& o, int64_t depth, int64_t channels) {
  return s.groups == 1 && multiplies_terms(o.precision) && s.positions() * depth >= least_depth &&
         depth >= (isa() == Isa::amx ? 1 : least_pair_depth) && channels >= least_channels;
}

// C [m, n] (+)= op(A) op(B), all float32 but for what g says.
void multiply(Gemm g, int64_t m, int64_t n, int64_t k, const void* a, bool transpose_a, const void* b, bool transpose_b,
              float* c, Precision precision, const Array* weight = nullptr) {
  g.m = m;
  g.n = n;
  g.k = k;
  g.a = a;
  g.lda = transpose_a ? m : k;
  g.transpose_a = transpose_a;
  g.b = b;
  g.ldb = transpose_b ? k : n;
  g.transpose_b = transpose_b;
  g.c = c;
  g.precision = precision;
  run_gemm(g, weight);
}

Gemm finished(const float* bias, FusedActivation activation) {
  Gemm g{};
  g.bias = bias;
  g.activation = activation;
  return g;
}

// ---------------------------------------------------------------- patches
// What a kernel meets: output pixel (n, y, x) reads rows y stride + i dilation of a window, likewise columns.
struct Patches {
  int64_t rows, cols;  // of output pixels
  int64_t kernel[2], stride[2], dilation[2];
  int64_t depth;

  int64_t floats() const { return kernel[0] * kernel[1] * depth; }
  int64_t height() const { return (rows - 1) * stride[0] + (kernel[0] - 1) * dilation[0] + 1; }
  int64_t width() const { return (cols - 1) * stride[1] + (kernel[1] - 1) * dilation[1] + 1; }
};

Patches patches_of(const ConvSizes& s, const ConvOptions& o) {
  return {s.oh, s.ow, {s.kh, s.kw}, {o.stride[0], o.stride[1]}, {o.dilation[0], o.dilation[1]}, s.c};
}

// Patches of output pixels [first, first + count), counted through the images, to [count, floats()].
template <class T>
void gather(const Patches& p, const Pixels<const T>& in, int64_t first, int64_t count, T* to) {
  const bool whole_rows = p.dilation[1] == 1;
  const int64_t run = whole_rows ? p.kernel[1] * p.depth : p.depth;
  const int64_t runs = whole_rows ? 1 : p.kernel[1];
  parallel_for(count, 1 + grain / p.floats(), [&](int64_t begin, int64_t end) {
    T* out = to + begin * p.floats();
    for (int64_t pixel = first + begin; pixel < first + end; ++pixel) {
      const int64_t row = pixel / p.cols;
      const T* from = in.data + row / p.rows * in.image + row % p.rows * p.stride[0] * in.row +
                      pixel % p.cols * p.stride[1] * in.pixel;
      for (int64_t i = 0; i < p.kernel[0]; ++i, from += p.dilation[0] * in.row) {
        for (int64_t j = 0; j < runs; ++j, out += run) std::copy_n(from + j * p.dilation[1] * in.pixel, run, out);
      }
    }
  });
}

// body(patches, whether they are bfloat16, first pixel, pixels) for all patches of x, which lies `top` rows and `left`
// columns inside its window. Terms of one product are rounded once, here.
template <class Body>
void for_patches(const Patches& p, const Array& x, int64_t top, int64_t left, Precision precision, const Body& body) {
  const Window window{top, left, p.height(), p.width(), x.dim(1)};
  const int64_t step = images_at_a_time(x, window);
  const bool round = precision == Precision::medium;
  const int64_t most = std::max<int64_t>(1, chunk_floats / p.floats());
  Array memory;
  Array rounded;
  Array patches;
  for (int64_t image = 0; image < x.dim(0); image += step) {
    const int64_t images = std::min(step, x.dim(0) - image);
    const int64_t pixels = images * p.rows * p.cols;
    const Pixels<const float> in = windowed(x, image, images, window, memory);
    const int64_t floats = images * in.image;
    if (round) {
      if (!rounded.defined()) rounded = Array(Shape{floats}, DType::bfloat16);
      parallel_for(floats, 65536, [&](int64_t begin, int64_t end) {
        convert_kernels().to_bfloat16(in.data + begin, rounded.data<bfloat16>() + begin, end - begin);
      });
    }
    if (!patches.defined())
      patches = Array(Shape{std::min(most, pixels) * p.floats()}, round ? DType::bfloat16 : DType::float32);
    for (int64_t first = 0; first < pixels; first += most) {
      const int64_t count = std::min(most, pixels - first);
      if (round) {
        gather<bfloat16>(p, {rounded.data<bfloat16>(), in.image, in.row, in.pixel}, first, count,
                         patches.data<bfloat16>());
      } else {
        gather<float>(p, in, first, count, patches.data<float>());
      }
      body(patches.address(), round, image * p.rows * p.cols + first, count);
    }
  }
}

// W [O, C, kh, kw] -> [O][kh][kw][C], or, rotated, [C][kh][kw][O] with kernels turned about.
Array reordered(const Array& weight, const ConvSizes& s, bool rotated) {
  const Array out(Shape{s.weights()});
  const float* w = weight.data<float>();
  float* to = out.data<float>();
  const int64_t positions = s.positions();
  const int64_t rows = rotated ? s.c : s.o;
  const int64_t depth = rotated ? s.o : s.c;
  parallel_for(rows, 1 + grain / (positions * depth), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      for (int64_t p = 0; p < positions; ++p) {
        float* line = to + (row * positions + p) * depth;
        for (int64_t k = 0; k < depth; ++k)
          line[k] = rotated ? w[(k * s.c + row) * positions + positions - 1 - p] : w[(row * s.c + k) * positions + p];
      }
    }
  });
  return out;
}

void convolve(const Patches& p, const Array& from, int64_t top, int64_t left, const Array& weights, const float* bias,
              const ConvOptions& o, const Array& to) {
  const int64_t channels = to.dim(1);
  for_patches(p, from, top, left, o.precision, [&](const void* patches, bool rounded, int64_t first, int64_t count) {
    Gemm g = finished(bias, o.activation);
    g.a_is_bfloat16 = rounded;
    multiply(g, count, channels, p.floats(), patches, false, weights.data<float>(), true,
             to.raw<float>() + first * channels, o.precision);
  });
}

}  // namespace

bool gemm_forward(const Array& x, const Array& weight, const float* bias, const ConvSizes& s, const ConvOptions& o,
                  const Array& y) {
  if (is_pointwise(s, o)) {
    const Array a = x.to_format(Format::nhwc);
    multiply(finished(bias, o.activation), s.n * s.oh * s.ow, s.o, s.c, a.address(), false, weight.address(), true,
             y.raw<float>(), o.precision, &weight);
    return true;
  }
  if (!takes_patches(s, o, s.in, s.out)) return false;
  convolve(patches_of(s, o), x, o.padding[0], o.padding[2], reordered(weight, s, false), bias, o, y);
  return true;
}

bool gemm_input(const Array& dy, const Array& weight, const float* bias, const ConvSizes& s, const ConvOptions& o,
                const Array& dx) {
  if (is_pointwise(s, o)) {
    const Array a = dy.to_format(Format::nhwc);
    multiply(finished(bias, o.activation), s.n * s.oh * s.ow, s.c, s.o, a.address(), false, weight.address(), false,
             dx.raw<float>(), o.precision);
    return true;
  }
  if (o.stride[0] != 1 || o.stride[1] != 1 || !takes_patches(s, o, s.out, s.in)) return false;
  const Patches p{s.h, s.w, {s.kh, s.kw}, {1, 1}, {o.dilation[0], o.dilation[1]}, s.o};
  convolve(p, dy, (s.kh - 1) * o.dilation[0] - o.padding[0], (s.kw - 1) * o.dilation[1] - o.padding[2],
           reordered(weight, s, true), bias, o, dx);
  return true;
}

bool gemm_weight(const Array& dy, const Array& x, const ConvSizes& s, const ConvOptions& o, const Array& dweight) {
  const Array d = dy.to_format(Format::nhwc);
  if (is_pointwise(s, o)) {
    const Array b = x.to_format(Format::nhwc);
    multiply({}, s.o, s.c, s.n * s.oh * s.ow, d.address(), true, b.address(), false, dweight.data<float>(),
             o.precision);
    return true;
  }
  if (!takes_patches(s, o, s.in, s.out)) return false;
  const Array sums(Shape{s.weights()});  // [O][kh][kw][C]
  const auto add = [&](const void* patches, bool rounded, int64_t first, int64_t count) {
    Gemm g{};
    g.b_is_bfloat16 = rounded;
    g.accumulate = first > 0;
    multiply(g, s.o, s.c * s.positions(), count, d.raw<float>() + first * s.o, true, patches, false, sums.data<float>(),
             o.precision);
  };
  for_patches(patches_of(s, o), x, o.padding[0], o.padding[2], o.precision, add);
  const float* from = sums.data<float>();
  float* to = dweight.data<float>();
  const int64_t positions = s.positions();
  parallel_for(s.o, 1 + grain / (positions * s.c), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t at = row * positions * s.c;
      for (int64_t c = 0; c < s.c; ++c) {
        for (int64_t p = 0; p < positions; ++p) to[at + c * positions + p] = from[at + p * s.c + c];
      }
    }
  });
  return true;
}

bool multiplies_terms(Precision precision) {
  return isa() == Isa::amx ? precision != Precision::ieee : multiplies_pairs(precision);
}

bool multiplies_pairs(Precision precision) {
  return isa() == Isa::avx512_bf16 && precision == Precision::medium;
}

bool prefers_gemm(const ConvOptions& o) {
  return isa() == Isa::amx && (o.precision == Precision::medium || o.precision == Precision::high);
}

}  // namespace nonet
