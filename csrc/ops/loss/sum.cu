#include <cmath>

#include "ops/loss/sum.cuh"

namespace nonet::NONET_CUDA_NS {

namespace {

struct Total {
  NONET_DEVICE void operator()(const float* values, int64_t n, const LossSum<float>& loss) const {
    double sum = 0;
    for_packs<4>(n, is_aligned<4>(values), [&](int64_t i, auto count) {
      constexpr int size = decltype(count)::value;
      const auto v = load_pack<size>(values + i);
      NONET_UNROLL
      for (int k = 0; k < size; ++k) sum += v[k];
    });
    loss.leave(sum);
  }
};

void total(Stream stream, const float* values, int64_t n, double divisor, const double* weight, double* parts,
           float* out) {
  run_loss_sum(stream, n, LossSum<float>{divisor, weight, parts, out}, Total{}, values, n);
}

struct TargetWeight {
  NONET_DEVICE void operator()(const int64_t* target, const float* weight, int64_t ignore, int64_t classes, int64_t n,
                               const LossSum<double>& loss) const {
    double sum = 0;
    for_grid(n, [&](int64_t i) {
      const int64_t t = target[i];
      if (t == ignore) return;
      sum += weight == nullptr ? 1.f : (t >= 0 && t < classes ? weight[t] : NAN);
    });
    loss.leave(sum);
  }
};

void target_weight(Stream stream, const int64_t* target, const float* weight, int64_t ignore, int64_t classes,
                   int64_t n, double* parts, double* out) {
  run_loss_sum(stream, n, LossSum<double>{1., nullptr, parts, out}, TargetWeight{}, target, weight, ignore, classes, n);
}

}  // namespace

NONET_DEVICE_TABLE(LossDevice, simt, {total, target_weight});

}  // namespace nonet::NONET_CUDA_NS
