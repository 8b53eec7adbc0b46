// Sums of losses in float64: every block leaves a part, and one block adds them.
#pragma once

#include "cuda/elements.cuh"
#include "cuda/table.cuh"
#include "cuda/warp.cuh"
#include "ops/loss/reduction.h"

namespace nonet::NONET_CUDA_NS {

namespace {  // kernels of each file of its own

constexpr int loss_threads = 256;

// out = (the sum of all blocks' parts) / (divisor * weight), weight null: 1.
template <class Out>
struct LossSum {
  double divisor;
  const double* weight;
  double* parts;
  Out* out;

  NONET_DEVICE void put(double sum) const {
    const double by = weight != nullptr ? divisor * *weight : divisor;
    *out = static_cast<Out>(by == 1. ? sum : sum / by);
  }
  // With what each thread has; all of the block call it.
  NONET_DEVICE void leave(double sum) const {
    sum = block_sum(sum, shared_memory<double>());
    if (thread_rank() != 0) return;
    if (grid_size().x == 1) {
      put(sum);
    } else {
      parts[block_index().x] = sum;
    }
  }
};

template <class Out>
struct JoinLossParts {
  static constexpr int max_threads = loss_threads;

  NONET_DEVICE void operator()(const LossSum<Out>& loss, int64_t count) const {
    double sum = 0;
    for (int64_t i = thread_rank(); i < count; i += loss_threads) sum += loss.parts[i];
    loss.leave(sum);
  }
};

// A kernel launched for n elements with `loss` behind its arguments: a for_grid() loop that ends in loss.leave(sum).
template <class Out, class Kernel, class... Args>
void run_loss_sum(Stream stream, int64_t n, const LossSum<Out>& loss, const Kernel& kernel, const Args&... args) {
  constexpr int shared_bytes = loss_threads / 32 * sizeof(double);
  const int64_t blocks = (n + loss_block - 1) / loss_block;
  const int64_t count = blocks < most_loss_parts ? blocks : most_loss_parts;
  run(stream, count, loss_threads, shared_bytes, kernel, args..., loss);
  if (count != 1) run(stream, 1, loss_threads, shared_bytes, JoinLossParts<Out>{}, loss, count);
}

}  // namespace

}  // namespace nonet::NONET_CUDA_NS
