// One step of an optimizer over all parameters of a group, in one pass over flat runs of memory.
//
// p parameter, g gradient, t the number of this step (from 1), e eps, l learning rate. First, for all of them:
// g = -g if maximizing, then g += decay p (L2) or, decoupled, p *= 1 - l decay. Then
//
//   sgd       b = mu b + (1 - dampening) g  (b = g the first time);  p -= l (b, or g + mu b with Nesterov's look-ahead)
//             Sutskever et al., On the importance of initialization and momentum, 2013
//   adam      m = b1 m + (1 - b1) g, v = b2 v + (1 - b2) g^2;  p -= l m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + e)
//             Kingma & Ba, 2015; amsgrad takes max over time of v: Reddi et al., 2018; decoupled decay: Loshchilov &
//             Hutter, 2019
//   rmsprop   v = a v + (1 - a) g^2, centered: u = a u + (1 - a) g, v' = v - u^2;  b = mu b + g / (sqrt(v') + e);
//             p -= l b      Hinton, 2012; centered: Graves, 2013, (38)-(45)
//   adagrad   s += g^2;  p -= l / (1 + (t - 1) lr_decay) g / (sqrt(s) + e)        Duchi et al., 2011
//   nadam     m, v as adam, mu_t = b1 (1 - 0.96^(t decay) / 2);  p -= l ((1 - mu_t) / (1 - prod mu) g
//             + mu_t+1 / (1 - mu_t+1 prod mu) m) / (sqrt(v / (1 - b2^t)) + e)     Dozat, 2016
//   radam     m, v as adam;  p -= l m / (1 - b1^t) r sqrt(1 - b2^t) / (sqrt(v) + e) where the variance of v is
//             tractable, else p -= l m / (1 - b1^t)                               Liu et al., 2020, algorithm 2
//   adadelta  v = r v + (1 - r) g^2, d = sqrt(a + e) / sqrt(v + e) g, a = r a + (1 - r) d^2;  p -= l d   Zeiler, 2012
//   adamax    m as adam, u = max(b2 u, |g| + e);  p -= l / (1 - b1^t) m / u       Kingma & Ba, 2015, algorithm 2
//
// Parameters and gradients are float32 or bfloat16, states and arithmetic float32; factors that depend on t are
// computed in double. p and states are updated in place, g is read.
#pragma once

#include "base/kernel.h"

namespace nonet {

enum class OptimRule { sgd, adam, rmsprop, adagrad, nadam, radam, adadelta, adamax };

// Which of them a rule reads is seen in its formula.
struct OptimFactors {
  float sign = 1;    // of the gradient
  float decay = 0;   // L2, added to the gradient
  float keep = 1;    // of the parameter, 1 - l decay
  float rate = 0;    // of the step
  float rate_g = 0;  // nadam: of the gradient's own part
  float momentum = 0;
  float fresh = 1;    // share of the gradient in the first state: 1 - b1, 1 - dampening
  float keep_v = 0;   // b2, a or r
  float fresh_v = 0;  // 1 - keep_v, exact
  float scale_v = 1;  // 1 / sqrt(1 - b2^t)
  float eps = 0;
  bool first = false;   // sgd: no momentum yet
  bool option = false;  // Nesterov, amsgrad, centered, rectified
};

struct OptimRun {
  void* param;
  const void* grad;
  float* state[3];  // null where the rule keeps fewer
  int64_t n;
  bool bf16;
  OptimFactors factors;
  int64_t first;  // OptimDevice: of all blocks, where the run's begin
};

// Elements [begin, end) of a run.
struct OptimBlock {
  const OptimRun* run;
  int64_t begin;
  int64_t end;
};

struct OptimKernels {
  void (*step)(OptimRule rule, const OptimBlock* blocks, int64_t count);
  // Sum of |x|^p in double, or the largest |x| if p is infinite; NaN if there is one.
  double (*norm)(const void* x, bool bf16, int64_t n, double p);
  void (*scale)(void* x, bool bf16, int64_t n, float factor);
  void (*clamp)(void* x, bool bf16, int64_t n, float bound);  // to [-bound, bound]
};
NONET_KERNELS(OptimKernels, optim_kernels);

// An array of gradients among others.
struct OptimPiece {
  void* data;
  int64_t n;
  bool bf16;
  int64_t first;  // of all blocks, where the piece's begin
};

// Tables of runs and pieces lie in the device's memory, with their pointers and factors. They are cut into blocks of
// `block` elements, the last of each may be shorter; `blocks` of all of them together.
struct OptimDevice {
  static constexpr const char* name = "optim";
  static constexpr int64_t block = 4096;

  // One launch for all runs.
  void (*step)(Stream, OptimRule rule, const OptimRun* runs, int64_t count, int64_t blocks);
  // norm [1] = (sum |x|^p)^(1/p), or the largest |x| if p is infinite; NaN if there is one. parts [blocks]: scratch.
  // The blocks are summed by a fixed tree.
  void (*norm)(Stream, const OptimPiece* pieces, int64_t count, int64_t blocks, double p, double* parts, float* norm);
  // x *= min(1, max_norm / (norm [1] + 1e-6)), where NaN is less than 1.
  void (*scale)(Stream, const OptimPiece* pieces, int64_t count, int64_t blocks, const float* norm, double max_norm);
  void (*clamp)(Stream, const OptimPiece* pieces, int64_t count, int64_t blocks, float bound);
};

}  // namespace nonet
