// Losses of one element each, from an input x and a target y, with up to two more operands a, b of the same length.
//
//   l1                 a |x - y|                                            a: weight (absent: 1), likewise below
//   mse                a (x - y)^2
//   smooth_l1          (x - y)^2 / 2c where |x - y| < c, else |x - y| - c / 2          Girshick, Fast R-CNN, 2015, (3)
//   huber              a times: (x - y)^2 / 2 where |x - y| <= c, else c (|x - y| - c / 2)              Huber, 1964
//   kl_div             y (log y - x)                     kl_div_log        e^y (y - x)
//   bce                -a (y log x + (1 - y) log(1 - x)), logarithms bounded below by -100; 0 <= x <= 1
//   bce_logits         a (b y softplus(-x) + (1 - y) softplus(x))           b: weight of the positive class
//   poisson            x - y log(x + c)                  poisson_log       e^x - y x
//                      where full adds y log y - y + log(2 pi y) / 2 for y > 1 (Stirling); dy is NaN for y <= 0 then
//   gaussian           (log v + (x - y)^2 / v) / 2 with v = max(a, c); d sees v as a      Nix & Weigend, 1994
//                      where full adds log(2 pi) / 2
//   soft_margin        softplus(-y x)
//   hinge_embedding    x where y = 1, max(0, c - x) where y = -1
//   margin_ranking     max(0, c - a (x - y))             y: the second input, a: the target, 1 or -1
//
// A factor of 0 makes a term 0 even beside an infinity (0 log 0 = 0). Arithmetic in float32, sums in double over fixed
// blocks. Saved for the backward pass: the operands.
#pragma once

#include "base/kernel.h"
#include "ops/loss/reduction.h"

namespace nonet {

class Array;
struct PairArrays;

enum class PairLoss {
  l1,
  mse,
  smooth_l1,
  huber,
  kl_div,
  kl_div_log,
  bce,
  bce_logits,
  poisson,
  poisson_log,
  gaussian,
  soft_margin,
  hinge_embedding,
  margin_ranking,
};

struct PairOperands {
  const float* x;
  const float* y;
  const float* a;  // null: 1
  const float* b;  // null: 1
  float c;
  bool full;
};

// Null where not wanted.
struct PairGradients {
  float* x;
  float* y;
  float* a;
};

// Elements summed into one double.
inline constexpr int64_t pair_block = 16384;

struct PairLossKernels {
  // loss: [n] or null; else sums: one per pair_block elements.
  void (*forward)(PairLoss kind, const PairOperands& in, float* loss, double* sums, int64_t n);
  // dloss: [n], or [1] if uniform; times scale.
  void (*backward)(PairLoss kind, const PairOperands& in, const float* dloss, bool uniform, float scale,
                   const PairGradients& out, int64_t n);
  // Whether low <= x <= high throughout (NaN is not).
  bool (*inside)(const float* x, int64_t n, float low, float high);
};
NONET_KERNELS(PairLossKernels, pair_loss_kernels);

// On a device, all float32.
struct PairLossDevice {
  static constexpr const char* name = "pair_loss";

  // loss: [n], or [1], the sum over all divided by `divisor`, if parts is not null: scratch of loss_parts(n) doubles
  // (common.h). a and b may be null.
  void (*forward)(Stream, PairLoss kind, const float* x, const float* y, const float* a, const float* b, float c,
                  bool full, float* loss, double* parts, double divisor, int64_t n);
  // dx, dy, da: null where not wanted. dloss and scale as above.
  void (*backward)(Stream, PairLoss kind, const float* x, const float* y, const float* a, const float* b, float c,
                   bool full, const float* dloss, bool uniform, float scale, float* dx, float* dy, float* da,
                   int64_t n);
};

struct PairArguments {
  PairLoss kind;
  double c = 0;
  bool full = false;
  Reduction reduction;
  int64_t count = -1;  // what mean divides by, -1: the number of elements
};

// x, y, a, b: one shape; a, b null where absent. Result: [] or the shape, in the dtype of x. Errors: TypeError unless x
// is floating, ValueError for shapes and, on the CPU, for x outside [0, 1] in bce and for a < 0 in gaussian, which on a
// device are computed as they are.
Array pair_loss_forward(const PairArguments& arguments, const Array& x, const Array& y, const Array* a, const Array* b);
// The gradients of x, y and a, each in its operand's dtype, undefined where not wanted.
PairArrays pair_loss_backward(const PairArguments& arguments, const Array& dloss, const Array& x, const Array& y,
                              const Array* a, const Array* b, const bool (&want)[3]);
// By the name of the op. Errors: ValueError.
PairLoss pair_loss_from_name(const char* name);

}  // namespace nonet
