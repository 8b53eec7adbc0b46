// Weights in the form that a path reads, and the copies of them that are kept.
#include "ops/conv/layout.h"
#include "ops/conv/winograd.h"
#include "ops/matmul/packed.h"

namespace nonet {

namespace {

// The cache of packed weights knows products: n is O, k the channels in of a group, ldb says the rest.
constexpr int64_t largest_kernel = 1 << 16;

int64_t shape_code(const ConvSizes& s) {
  return (s.groups * largest_kernel + s.kh) * largest_kernel + s.kw;
}
ConvSizes sizes_of(const Gemm& g) {
  ConvSizes s{};
  s.o = g.n;
  s.in = g.k;
  s.kw = g.ldb % largest_kernel;
  s.kh = g.ldb / largest_kernel % largest_kernel;
  s.groups = g.ldb / largest_kernel / largest_kernel;
  s.c = s.in * s.groups;
  s.out = s.o / s.groups;
  return s;
}

template <Weights form>
void prepare(const Gemm& g, void* to) {
  const ConvSizes s = sizes_of(g);
  const auto* from = static_cast<const float*>(g.b);
  auto* out = static_cast<float*>(to);
  if constexpr (form == Weights::forward) pack_forward(from, s, out);
  if constexpr (form == Weights::backward) pack_backward(from, s, out);
  if constexpr (form == Weights::tiles) winograd_kernels().weights(from, s.o, s.in, false, out);
  if constexpr (form == Weights::rotated) winograd_kernels().weights(from, s.o, s.in, true, out);
}
constexpr MatmulKernels packers[] = {{nullptr, nullptr, nullptr, prepare<Weights::forward>},
                                     {nullptr, nullptr, nullptr, prepare<Weights::backward>},
                                     {nullptr, nullptr, nullptr, prepare<Weights::tiles>},
                                     {nullptr, nullptr, nullptr, prepare<Weights::rotated>}};

int64_t floats_of(const ConvSizes& s, Weights form) {
  const bool by_out = form == Weights::forward || form == Weights::tiles;
  const int64_t columns = by_out ? s.out : s.in;
  const int64_t depth = by_out ? s.in : s.out;
  const bool panels = form == Weights::forward || form == Weights::backward;
  return s.groups * (panels ? s.positions() : 16) * ((columns + 31) / 32) * 32 * depth;
}

}  // namespace

Array prepared(const Array& weight, const ConvSizes& s, Weights form, bool keep) {
  const MatmulKernels& packer = packers[static_cast<int>(form)];
  const Gemm g{.m = 0,
               .n = s.o,
               .k = s.in,
               .a = nullptr,
               .lda = 0,
               .transpose_a = false,
               .b = weight.data<float>(),
               .ldb = shape_code(s),
               .transpose_b = false,
               .c = nullptr};
  const int64_t floats = floats_of(s, form);
  Array out;
  if (keep && floats > 0 && s.kh < largest_kernel && s.kw < largest_kernel)
    out = packed_weight(g, packer, weight, floats * static_cast<int64_t>(sizeof(float)));
  if (out.defined()) return out;
  out = Array(Shape{floats});
  packer.pack_b(g, out.data<float>());
  return out;
}

}  // namespace nonet
