// Weights in the form that a path reads, and the copies of them that are kept.
#include "ops/conv/layout.h"
#include "ops/conv/passes.h"
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

struct Tiled {
  int64_t stride;
  bool rotated, pairs;
};
constexpr Tiled tiled(Weights form) {
  const int code = static_cast<int>(form) - static_cast<int>(Weights::tiles);
  return {code / 4 + 1, code % 2 == 1, code / 2 % 2 == 1};
}

int64_t floats_of(const ConvSizes& s, Weights form) {
  if (form >= Weights::tiles) {
    const Tiled t = tiled(form);
    return winograd_floats(s, t.stride, t.rotated, t.pairs);
  }
  const bool by_out = form == Weights::forward || form == Weights::forward_pairs;
  const bool pairs = form == Weights::forward_pairs || form == Weights::backward_pairs;
  const int64_t columns = by_out ? s.out : s.in;
  const int64_t depth = (by_out ? s.in : s.out) / (pairs ? 2 : 1);
  return s.groups * s.positions() * ((columns + 31) / 32) * 32 * depth;
}

void pair_rows([[maybe_unused]] const Array& panels, [[maybe_unused]] float* to) {
#if defined(__x86_64__)
  avx512::conv_pair_kernels.pair_rows(panels.data<float>(), panels.numel() / 64, to);
#endif
}

template <Weights form>
void prepare(const Gemm& g, void* to) {
  const ConvSizes s = sizes_of(g);
  const auto* from = static_cast<const float*>(g.b);
  auto* out = static_cast<float*>(to);
  if constexpr (form == Weights::forward) pack_forward(from, s, out);
  if constexpr (form == Weights::backward) pack_backward(from, s, out);
  if constexpr (form == Weights::forward_pairs || form == Weights::backward_pairs) {
    constexpr Weights floats = form == Weights::forward_pairs ? Weights::forward : Weights::backward;
    const Array panels(Shape{floats_of(s, floats)});
    prepare<floats>(g, panels.data<float>());
    pair_rows(panels, out);
  }
  if constexpr (form >= Weights::tiles) {
    const Tiled t = tiled(form);
    winograd_weights(from, s, t.stride, t.rotated, t.pairs, out);
  }
}
template <Weights form>
constexpr MatmulKernels packer{nullptr, nullptr, nullptr, prepare<form>};
constexpr const MatmulKernels* packers[] = {&packer<Weights::forward>,
                                            &packer<Weights::backward>,
                                            &packer<Weights::forward_pairs>,
                                            &packer<Weights::backward_pairs>,
                                            &packer<Weights::tiles>,
                                            &packer<Weights::rotated>,
                                            &packer<Weights::tile_pairs>,
                                            &packer<Weights::rotated_pairs>,
                                            &packer<Weights::strided_tiles>,
                                            &packer<Weights::strided_rotated>,
                                            &packer<Weights::strided_tile_pairs>,
                                            &packer<Weights::strided_rotated_pairs>};

}  // namespace

Array prepared(const Array& weight, const ConvSizes& s, Weights form, bool keep) {
  const MatmulKernels& packer = *packers[static_cast<int>(form)];
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
