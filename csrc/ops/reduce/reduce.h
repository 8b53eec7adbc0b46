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

// How a device cuts a reduction of the middle axis of [outer, n, inner]: into `spans` parts of `span` elements, each
// reduced by one block or less, and then together. The cuts depend on the sizes only, and so do the numbers.
struct ReducePlan {
  int64_t outer;
  int64_t n;
  int64_t inner;
  int64_t span;
  int64_t spans;  // at least 1
};
ReducePlan reduce_plan(int64_t outer, int64_t n, int64_t inner);
// What is known of a part; parts: [outer, spans, inner] of them.
inline constexpr int64_t reduce_part_bytes = 16;

enum class ExactFold { sum, product, maximum, minimum, nonzero, all, any };
// Which rule of the table above gives dx.
enum class ReduceGradient { sum, extreme, logsumexp, variance, deviation, norm };

// x: [outer, n, inner] of any dtype that the op knows, results: [outer, inner]. `parts`: scratch, null if there is only
// one part. Floats are float32 or bfloat16; sums of float32 run in chains of 128 at most and then in trees.
struct ReduceDevice {
  static constexpr const char* name = "reduce";

  // y, of dtype `to`: the fold divided by a number.
  void (*fold)(Stream, Fold op, DType dtype, const void* x, DType to, void* y, float divisor, const ReducePlan& plan,
               void* parts);
  // y, var, mean: of x's dtype. float64 inside but for logsumexp, where a running maximum makes it one pass.
  void (*logsumexp)(Stream, DType dtype, const void* x, void* y, const ReducePlan& plan, void* parts);
  void (*moments)(Stream, DType dtype, const void* x, void* var, void* mean, double freedom, bool root,
                  const ReducePlan& plan, void* parts);
  void (*norm)(Stream, DType dtype, const void* x, void* y, double p, const ReducePlan& plan, void* parts);
  // y: int64 for sum, product and nonzero, x's dtype (an integer or bool) for the extremes, bool for all and any. Sums
  // and products wrap around.
  void (*exact)(Stream, ExactFold op, DType dtype, const void* x, void* y, const ReducePlan& plan, void* parts);
  // The largest or smallest value, NaN counting as such, and its first position. Any dtype.
  void (*extreme)(Stream, DType dtype, const void* x, void* values, int64_t* positions, bool largest,
                  const ReducePlan& plan, void* parts);
  // How many x (or |x|) are y, or NaN like y.
  void (*ties)(Stream, DType dtype, const void* x, const void* y, float* count, bool absolute, const ReducePlan& plan,
               void* parts);
};

struct ReduceGradientDevice {
  static constexpr const char* name = "reduce_gradient";

  // dx of dy, x, y, all of one dtype but for `ties`, which only extremes and norms of infinite p read; x and y may be
  // null where the rule does not name them. number: what dy is multiplied by (sum), the degrees of freedom (variance,
  // deviation), p (norm). mean: of variance and deviation.
  void (*run)(Stream, ReduceGradient rule, DType dtype, const void* dy, const void* x, const void* y, const void* mean,
              const float* ties, double number, void* dx, int64_t outer, int64_t n, int64_t inner);
};

enum class Running { sum, sum_reversed, product, times_before, times_behind, suffix };

// Along rows [rows, n], n > 0, contiguous. Long rows are cut into spans: parts is scratch of running_part_bytes for
// each, null if there is one per row.
inline constexpr int64_t running_span = 8192;
inline constexpr int64_t running_part_bytes = 16;
struct RunningDevice {
  static constexpr const char* name = "running";

  // sum, sum_reversed (from the end on), product: y_j as above, in float64, or of integers in int64; times_before:
  // y_j *= prod_{k < j} x_k; times_behind: y_j *= prod_{k > j} x_k; suffix: y_j = s_j of cumprod's gradient. Products
  // of a span must be float64 numbers. x, y and dy (null but for suffix) are float32; sums take any dtype, which y has
  // as well, or int64 for integers.
  void (*run)(Stream, Running rule, DType dtype, const void* x, const void* dy, void* y, int64_t rows, int64_t n,
              void* parts);
  // dx[o, positions[o, k, i], i] = dy[o, k, i] for elements of `size` bytes; dx [outer, n, inner] is left elsewhere.
  // Positions outside [0, n) place nothing.
  void (*place)(Stream, int size, const void* dy, const int64_t* positions, void* dx, int64_t outer, int64_t k,
                int64_t n, int64_t inner);
};

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
