// Indexing of arrays on a device that is not the CPU: everything here is checked, but for the values of indices.
#pragma once

#include <vector>

#include "array/axis.h"
#include "ops/index/rows.h"
#include "ops/sort/sorting.h"

namespace nonet {

// The sums of RowSums, into `out`. from: [outer, count, inner], out: [outer, n, inner], both of one floating dtype;
// source, scale: null or [count].
void device_add_rows(const Array& from, const Array& out, const Ordered& grouping, const RowSums& sums,
                     const Array* source, const Array* scale, const char* op);

// x [outer, n, inner] at rows [count]: int64, plain. y is allocated.
void device_take(const Array& x, const Array& rows, const Array& y, const AxisView& view, const char* op);
Array device_gather(const Array& x, const Array& index, int axis);

// out[o, index[o, k, i], i] = or += source[o, k, i]; index as large as source, both plain. out is written.
void device_scatter(const Array& out, const Array& index, const Array& source, int axis, Scatter mode, const char* op);
// out[…, index[k], …] += scale source[…, k, …] along an axis.
void device_index_add(const Array& out, const Array& index, const Array& source, int axis, double scale);

// places: int64, zero at first: for every indexed axis in turn, places = places n + index.
void device_combine(const Array& index, int64_t n, const Array& places);

Array device_nonzero(const Array& mask);
Array device_one_hot(const Array& index, int64_t classes, const Shape& shape);

}  // namespace nonet
