#include "array/convert.h"

#include "simd/vec.h"

namespace nonet::NONET_NS {

namespace {

void to_bfloat16(const float* x, bfloat16* y, int64_t n) {
  for_vectors(n, [&](int64_t i, int64_t lanes) { store_lanes(y + i, load_lanes(x + i, lanes), lanes); });
}

}  // namespace

constinit const ConvertKernels convert_kernels = {to_bfloat16};

}  // namespace nonet::NONET_NS
