#include "ops/loss/pair.h"

#include "simd/math.h"
//
#include "ops/loss/pair_rules.h"

namespace nonet::NONET_NS {

namespace {

typedef double D __attribute__((vector_size(8 * NONET_WIDTH)));

NONET_INLINE pair::In operands(const PairOperands& p, int64_t i, int64_t lanes) {
  const F one = broadcast(1.f);
  return {load_lanes(p.x + i, lanes),
          load_lanes(p.y + i, lanes),
          p.a == nullptr ? one : load_lanes(p.a + i, lanes),
          p.b == nullptr ? one : load_lanes(p.b + i, lanes),
          broadcast(p.c),
          p.full};
}

template <class Rule>
void forward_rule(const PairOperands& in, float* loss, double* sums, int64_t n) {
  parallel_for(n, pair_block, [&](int64_t begin, int64_t end) {
    D sum{};
    for_vectors(end - begin, [&](int64_t i, int64_t lanes) {
      const F v = Rule::loss(operands(in, begin + i, lanes));
      if (loss != nullptr) {
        store_lanes(loss + begin + i, v, lanes);
      } else {
        sum += __builtin_convertvector(lanes == width ? v : keep_lanes(v, lanes, 0.f), D);
      }
    });
    if (loss != nullptr) return;
    double total = 0;
    for (int lane = 0; lane < width; ++lane) total += sum[lane];
    sums[begin / pair_block] = total;
  });
}

template <class Rule>
void backward_rule(const PairOperands& in, const float* dloss, bool uniform, float scale, const PairGradients& out,
                   int64_t n) {
  parallel_for(n, pair_block, [&](int64_t begin, int64_t end) {
    const F whole = broadcast(uniform ? *dloss * scale : 0.f);
    for_vectors(end - begin, [&](int64_t i, int64_t lanes) {
      const int64_t at = begin + i;
      const F g = uniform ? whole : load_lanes(dloss + at, lanes) * scale;
      const pair::Out d = Rule::gradient(operands(in, at, lanes));
      if (out.x != nullptr) store_lanes(out.x + at, g * d.x, lanes);
      if (out.y != nullptr) store_lanes(out.y + at, g * d.y, lanes);
      if (out.a != nullptr) store_lanes(out.a + at, g * d.a, lanes);
    });
  });
}

void forward(PairLoss kind, const PairOperands& in, float* loss, double* sums, int64_t n) {
  pair::visit_rule(kind, [&](auto rule) { forward_rule<decltype(rule)>(in, loss, sums, n); });
}

void backward(PairLoss kind, const PairOperands& in, const float* dloss, bool uniform, float scale,
              const PairGradients& out, int64_t n) {
  pair::visit_rule(kind, [&](auto rule) { backward_rule<decltype(rule)>(in, dloss, uniform, scale, out, n); });
}

bool inside(const float* x, int64_t n, float low, float high) {
  int outside = 0;
  parallel_for(n, 4 * pair_block, [&](int64_t begin, int64_t end) {
    I bad{};
    for_vectors(end - begin, [&](int64_t i, int64_t lanes) {
      const F v = load_lanes(x + begin + i, lanes);
      bad |= ~((v >= low) & (v <= high)) & (lane_numbers() < static_cast<int32_t>(lanes));
    });
    for (int lane = 0; lane < width; ++lane) {
      if (bad[lane] != 0) __atomic_store_n(&outside, 1, __ATOMIC_RELAXED);
    }
  });
  return outside == 0;
}

}  // namespace

constinit const PairLossKernels pair_loss_kernels = {forward, backward, inside};

}  // namespace nonet::NONET_NS
