#include "ops/index/index.h"

#include "simd/vec.h"

namespace nonet::NONET_NS {

namespace {

// `vectors` columns of one vector each, kept in registers over all rows.
template <int vectors>
NONET_INLINE void sum_columns(const float* from, const int64_t* rows, const float* scale, int64_t count, float* out,
                              int64_t n, bool add, int64_t lanes) {
  F total[vectors];
  for (int v = 0; v < vectors; ++v) total[v] = add ? load_lanes(out + v * width, lanes) : F{};
  for (int64_t r = 0; r < count; ++r) {
    const float* row = from + rows[r] * n;
    const F s = broadcast(scale != nullptr ? scale[r] : 1.f);
    for (int v = 0; v < vectors; ++v) total[v] = fma(load_lanes(row + v * width, lanes), s, total[v]);
  }
  for (int v = 0; v < vectors; ++v) store_lanes(out + v * width, total[v], lanes);
}

void sum_rows(const float* from, const int64_t* rows, const float* scale, int64_t count, float* out, int64_t n,
              bool add) {
  int64_t c = 0;
  for (; c + 4 * width <= n; c += 4 * width) sum_columns<4>(from + c, rows, scale, count, out + c, n, add, width);
  for (; c < n; c += width) {
    sum_columns<1>(from + c, rows, scale, count, out + c, n, add, n - c < width ? n - c : width);
  }
}

}  // namespace

constinit const IndexKernels index_kernels = {sum_rows};

}  // namespace nonet::NONET_NS
