#include "ops/conv/correlate.h"
#include "ops/matmul/pair_tiles.h"

namespace nonet::NONET_NS {

namespace {

struct PairProducts {
  template <class Epilogue>
  NONET_INLINE void multiply(int64_t rows, int64_t cols, const Product& product, const Epilogue& epilogue) {
    multiply_pairs<Order::rows>(rows, cols, product, epilogue);
  }
};

void pair_rows(const float* rows, int64_t pairs, float* to) {
  parallel_for(pairs, 1024, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      for (int64_t column = 0; column < panel_columns; column += width) {
        const float* from = rows + 2 * i * panel_columns + column;
        store(to + i * panel_columns + column, as_pairs(load(from), load(from + panel_columns)));
      }
    }
  });
}

}  // namespace

constinit const ConvPairKernels conv_pair_kernels = {correlate<PairProducts>, pair_rows};

}  // namespace nonet::NONET_NS
