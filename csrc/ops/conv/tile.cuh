// The tile of a product that a block of threads sums in registers, from slices of both operands in shared memory.
#pragma once

#include "cuda/elements.cuh"

namespace nonet::NONET_CUDA_NS {

// C [M, N] += A^T B, A [K, M] and B [K, N] in shared memory. A thread holds TM x TN sums, as
// blocks of 4 x 4, so that what a warp reads of a slice is a few whole lines.
template <int M, int N, int K, int TM, int TN>
struct Tile {
  static constexpr int m = M, n = N, k = K;
  static constexpr int thread_m = TM, thread_n = TN;
  static constexpr int threads = M / TM * (N / TN);
  static constexpr int min_blocks = TM * TN > 32 ? 1 : 2;  // of a multiprocessor: more would spill
  static constexpr int a_row = M + 4, b_row = N + 4;       // floats: lanes that write along k meet different banks
  static constexpr int stage = K * (a_row + b_row);
  static constexpr int shared_bytes = 2 * stage * static_cast<int>(sizeof(float));
  static constexpr int lanes_n = N / TN < 8 ? N / TN : 8;
  static constexpr int lanes_m = 32 / lanes_n;
  static constexpr int warps_n = N / TN / lanes_n;
  static_assert(TM % 4 == 0 && TN % 4 == 0 && threads % 32 == 0);

  float sum[TM][TN] = {};

  // Where in the tile the thread's blocks of 4 are: block b of rows begins at row(b).
  static NONET_DEVICE int row(int block) {
    const int thread = warp_index() / warps_n * lanes_m + lane_index() / lanes_n;
    return block * (M / (TM / 4)) + thread * 4;
  }
  static NONET_DEVICE int column(int block) {
    const int thread = warp_index() % warps_n * lanes_n + lane_index() % lanes_n;
    return block * (N / (TN / 4)) + thread * 4;
  }

  static NONET_DEVICE float* a_of(int stage_number) { return shared_memory<float>() + stage_number * stage; }
  static NONET_DEVICE float* b_of(int stage_number) { return a_of(stage_number) + K * a_row; }

  NONET_DEVICE void multiply(const float* a, const float* b) {
    a += row(0);
    b += column(0);
    NONET_UNROLL
    for (int i = 0; i < K; ++i) {
      float own_a[TM];
      float own_b[TN];
      NONET_UNROLL
      for (int r = 0; r < TM; r += 4) {
        const auto four = load_pack<4>(a + i * a_row + r / 4 * (M / (TM / 4)));
        NONET_UNROLL
        for (int j = 0; j < 4; ++j) own_a[r + j] = four[j];
      }
      NONET_UNROLL
      for (int c = 0; c < TN; c += 4) {
        const auto four = load_pack<4>(b + i * b_row + c / 4 * (N / (TN / 4)));
        NONET_UNROLL
        for (int j = 0; j < 4; ++j) own_b[c + j] = four[j];
      }
      NONET_UNROLL
      for (int r = 0; r < TM; ++r) {
        NONET_UNROLL
        for (int c = 0; c < TN; ++c) sum[r][c] = fmaf(own_a[r], own_b[c], sum[r][c]);
      }
    }
  }

  // Sums over `slices` times K. A loader has load(slice), which reads from global memory into registers,
  // and store(to), which puts them into shared memory: the next slice is on its way while this one is multiplied.
  template <class A, class B>
  NONET_DEVICE void run(int slices, A& a, B& b) {
    if (slices == 0) return;
    a.load(0);
    b.load(0);
    a.store(a_of(0));
    b.store(b_of(0));
    block_sync();
    for (int s = 0; s < slices; ++s) {
      const bool more = s + 1 < slices;
      if (more) {
        a.load(s + 1);
        b.load(s + 1);
      }
      multiply(a_of(s % 2), b_of(s % 2));
      if (more) {
        a.store(a_of((s + 1) % 2));
        b.store(b_of((s + 1) % 2));
      }
      block_sync();
    }
  }
};

// Four neighbours as floats: at once if `whole`, else those below `count`, the others 0.
template <class T>
NONET_DEVICE Pack<float, 4> load_four(const T* p, bool whole, int count) {
  Pack<float, 4> out = {};
  if (whole && count >= 4) {
    const auto v = load_pack<4>(p);
    NONET_UNROLL
    for (int j = 0; j < 4; ++j) out[j] = as_float(v[j]);
  } else {
    NONET_UNROLL
    for (int j = 0; j < 4; ++j) {
      if (j < count) out[j] = as_float(p[j]);
    }
  }
  return out;
}
template <class T>
NONET_DEVICE void store_four(T* p, bool whole, int count, const Pack<float, 4>& v) {
  if (whole && count >= 4) {
    Pack<T, 4> out;
    NONET_UNROLL
    for (int j = 0; j < 4; ++j) out[j] = from_float<T>(v[j]);
    store_pack(p, out);
  } else {
    NONET_UNROLL
    for (int j = 0; j < 4; ++j) {
      if (j < count) p[j] = from_float<T>(v[j]);
    }
  }
}

}  // namespace nonet::NONET_CUDA_NS
