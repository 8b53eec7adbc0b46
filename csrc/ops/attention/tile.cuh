// Attention on a GPU: how a block of threads multiplies tiles of queries and keys and keeps their pairs.
#pragma once

#include "base/dtype.h"
#include "cuda/philox.cuh"
#include "cuda/warp.cuh"
#include "ops/attention/attention.h"

namespace nonet::NONET_CUDA_NS {

namespace {

// A block of 256 threads works on tiles of 64 queries by 64 keys: thread (y, x) of 16 x 16 holds rows y + 16 i and
// columns x + 16 j. Heads are read in chunks of 32 of their elements. Sums of C chunks stay in registers.
constexpr int tile = 64;
constexpr int chunk = 32;
constexpr int line = chunk + 1;  // floats from row to row of a chunk: columns fall into different banks
constexpr int tile_line = tile + 1;
constexpr float log2_e = 1.44269504f;
constexpr int left_at = 0;
constexpr int right_at = tile * line;
constexpr int pairs_at = 2 * tile * line;
constexpr int scratch_at = pairs_at + tile * tile_line;
constexpr int shared_floats = scratch_at + 8;

struct Place {
  int x = thread_rank() % 16;
  int y = thread_rank() / 16;
};

template <class T>
NONET_DEVICE const T* head_of(const void* data, const HeadView& v, int64_t b, int64_t h) {
  return static_cast<const T*>(data) + v.offset + b * v.batch + h * v.head;
}
template <class T>
NONET_DEVICE T* head_of(void* data, const HeadView& v, int64_t b, int64_t h) {
  return static_cast<T*>(data) + v.offset + b * v.batch + h * v.head;
}

// Rows [first, first + 64) below `rows` and elements [e, e + 32) below n of a head, zeros elsewhere.
template <class T>
NONET_DEVICE void load_chunk(const T* head, int64_t row, int64_t first, int64_t rows, int64_t e, int64_t n,
                             float factor, float* to) {
  const int lane = thread_rank() % chunk;
  NONET_ROLLED
  for (int r = thread_rank() / chunk; r < tile; r += 256 / chunk) {
    const bool inside = first + r < rows && e + lane < n;
    to[r * line + lane] = inside ? as_float(head[(first + r) * row + e + lane]) * factor : 0.f;
  }
}

// s += A B^T of chunks.
NONET_DEVICE void add_products(const Place& p, const float* left, const float* right, float (&s)[4][4]) {
  NONET_ROLLED
  for (int k = 0; k < chunk; ++k) {
    float a[4];
    float b[4];
    NONET_UNROLL
    for (int i = 0; i < 4; ++i) a[i] = left[(p.y + 16 * i) * line + k];
    NONET_UNROLL
    for (int j = 0; j < 4; ++j) b[j] = right[(p.x + 16 * j) * line + k];
    NONET_UNROLL
    for (int i = 0; i < 4; ++i) {
      NONET_UNROLL
      for (int j = 0; j < 4; ++j) s[i][j] = fmaf(a[i], b[j], s[i][j]);
    }
  }
}

// s = factor x_i . y_j for the tile of rows from i on of x and from j on of y.
template <class T>
NONET_DEVICE void tile_products(const Place& p, const T* x, int64_t x_row, int64_t i, int64_t rows, const T* y,
                                int64_t y_row, int64_t j, int64_t cols, int64_t n, float factor, float* shared,
                                float (&s)[4][4]) {
  NONET_UNROLL
  for (int r = 0; r < 4; ++r) {
    NONET_UNROLL
    for (int c = 0; c < 4; ++c) s[r][c] = 0.f;
  }
  NONET_ROLLED
  for (int64_t e = 0; e < n; e += chunk) {
    block_sync();  // the chunks, and what is kept in pairs, have been read
    load_chunk(x, x_row, i, rows, e, n, factor, shared + left_at);
    load_chunk(y, y_row, j, cols, e, n, 1.f, shared + right_at);
    block_sync();
    add_products(p, shared + left_at, shared + right_at, s);
  }
}

// sums[c] += W Y with weights W in pairs, [64, 64], and Y the tile of rows from j on of a head. across: W^T Y.
template <int C, bool across, class T>
NONET_DEVICE void add_weighted(const Place& p, const T* y, int64_t y_row, int64_t j, int64_t rows, int64_t n,
                               float factor, float* shared, float (&sums)[C][4][2]) {
  const float* pairs = shared + pairs_at;
  NONET_UNROLL
  for (int c = 0; c < C; ++c) {
    if (c * chunk < n) {
      block_sync();
      load_chunk(y, y_row, j, rows, c * chunk, n, factor, shared + right_at);
      block_sync();
      NONET_ROLLED
      for (int k = 0; k < tile; ++k) {
        float w[4];
        float v[2];
        NONET_UNROLL
        for (int i = 0; i < 4; ++i) {
          const int r = p.y + 16 * i;
          w[i] = across ? pairs[k * tile_line + r] : pairs[r * tile_line + k];
        }
        NONET_UNROLL
        for (int h = 0; h < 2; ++h) v[h] = shared[right_at + k * line + p.x + 16 * h];
        NONET_UNROLL
        for (int i = 0; i < 4; ++i) {
          NONET_UNROLL
          for (int h = 0; h < 2; ++h) sums[c][i][h] = fmaf(w[i], v[h], sums[c][i][h]);
        }
      }
    }
  }
}

template <int C>
NONET_DEVICE void clear(float (&sums)[C][4][2]) {
  NONET_UNROLL
  for (int c = 0; c < C; ++c) {
    NONET_UNROLL
    for (int i = 0; i < 4; ++i) sums[c][i][0] = sums[c][i][1] = 0.f;
  }
}

// Sums of rows from `first` on, times factor(i), into a head.
template <int C, class T, class Factor>
NONET_DEVICE void store_sums(const Place& p, const float (&sums)[C][4][2], T* head, int64_t row, int64_t first,
                             int64_t rows, int64_t n, const Factor& factor) {
  NONET_UNROLL
  for (int c = 0; c < C; ++c) {
    NONET_UNROLL
    for (int i = 0; i < 4; ++i) {
      NONET_UNROLL
      for (int h = 0; h < 2; ++h) {
        const int64_t r = first + p.y + 16 * i;
        const int64_t e = c * chunk + p.x + 16 * h;
        if (r < rows && e < n) head[r * row + e] = from_float<T>(sums[c][i][h] * factor(i));
      }
    }
  }
}

// What bias, mask and order of the pair (i, j) make of its score, in units of log 2.
struct Pairs {
  const Attention& a;
  int64_t b, h;

  NONET_DEVICE bool seen(int64_t i, int64_t j) const {
    if (i >= a.queries || j >= a.keys || (a.causal && j > i + a.shift)) return false;
    const PlaneView& v = a.mask_view;
    return a.mask == nullptr || a.mask[b * v.batch + h * v.head + i * v.row + j];
  }
  NONET_DEVICE float bias(int64_t i, int64_t j) const {
    const PlaneView& v = a.bias_view;
    return a.bias == nullptr ? 0.f : a.bias[b * v.batch + h * v.head + i * v.row + j];
  }
  NONET_DEVICE float score(float s, int64_t i, int64_t j) const {
    if (!seen(i, j)) return -INFINITY;
    return a.bias == nullptr ? s : fmaf(bias(i, j), log2_e, s);
  }
  NONET_DEVICE bool kept(int64_t i, int64_t j, int32_t threshold) const {
    const int64_t drawn = (a.keys + 3) / 4 * 4;
    const int64_t at = ((b * a.heads + h) * a.queries + i) * drawn + j;
    const RandomWords words = random_words(a.key, at / 4);
    const uint32_t low = at % 2 == 0 ? words.w[0] : words.w[1];
    const uint32_t high = at % 2 == 0 ? words.w[2] : words.w[3];
    return random_bits(at % 4 < 2 ? low : high) >= threshold;
  }
  // Whether no pair of a tile is seen: the same for all threads.
  NONET_DEVICE bool hidden(const Place& p, int64_t i, int64_t j, float* shared) const {
    if (a.causal && j > i + tile - 1 + a.shift) return true;
    if (a.mask == nullptr && a.bias == nullptr) return false;
    int any = 0;
    NONET_ROLLED
    for (int n = 0; n < 16; ++n) {
      const int64_t r = i + p.y + 16 * (n / 4);
      const int64_t c = j + p.x + 16 * (n % 4);
      any |= seen(r, c) && bias(r, c) != -INFINITY ? 1 : 0;
    }
    return block_sum(any, reinterpret_cast<int*>(shared + scratch_at)) == 0;
  }
};

}  // namespace

}  // namespace nonet::NONET_CUDA_NS
