// The pooling ops on arrays. For ordinary sources.
#pragma once

#include "array/array.h"

namespace nonet {

struct PoolSpec {
  Shape kernel;  // one size per pooled axis; the others likewise
  Shape stride;
  Shape padding;
  Shape dilation;
  bool ceil_mode = false;
  bool count_include_pad = true;
  int64_t divisor = 0;  // 0: the count
  bool adaptive = false;
  Shape out;  // adaptive: sizes of the output, -1 keeps one
};

struct Pooled {
  Array y;
  Array index;  // int32, as y; undefined if not wanted
};

// Errors: ValueError for shapes and sizes, TypeError for the dtype.
Pooled max_pool_forward(const Array& x, const PoolSpec& spec, bool keep_index, const char* op);
Array max_pool_backward(const Array& dy, const Array& index, const Shape& shape, const PoolSpec& spec, const char* op);
Array avg_pool_forward(const Array& x, const PoolSpec& spec, const char* op);
Array avg_pool_backward(const Array& dy, const Shape& shape, const PoolSpec& spec, const char* op);

// x: [N, C, L], [N, C, H, W] or one of them without N, by the sizes of `size`, (L) or (H, W); index: int64, as x, flat
// positions in the result. Errors: ValueError for shapes, TypeError for dtypes, IndexError for an index out of range.
Array max_unpool_forward(const Array& x, const Array& index, const Shape& size, const char* op);
// axes: 1 or 2.
Array max_unpool_backward(const Array& dy, const Array& index, int axes, const char* op);

}  // namespace nonet
