// Reductions over any set of axes.
//
// x is seen as [outer, n, inner] with the reduced axes in the middle; per output (o, i), over j = 0 … n-1:
//
//   sum, prod     sum_j x_j, prod_j x_j                     dx_j = dy                      dx_j = dy prod_{k != j} x_k
//   mean          sum / n                                   dx_j = dy / n
//   amax, amin    NaN if any x_j is                         dx_j = dy / t where x_j = y (t such j), else 0
//   max, min      the same with the first such j            dx_j = dy at that j
//   var           sum_j (x_j - mean)^2 / (n - correction)   dx_j = 2 dy (x_j - mean) / (n - correction)
//   logsumexp     m + log sum_j exp(x_j - m), m = max_j x_j  dx_j = dy exp(x_j - y)
//   norm          (sum_j |x_j|^p)^(1/p); max, min or count of non-zeros for p = inf, -inf, 0
//                                                           dx_j = dy sign(x_j) (|x_j| / y)^(p-1)
//   cumsum        y_j = sum_{k <= j} x_k                    dx_j = sum_{k >= j} dy_k
//   cumprod       y_j = prod_{k <= j} x_k                   dx_j = y_{j-1} s_j,  s_j = dy_j + x_{j+1} s_{j+1}
//
// float32 arithmetic (bfloat16 is converted); sums by a fixed tree, so the error grows with log n and the number of
// threads does not matter; norms and running sums in float64. Sums of integers are int64.
#pragma once

#include "base/kernel.h"

namespace nonet {

class Array;
struct Axes;  // ops/reduce/axes.h

enum class Fold { sum, product, maximum, minimum };
// What is folded; p is one number per output.
enum class Term {
  value,           // x
  equal,           // 1 where x is p (or both are NaN), else 0
  squared_offset,  // (x - p)^2
  exp_offset,      // exp(x - p)
};
// What an element of dx is; p and d are one number per output.
enum class Spread {
  constant,    // d
  equal,       // d where x is p (or both are NaN), else 0
  offset,      // d (x - p)
  exp_offset,  // d exp(x - p)
};

// How much of the middle axis one call of ReduceKernels::fold takes together.
constexpr int64_t fold_span(int64_t inner) {
  return inner == 1 ? 16384 : 128;
}

struct ReduceKernels {
  // x: [outer, n, inner] -> y: [outer, ceil(n / fold_span(inner)), inner]; p: [outer, inner], or null for Term::value.
  void (*fold)(Fold op, Term term, const float* x, const float* p, float* y, int64_t outer, int64_t n, int64_t inner);
  // dx: [outer, n, inner]; x is null for Spread::constant.
  void (*spread)(Spread what, const float* x, const float* p, const float* d, float* dx, int64_t outer, int64_t n,
                 int64_t inner);
  // Per row of x [rows, n], n > 0: the largest (or smallest) value, NaN counting as such, and its first position.
  void (*extreme)(const float* x, float* value, int64_t* index, int64_t rows, int64_t n, bool largest);
  // index [outer, inner]: the first j where x [outer, n, inner] is value [outer, inner], or both are NaN; n < 2^31.
  void (*find)(const float* x, const float* value, int64_t* index, int64_t outer, int64_t n, int64_t inner);
};
NONET_KERNELS(ReduceKernels, reduce_kernels);

// Errors of all: IndexError for an axis; TypeError for integers where a result is floating; ValueError where there is
// no result for an empty slice (maximum, minimum and their positions). A reduced axis is dropped, or 1 with keepdim.
Array reduce_sum(const Array& x, const Axes& axes, bool keepdim);
Array reduce_mean(const Array& x, const Axes& axes, bool keepdim);
Array reduce_prod(const Array& x, const Axes& axes, bool keepdim);
Array reduce_extreme(const Array& x, const Axes& axes, bool keepdim, bool largest);
Array reduce_logsumexp(const Array& x, const Axes& axes, bool keepdim);
Array reduce_norm(const Array& x, const Axes& axes, bool keepdim, double p);
Array count_nonzero(const Array& x, const Axes& axes, bool keepdim);
// Whether all, or any, of the elements are not 0.
Array reduce_truth(const Array& x, const Axes& axes, bool keepdim, bool all);
struct Moments;  // variance (or its root) and mean
Moments reduce_var(const Array& x, const Axes& axes, bool keepdim, double correction, bool root);

// dy and y: as the forward pass returned them, with or without keepdim.
Array sum_backward(const Array& dy, const Axes& axes, float scale);
Array prod_backward(const Array& dy, const Array& x, const Axes& axes);
Array extreme_backward(const Array& dy, const Array& x, const Array& y, const Axes& axes);
Array logsumexp_backward(const Array& dy, const Array& x, const Array& y, const Axes& axes);
Array norm_backward(const Array& dy, const Array& x, const Array& y, const Axes& axes, double p);
// y: the variance or, with root, the standard deviation.
Array var_backward(const Array& dy, const Array& x, const Array& y, const Array& mean, const Axes& axes,
                   double correction, bool root);

// Along one axis.
struct Extreme;  // values and positions (int64)
Extreme extreme_along(const Array& x, int64_t axis, bool keepdim, bool largest);
Array cumsum(const Array& x, int64_t axis, bool reverse);
Array cumprod(const Array& x, int64_t axis);
Array cumprod_backward(const Array& dy, const Array& x, int64_t axis);

}  // namespace nonet
