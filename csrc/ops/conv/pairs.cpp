// Correlations on dot products of bfloat16 pairs (ConvPairKernels in conv.h).
#include <vector>

#include "array/convert.h"
#include "ops/conv/passes.h"

namespace nonet {

bool sums_pairs(const ConvSizes& s, int64_t depth, const ConvOptions& o) {
  return multiplies_pairs(o.precision) && depth % 2 == 0 && !s.depthwise();
}

Pixels<const float> paired(const Pixels<const float>& in, int64_t images, Array& memory) {
  const int64_t floats = images * in.image;
  if (!memory.defined() || memory.numel() < floats) memory = Array(Shape{floats}, DType::bfloat16);
  bfloat16* to = memory.data<bfloat16>();
  parallel_for(floats, 32768, [&](int64_t begin, int64_t end) {
    convert_kernels().to_bfloat16(in.data + begin, to + begin, end - begin);
  });
  return {static_cast<const float*>(memory.address()), in.image / 2, in.row / 2, in.pixel / 2};
}

void run_pairs([[maybe_unused]] Correlation c, [[maybe_unused]] std::vector<Tap> taps) {
#if defined(__x86_64__)
  for (Tap& tap : taps) tap.weight /= 2;
  c.taps = taps.data();
  c.grid.in /= 2;
  c.depth /= 2;
  c.panel_floats /= 2;
  avx512::conv_pair_kernels.correlate(c);
#endif
}

}  // namespace nonet
