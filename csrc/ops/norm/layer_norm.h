// Layer normalisation (Ba, Kiros & Hinton, "Layer normalization", 2016) and its form without a mean (Zhang & Sennrich,
// "Root mean square layer normalization", 2019).
//
// x: N rows of C numbers; gamma, beta: [C], each may be absent.
//
//   centred:  m = mean(x), r = 1 / sqrt(mean((x - m)^2) + eps), h = (x - m) r, y = h gamma + beta
//   RMS:      m = 0,       r = 1 / sqrt(mean(x^2) + eps),       h = x r,       y = h gamma
//
//   g = dy gamma,  dx = r (g - [mean(g)] - h mean(g h)), the bracket only if centred
//   dgamma = sum over rows of dy h,  dbeta = sum over rows of dy
//
// float32 arithmetic; bfloat16 is converted. Saved for the backward pass: x, m, r. dgamma and dbeta are summed within
// blocks of layer_norm_block rows and then by the tree of reduce.h, whatever the number of threads.
#pragma once

#include "base/kernel.h"

namespace nonet {

constexpr int64_t layer_norm_block = 64;  // rows

struct LayerNormKernels {
  // y, x: [rows, n] (y may be x); gamma, beta: [n] or null; mean (null: RMS), rstd: [rows].
  void (*forward)(const float* x, const float* gamma, const float* beta, float* y, float* mean, float* rstd,
                  int64_t rows, int64_t n, float eps);
  // dx: [rows, n], may be dy; dgamma, dbeta: [ceil(rows / layer_norm_block), n], one partial sum per block. Each may be
  // null if it is not wanted; mean is null for RMS.
  void (*backward)(const float* dy, const float* x, const float* gamma, const float* mean, const float* rstd, float* dx,
                   float* dgamma, float* dbeta, int64_t rows, int64_t n);
};
NONET_KERNELS(LayerNormKernels, layer_norm_kernels);

}  // namespace nonet
