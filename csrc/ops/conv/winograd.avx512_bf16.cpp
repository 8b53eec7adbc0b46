#include "ops/conv/winograd_engine.h"
#include "ops/matmul/pair_tiles.h"

namespace nonet::NONET_NS {

namespace {

struct PairValues {
  static constexpr int64_t count = 2;
  static constexpr int64_t chains = 4;  // roundings of the operands are what counts
  static constexpr int64_t gradient_chain = 128;

  NONET_INLINE void store(float* row, int64_t channel, F v) { NONET_NS::store((bfloat16*)row + channel, v); }
  NONET_INLINE F join(F first, F second) { return as_pairs(first, second); }
  template <Order order>
  NONET_INLINE void multiply(int64_t rows, int64_t cols, const Product& product) {
    multiply_pairs<order>(rows, cols, product, NoEpilogue{});
  }
};

}  // namespace

constinit const WinogradKernels winograd_pair_kernels = winograd_on<PairValues>;

}  // namespace nonet::NONET_NS
