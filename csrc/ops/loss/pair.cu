#include "cuda/scalar.cuh"
#include "ops/loss/sum.cuh"
//
#include "ops/loss/pair_rules.h"

namespace nonet::NONET_CUDA_NS {

namespace {

// Of the losses that networks spend time in; one element at a time is less code for the others.
template <class Rule>
constexpr int pack_of = 1;
template <>
constexpr int pack_of<pair::L1> = 4;
template <>
constexpr int pack_of<pair::Mse> = 4;
template <>
constexpr int pack_of<pair::SmoothL1> = 4;
template <>
constexpr int pack_of<pair::BceLogits> = 4;

// Packs of the operands; absent ones are 1.
template <int size>
struct Operands {
  Pack<float, size> x, y, a, b;

  NONET_DEVICE Operands(const PairOperands& in, int64_t i)
      : x(load_pack<size>(in.x + i)), y(load_pack<size>(in.y + i)), a(one(in.a, i)), b(one(in.b, i)) {}
  NONET_DEVICE pair::In at(const PairOperands& in, int k) const { return {x[k], y[k], a[k], b[k], in.c, in.full}; }

 private:
  NONET_DEVICE static Pack<float, size> one(const float* p, int64_t i) {
    if (p != nullptr) return load_pack<size>(p + i);
    Pack<float, size> out;
    NONET_UNROLL
    for (int k = 0; k < size; ++k) out[k] = 1.f;
    return out;
  }
};

template <int pack>
NONET_DEVICE bool are_aligned(const PairOperands& in) {
  return is_aligned<pack>(in.x) && is_aligned<pack>(in.y) && is_aligned<pack>(in.a) && is_aligned<pack>(in.b);
}

template <class Rule>
struct Forward {
  static constexpr int pack = pack_of<Rule>;

  // Elements into `loss`, or where that is null the sum.
  NONET_DEVICE void operator()(const PairOperands& in, float* loss, int64_t n, const LossSum<float>& total) const {
    double sum = 0;
    for_long_packs<pack>(n, are_aligned<pack>(in) && is_aligned<pack>(loss), [&](int64_t i, auto count) {
      constexpr int size = decltype(count)::value;
      const Operands<size> operands(in, i);
      Pack<float, size> out;
      NONET_UNROLL
      for (int k = 0; k < size; ++k) out[k] = Rule::loss(operands.at(in, k));
      if (loss != nullptr) return store_pack(loss + i, out);
      NONET_UNROLL
      for (int k = 0; k < size; ++k) sum += out[k];
    });
    if (loss == nullptr) total.leave(sum);
  }
};

struct Gradients {
  float* x;
  float* y;
  float* a;
};

template <class Rule>
struct Backward {
  static constexpr int pack = pack_of<Rule>;

  NONET_DEVICE void operator()(const PairOperands& in, const float* dloss, bool uniform, float scale,
                               const Gradients& out, int64_t n) const {
    const bool packed = are_aligned<pack>(in) && is_aligned<pack>(out.x) && is_aligned<pack>(out.y) &&
                        is_aligned<pack>(out.a) && (uniform || is_aligned<pack>(dloss));
    const float whole = uniform ? *dloss * scale : 0.f;
    for_long_packs<pack>(n, packed, [&](int64_t i, auto count) {
      constexpr int size = decltype(count)::value;
      const Operands<size> operands(in, i);
      Pack<float, size> g{};
      if (!uniform) g = load_pack<size>(dloss + i);
      Pack<float, size> dx;
      Pack<float, size> dy;
      Pack<float, size> da;
      NONET_UNROLL
      for (int k = 0; k < size; ++k) {
        const pair::Out d = Rule::gradient(operands.at(in, k));
        const float factor = uniform ? whole : g[k] * scale;
        dx[k] = factor * d.x;
        dy[k] = factor * d.y;
        da[k] = factor * d.a;
      }
      if (out.x != nullptr) store_pack(out.x + i, dx);
      if (out.y != nullptr) store_pack(out.y + i, dy);
      if (out.a != nullptr) store_pack(out.a + i, da);
    });
  }
};

void forward(Stream stream, PairLoss kind, const float* x, const float* y, const float* a, const float* b, float c,
             bool full, float* loss, double* parts, double divisor, int64_t n) {
  const PairOperands in{x, y, a, b, c, full};
  pair::visit_rule(kind, [&](auto rule) {
    constexpr int pack = pack_of<decltype(rule)>;
    const Forward<decltype(rule)> kernel;
    const LossSum<float> sum{divisor, nullptr, parts, loss};
    if (parts == nullptr) return run_elements(stream, (n + pack - 1) / pack, kernel, in, loss, n, sum);
    run_loss_sum(stream, n, sum, kernel, in, static_cast<float*>(nullptr), n);
  });
}

void backward(Stream stream, PairLoss kind, const float* x, const float* y, const float* a, const float* b, float c,
              bool full, const float* dloss, bool uniform, float scale, float* dx, float* dy, float* da, int64_t n) {
  const PairOperands in{x, y, a, b, c, full};
  pair::visit_rule(kind, [&](auto rule) {
    constexpr int pack = pack_of<decltype(rule)>;
    run_elements(stream, (n + pack - 1) / pack, Backward<decltype(rule)>{}, in, dloss, uniform, scale,
                 Gradients{dx, dy, da}, n);
  });
}

}  // namespace

NONET_DEVICE_TABLE(PairLossDevice, simt, {forward, backward});

}  // namespace nonet::NONET_CUDA_NS
