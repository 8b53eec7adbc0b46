// What both passes over sequences share on a GPU: a step is a product and the cells' rules behind it, and all steps are
// one cooperative launch, whose blocks wait for each other between them.
#pragma once

#include "cuda/gate.cuh"
#include "cuda/grid.cuh"
#include "cuda/table.cuh"
#include "ops/recurrent/places.h"

namespace nonet::NONET_CUDA_NS {

namespace {

// A block takes 32 columns of all gates of some sequences at a time: a lane per column, a warp for `rows` sequences.
constexpr int tile_columns = 32;
constexpr int tile_k = 32;
constexpr int unrolled_k = 8;  // more would not fit into registers
constexpr int step_threads = 256;
constexpr int step_warps = step_threads / 32;
constexpr int tile_row = tile_k + 1;  // of shared memory: neighbouring columns lie in different banks

constexpr int step_shared_bytes(int gates, int rows) {
  return 4 * (gates * tile_columns * tile_row + step_warps * rows * tile_k);
}

// Z[i, g, j] = sum_k a[i, k] w(g, j, k), where w is [gates columns, k], or for transposed weights [k, columns].
struct DeviceProduct {
  const float* a;
  int64_t lda;
  const float* w;
  int64_t k, columns;
};

template <int gates, bool transposed>
NONET_DEVICE float weight_at(const DeviceProduct& p, int unit, int64_t column, int64_t k) {
  const int64_t j = column + unit % tile_columns;
  if (j >= p.columns || k >= p.k) return 0;
  return transposed ? p.w[k * p.columns + j] : p.w[(unit / tile_columns * p.columns + j) * p.k + k];
}

// The operands of the next 32 values of k, on their way into shared memory.
template <int gates, int rows, bool transposed>
struct Tile {
  static constexpr int weights = gates * tile_columns * tile_k / step_threads;
  static constexpr int states = rows * step_warps * tile_k / step_threads;

  NONET_DEVICE void load(const DeviceProduct& p, int64_t column, int64_t first, int64_t end, int64_t from) {
    const int thread = thread_rank();
    NONET_UNROLL
    for (int n = 0; n < weights; ++n) {
      const int place = n * step_threads + thread;
      // Neighbouring threads read neighbouring values.
      const int unit = transposed ? place % tile_columns : place / tile_k;
      const int k = transposed ? place / tile_columns : place % tile_k;
      w[n] = weight_at<gates, transposed>(p, unit, column, from + k);
    }
    NONET_UNROLL
    for (int n = 0; n < states; ++n) {
      const int place = n * step_threads + thread;
      const int64_t i = first + place / tile_k;
      const int64_t k = from + place % tile_k;
      a[n] = i < end && k < p.k ? p.a[i * p.lda + k] : 0.f;
    }
  }

  NONET_DEVICE void store(float* shared_w, float* shared_a) const {
    const int thread = thread_rank();
    NONET_UNROLL
    for (int n = 0; n < weights; ++n) {
      const int place = n * step_threads + thread;
      const int unit = transposed ? place % tile_columns : place / tile_k;
      const int k = transposed ? place / tile_columns : place % tile_k;
      shared_w[unit * tile_row + k] = w[n];
    }
    NONET_UNROLL
    for (int n = 0; n < states; ++n) shared_a[n * step_threads + thread] = a[n];
  }

  float w[weights];
  float a[states];
};

// finish(i, j, lanes, z) for sequences of a range and all columns, dealt out to all blocks. Sums are chains in the
// order of k.
template <int gates, int rows, bool transposed, class Finish>
NONET_DEVICE void for_products(const DeviceProduct& p, const Range& sequences, const Finish& finish) {
  auto* shared_w = shared_memory<float>();
  float* shared_a = shared_w + gates * tile_columns * tile_row;
  const int lane = lane_index();
  const int warp = warp_index();
  const int64_t across = (p.columns + tile_columns - 1) / tile_columns;
  const int64_t down = (sequences.end - sequences.begin + rows * step_warps - 1) / (rows * step_warps);
  NONET_ROLLED
  for (int64_t tile = block_index().x; tile < across * down; tile += grid_size().x) {
    const int64_t column = tile % across * tile_columns;
    const int64_t first = sequences.begin + tile / across * rows * step_warps;
    float z[rows][gates] = {};
    Tile<gates, rows, transposed> next;
    next.load(p, column, first, sequences.end, 0);
    NONET_ROLLED
    for (int64_t k = 0; k < p.k; k += tile_k) {
      block_sync();
      next.store(shared_w, shared_a);
      block_sync();
      next.load(p, column, first, sequences.end, k + tile_k);
      NONET_ROLLED
      for (int some = 0; some < tile_k; some += unrolled_k) {
        NONET_UNROLL
        for (int at = some; at < some + unrolled_k; ++at) {
          NONET_UNROLL
          for (int r = 0; r < rows; ++r) {
            const float x = shared_a[(warp * rows + r) * tile_k + at];
            NONET_UNROLL
            for (int g = 0; g < gates; ++g) {
              z[r][g] = fmaf(x, shared_w[(g * tile_columns + lane) * tile_row + at], z[r][g]);
            }
          }
        }
      }
    }
    const int64_t j = column + lane;
    NONET_UNROLL
    for (int r = 0; r < rows; ++r) {
      const int64_t i = first + warp * rows + r;
      if (i < sequences.end && j < p.columns) finish(i, j, 1, z[r]);
    }
  }
}

// finish(i, j, lanes) for the same without a product.
template <class Finish>
NONET_DEVICE void for_elements(const Range& sequences, int64_t columns, const Finish& finish) {
  const int64_t count = sequences.end - sequences.begin;
  for_grid(count > 0 ? count * columns : 0, [&](int64_t n) { finish(sequences.begin + n / columns, n % columns, 1); });
}

// Threads of a warp take several sequences each where the device is full without that.
inline bool takes_rows(int64_t batch, int64_t columns) {
  const int64_t tiles = (batch + step_warps - 1) / step_warps * ((columns + tile_columns - 1) / tile_columns);
  return tiles >= 2 * int64_t{multiprocessors()};
}

// All steps of a job in one launch: no more blocks than there are at the same time.
template <class Kernel, class Job>
void run_steps(Stream stream, int64_t batch, int64_t columns, int rows, int shared_bytes, const Kernel& kernel,
               const Job& job, uint32_t* barrier) {
  if (batch == 0 || job.at.steps == 0) return;
  const int64_t tiles =
      (batch + rows * step_warps - 1) / (rows * step_warps) * ((columns + tile_columns - 1) / tile_columns);
  LaunchConfig config;
  config.grid.x = static_cast<int>(tiles < multiprocessors() ? tiles : multiprocessors());
  config.block.x = step_threads;
  config.shared_bytes = shared_bytes;
  config.cooperative = true;
  config.stream = stream;
  note(launch(config, kernel, job, reinterpret_cast<GridBarrier*>(barrier)));
}

}  // namespace

}  // namespace nonet::NONET_CUDA_NS
