// What a sequence of log-probabilities says, under the rule of ctc.h: repetitions, then blanks, are removed.
#pragma once

#include <vector>

#include "array/array.h"

namespace nonet {

// Labels of a sequence and the logarithm of their probability, or of its best known part.
struct CtcLabels {
  std::vector<int64_t> labels;
  double score;
};

// Per sequence the best class of each step, repetitions and blanks removed; the score is that of this one path.
// log_probs: [T, N, C], lengths: int64 [N] in main memory. Errors, here and below: TypeError for dtypes, ValueError for
// shapes, lengths and numbers, RuntimeError for a device.
std::vector<CtcLabels> ctc_greedy_decode(const Array& log_probs, const Array& lengths, int64_t blank);
// Per sequence up to `top` different results, best first, from a search that keeps the `beam` most probable prefixes of
// each step, each with the probabilities of all its paths that were kept (Graves, "Supervised sequence labelling with
// recurrent neural networks", 2012, chapter 7.5; Hannun et al., "First-pass large vocabulary continuous speech
// recognition using bi-directional recurrent DNNs", 2014, algorithm 1 without a language model).
std::vector<std::vector<CtcLabels>> ctc_beam_decode(const Array& log_probs, const Array& lengths, int64_t blank,
                                                    int64_t beam, int64_t top);

}  // namespace nonet
