// The reductions of arrays that are not in main memory. Arguments are checked.
#pragma once

#include "ops/reduce/axes.h"
#include "ops/reduce/reduce.h"

namespace nonet {

// Scratch for the parts of a plan; undefined if there is one per result.
Array reduce_parts(const ReducePlan& plan, Device device);
// Scratch for maps of rows (slices.cuh), which are of inner 1; undefined where rows of up to `registers` elements are
// held in registers.
Array slice_scratch(const ReducePlan& plan, int64_t registers, Device device);
// Whether slices are rows, or columns of which one block each is enough. (Others are brought together as rows.)
bool columns_fit(const ReducePlan& plan);

// The fold divided by a number; floats.
Array device_fold(const Array& x, const Axes& axes, bool keepdim, Fold op, float divisor, const char* name);
Array device_exact(const Array& x, const Axes& axes, bool keepdim, ExactFold op, DType to, const char* name);
// Sums and products, and the extremes, of any dtype.
Array device_sum(const Array& x, const Axes& axes, bool keepdim, Fold op);
Array device_amax(const Array& x, const Axes& axes, bool keepdim, bool largest);
Array device_logsumexp(const Array& x, const Axes& axes, bool keepdim);
Array device_norm(const Array& x, const Axes& axes, bool keepdim, double p);
Moments device_moments(const Array& x, const Axes& axes, bool keepdim, double freedom, bool root);
Extreme device_extreme(const Array& x, const Axes& axes, bool keepdim, bool largest);

Array device_sum_gradient(const Array& dy, const Axes& axes, float scale);
// mean: of variance and deviation. number: as of ReduceGradientDevice.
Array device_gradient(ReduceGradient rule, const Array& dy, const Array& x, const Array& y, const Array& mean,
                      const Axes& axes, double number);

// Of rows [m, n]; the result has their shape and dtype `to`.
Array device_running(Running rule, const Array& rows, DType to, const char* name);
// Gradients of prod and cumprod; float32 rows [m, n], dy: a number per row, or rows.
Array device_products(const Array& rows, const Array& dy);
Array device_products_so_far(const Array& rows, const Array& dy);

}  // namespace nonet
