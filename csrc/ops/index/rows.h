// Rows of a table found and added by number: what indexing and embeddings share. For ordinary sources (arrays, STL).
#pragma once

#include <vector>

#include "array/array.h"
#include "ops/index/index.h"

namespace nonet {

// Positions grouped by the row they point to: group g is order[groups[g].begin … end), in increasing order.
struct RowGroup {
  int64_t row;
  int64_t begin;
  int64_t end;
};
struct Grouping {
  std::vector<int64_t> order;
  std::vector<RowGroup> groups;
};
// Negative rows are left out.
Grouping group_rows(const int64_t* rows, int64_t count, int64_t n);

// An index array as plain int64 with 0 <= i < n. wrap: negative ones count from the end. Errors: TypeError for the
// dtype, IndexError that names the first bad index (axis < 0: its position instead of the axis). On a device values are
// neither checked nor changed.
Array checked_index(const Array& index, int64_t n, bool wrap, const char* op, int axis);

// y[o, j, :] = x[o, rows[j], :], inner elements of `bytes` in all.
void take_rows(const void* x, const int64_t* rows, void* y, int64_t outer, int64_t n, int64_t count, int64_t bytes);

// out[o, row, :] (+)= sum over its positions j of scale[j] * from[o, source[j], :]; rows without a position are left.
// source null: j; scale null: 1. from: [outer, count, inner], out: [outer, n, inner].
struct AddRows {
  const float* from;
  float* out;
  int64_t outer;
  int64_t count;
  int64_t n;
  int64_t inner;
  const int64_t* source = nullptr;
  const float* scale = nullptr;
  bool add = true;
};
void add_rows(const Grouping& grouping, const AddRows& job);

// ---- ops

struct Indexed {
  Array y;
  Array places;  // int64: flat positions in the indexed axes
};
// x[indices], one array per axis, an undefined one for a whole axis. Indexed axes that are not neighbours come first in
// the result, as in NumPy. Errors: IndexError, ValueError for index shapes that do not broadcast, TypeError.
Indexed index_forward(const Array& x, const std::vector<Array>& indices);
Array index_backward(const Array& dy, const Array& places, const Shape& shape, const std::vector<bool>& indexed);

// index must not exceed x off the axis. Errors: IndexError, ValueError, TypeError.
Array gather(const Array& x, int64_t axis, const Array& index);
enum class Scatter { set, add };
// source: at least as large as index along every axis.
Array scatter(const Array& x, int64_t axis, const Array& index, const Array& source, Scatter mode);
// x with scale * source added at rows `index` (rank 1) of an axis.
Array index_add(const Array& x, int64_t axis, const Array& index, const Array& source, double scale);

// Positions of the elements that are not 0: int64 [count, rank], in row-major order.
Array nonzero(const Array& x);
// int64 [..., classes]; -1 classes: the largest index + 1. Errors: ValueError, IndexError.
Array one_hot(const Array& index, int64_t classes);

}  // namespace nonet
