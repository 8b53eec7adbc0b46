// Reading and adding at positions that are data: advanced indexing, gather, scatter, one-hot.
//
//   index     y[o, j, i] = x[o, p_j, i]                 dx[o, m, i] = sum over j with p_j = m of dy[o, j, i]
//   gather    y[o, k, i] = x[o, index[o, k, i], i]      the same along one axis with an index per element
//   scatter   y = x, then y[o, index[o, k, i], i] = source[o, k, i] in the order of k: the last one stays
//
// x: [outer, n, inner] around the indexed axes, any dtype where nothing is added. Index arrays: int64 or int32. Saved:
// the flat positions. Sums run in the order of the positions j over positions grouped by their target, and every target
// is summed by one thread, so repeated indices give the same bytes for any number of threads.
#pragma once

#include <cstdint>

#include "base/kernel.h"

namespace nonet {

// out[c] = (add ? out[c] : 0) + sum over r < count of scale[r] * from[rows[r] * n + c] for c < n. scale may be null: 1.
struct IndexKernels {
  void (*sum_rows)(const float* from, const int64_t* rows, const float* scale, int64_t count, float* out, int64_t n,
                   bool add);
};
NONET_KERNELS(IndexKernels, index_kernels);

}  // namespace nonet
