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

struct IndexShape {
  int rank;
  int64_t sizes[8];
};

// Indices outside [0, n) are not reported on a device: what they would read is 0, and nothing is written for them.
// Arrays [outer, count, inner] and [outer, n, inner]; index: [outer, count, inner], rows: [count].
struct IndexDevice {
  static constexpr const char* name = "index";
  static constexpr int64_t part = 4096;  // elements whose positions are counted together

  // y[o, j, :] = x[o, rows[j], :], inner elements of `bytes` in all.
  void (*take)(Stream, const void* x, const int64_t* rows, void* y, int64_t outer, int64_t n, int64_t count,
               int64_t bytes);
  // y[o, k, i] = x[o, index[o, k, i], i], elements of `size` bytes.
  void (*gather)(Stream, const void* x, const int64_t* index, void* y, int size, int64_t outer, int64_t n,
                 int64_t count, int64_t inner);
  // places = places n + index; negative indices count from the end; -1 if one is out of range, or was.
  void (*combine)(Stream, const int64_t* index, int64_t n, int64_t* places, int64_t count);
  // targets[o, k, i] = the flat position of [o, index[o, k, i], i], or -1.
  void (*targets)(Stream, const int64_t* index, int64_t* targets, int64_t outer, int64_t n, int64_t count,
                  int64_t inner);
  // out[targets[o, k, i]] = source[o, k, i], the largest k of those with one target. last: int32 like out, -1 before.
  void (*put)(Stream, const void* source, const int64_t* targets, int32_t* last, void* out, int size, int64_t outer,
              int64_t count, int64_t inner);
  // out[targets[j]] += factor source[j]. int64 or int32.
  void (*add_integers)(Stream, DType dtype, const void* source, const int64_t* targets, void* out, int64_t factor,
                       int64_t count);
  // index[o, k, i] = rows[k].
  void (*all_rows)(Stream, const int64_t* rows, int64_t* index, int64_t outer, int64_t count, int64_t inner);
  // offsets[p]: the true elements of mask [n] before part p; the last of ceil(n / part) + 1 is the number of all.
  void (*count)(Stream, const bool* mask, int64_t n, int64_t* offsets);
  // positions [all, rank]: of the true elements, in order. shape: of the mask.
  void (*positions)(Stream, const bool* mask, int64_t n, const int64_t* offsets, int64_t* positions,
                    const IndexShape& shape);
  // y [count, classes].
  void (*one_hot)(Stream, const int64_t* index, int64_t* y, int64_t count, int64_t classes);
};

// What a device adds to rows: positions ordered by their row. Rows outside [0, n) are the last, and left out.
struct RowOrder {
  const int64_t* sorted;  // [count]: the rows
  const int64_t* order;   // [count]: the positions
  const int64_t* source;  // [count]: the row of `from` of a position; null: the position itself
  const float* scale;     // [count]: of a position; null: 1
};
struct RowSums {
  int64_t outer, count, n, inner;
  float factor = 1;       // of everything
  bool add = false;       // to what the row holds, else it becomes the sum
  bool by_count = false;  // sums are divided by the number of their positions
};
struct RowSumsDevice {
  static constexpr const char* name = "row_sums";
  static constexpr int64_t span = 32;  // positions that are added by one thread

  // out[o, row, :] = or += the sum over the row's positions j of scale[j] factor from[o, source[j], :]; other rows are
  // left. float32 or bfloat16, added in float32 in an order that depends on the sizes and the rows only.
  // partial: 2 outer ceil(count / span) inner floats.
  void (*add_rows)(Stream, DType dtype, const void* from, void* out, const RowOrder& rows, float* partial,
                   const RowSums& sums);
};

}  // namespace nonet
