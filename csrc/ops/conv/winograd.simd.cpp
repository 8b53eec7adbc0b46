#include "ops/conv/winograd_engine.h"

namespace nonet::NONET_NS {

namespace {

struct FloatValues {
  static constexpr int64_t count = 1;
  static constexpr int64_t chains = 1;  // how many times as long sums may be
  static constexpr int64_t gradient_chain = 64;

  NONET_INLINE void store(float* row, int64_t channel, F v) { NONET_NS::store(row + channel, v); }
  NONET_INLINE F join(F first, F) { return first; }
  template <Order order>
  NONET_INLINE void multiply(int64_t rows, int64_t cols, const Product& product) {
    brgemm<order>(rows, cols, product, NoEpilogue{});
  }
};

}  // namespace

constinit const WinogradKernels winograd_kernels = winograd_on<FloatValues>;

}  // namespace nonet::NONET_NS
