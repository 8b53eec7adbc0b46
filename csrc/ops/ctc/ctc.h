// The loss of connectionist temporal classification (Graves, Fernández, Gomez & Schmidhuber, "Connectionist temporal
// classification: labelling unsegmented sequence data with recurrent neural networks", 2006).
//
//   loss_n = -log sum of P(path) over the paths of T_n classes that become the labels of n when first repetitions and
//            then blanks are removed
//
// N sequences, T steps, C classes. The states of a sequence with L labels are L + 1 blanks and L labels in turn,
// b_0 l_0 b_1 l_1 … b_L; a path stays, moves on by one, or by two from a label to another one that differs from it.
// With log-probabilities y and forward and backward variables (equations 6 to 11 of the paper, but the backward one
// without the step's own emission) in log space,
//
//   alpha_t(s) = y_t(s) + log sum over s' -> s of exp(alpha_{t-1}(s')),
//   beta_t(s) = log sum over s -> s' of exp(beta_{t+1}(s') + y_{t+1}(s')),
//
// exp(alpha_t(s) + beta_t(s)), made to add up to 1 over s, is what the paths spend of step t in state s. Both are kept
// as differences from numbers that gather in float64, so that the length of a sequence costs no accuracy.
//
// The gradient is torch's: dy = exp(y) - (what is spent in the states of the class), which is that of y as the
// log-softmax of something (equation 16); by itself, y's gradient would lack exp(y). A class of probability 0 is no
// special case. Steps behind a sequence's end have gradient 0.
#pragma once

#include "base/kernel.h"
#include "ops/loss/reduction.h"

namespace nonet {

class Array;
struct ClassLoss;  // ops/loss/common.h

struct CtcBatch {
  int64_t steps, batch, classes, blank;
  const float* log_probs;        // [T, N, C]
  const int64_t* labels;         // those of sequence n begin at starts[n]
  const int64_t* starts;         // [N]
  const int64_t* label_lengths;  // [N]
  const int64_t* step_lengths;   // [N]
  const float* scale;            // [N], factors of losses and gradients
  bool zero_infinity;            // a loss of infinity (no path) becomes 0, and so do its gradients; else they are NaN
  float* loss;                   // [N]
  float* dx;                     // [T, N, C] or null
};

struct CtcKernels {
  void (*run)(const CtcBatch& batch);
  // d[t, n, c] *= dy[n], or dy[0] throughout if uniform.
  void (*scale)(float* d, const float* dy, bool uniform, int64_t steps, int64_t batch, int64_t classes);
};
NONET_KERNELS(CtcKernels, ctc_kernels);

// On a device: a block per sequence. The batch's arrays are there; a label that is no class makes loss and gradients
// NaN.
struct CtcDevice {
  static constexpr const char* name = "ctc";

  // Labels of the longest sequence at most `longest`; scratch: ctc_scratch() floats.
  void (*run)(Stream, const CtcBatch& batch, int64_t longest, float* scratch);
  void (*scale)(Stream, float* d, const float* dy, bool uniform, int64_t steps, int64_t batch, int64_t classes);
};

// Floats per sequence: a double per step, alpha's rows, two of beta's, what is spent at a step, and per label the next
// place of the same one.
constexpr int64_t ctc_row(int64_t longest) {
  return 2 * (longest + 1);
}
constexpr int64_t ctc_scratch(int64_t steps, int64_t longest, bool gradients) {
  return 2 * steps + ctc_row(longest) * ((gradients ? steps : 2) + 2) + ctc_row(longest);
}

// log_probs [T, N, C] with targets [N, S] or [sum of lengths], or [T, C] with [S]; lengths: int64 in main memory, [N]
// or [1]. The mean divides each loss by its number of labels (at least 1), then by N. dx: float32, for an incoming
// gradient of 1. Errors: TypeError for dtypes, ValueError for shapes, lengths and a label that is the blank, on the CPU
// IndexError for a label that is no class.
ClassLoss ctc_loss_forward(const Array& log_probs, const Array& targets, const Array& input_lengths,
                           const Array& target_lengths, int64_t blank, Reduction reduction, bool zero_infinity,
                           bool want_dx);
// dy: [] or [N]; overwrites d.
Array ctc_loss_backward(const Array& dy, const Array& d);

}  // namespace nonet
