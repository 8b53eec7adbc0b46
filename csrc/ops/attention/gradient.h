// Rows of scores and of dP become probabilities and gradients of scores, for the backward passes. Included by kernels
// only.
#pragma once

#include "ops/attention/tiles.h"

namespace nonet::NONET_NS {

// A row of scores s and of dP: p = 2^(s - lse) and ds = p (dP - delta), both in place.
struct Row {
  float* s;
  float* dp;
  const float* bias;
  const bool* mask;
  float lse;
  float delta;
};

static inline void gradient_row(const Row& row, int64_t n) {
  for_vectors(n, [&](int64_t j, int64_t lanes) {
    const F p = exp2_below(adjusted(load_lanes(row.s + j, lanes), row.bias, row.mask, j, lanes) - row.lse);
    store_lanes(row.s + j, p, lanes);
    store_lanes(row.dp + j, p * (load_lanes(row.dp + j, lanes) - row.delta), lanes);
  });
}
// words: of the first key.
static inline void gradient_row_dropped(const Row& row, int64_t n, PhiloxKey key, int32_t threshold, int64_t words) {
  for_random_words(key, words, words + n, [&](int64_t at, int64_t lanes, U word) {
    const int64_t j = at - words;
    const I kept = survives(word, threshold);
    const F p = exp2_below(adjusted(load_lanes(row.s + j, lanes), row.bias, row.mask, j, lanes) - row.lse);
    const F dp = kept != 0 ? load_lanes(row.dp + j, lanes) : F{};
    store_lanes(row.s + j, kept != 0 ? p : F{}, lanes);
    store_lanes(row.dp + j, p * (dp - row.delta), lanes);
  });
}

// Row r of a block whose first pair is query i and key `first`: both rows, zeros from the keys it sees to `end`, and
// what is added to the gradient of the bias.
static inline void differentiate(const Attention& a, const AttentionGradient& g, int64_t b, int64_t head, int64_t i,
                                 int64_t r, int64_t first, int64_t cols, int64_t end, const Planes& planes, float delta,
                                 float* s, float* dp) {
  const Row row{s,
                dp,
                planes.bias == nullptr ? nullptr : planes.bias + r * planes.bias_row,
                planes.mask == nullptr ? nullptr : planes.mask + r * planes.mask_row,
                g.lse[(b * a.heads + head) * a.queries + i + r],
                delta};
  const int64_t n = visible(a, i + r, first, cols);
  if (a.dropout > 0) {
    gradient_row_dropped(row, n, a.key, drop_threshold(a.dropout), row_words(a, b, head, i + r) + first);
  } else {
    gradient_row(row, n);
  }
  zero_rest(s, n, end);
  zero_rest(dp, n, end);
  if (g.dbias == nullptr) return;
  float* dbias = g.dbias + (((g.bias_batch == 1 ? 0 : b) * a.heads + head) * a.queries + i + r) * a.keys + first;
  for_vectors(n, [&](int64_t j, int64_t lanes) {
    store_lanes(dbias + j, load_lanes(dbias + j, lanes) + load_lanes(dp + j, lanes), lanes);
  });
}

// dO . O of the queries of a head.
template <class T>
static void dot_gradients(const Attention& a, const AttentionGradient& g, int64_t b, int64_t head, float* delta) {
  const T* dout = row_of<T>(g.dout, a.out_view, b, head, 0);
  const T* out = row_of<T>(g.out, a.out_view, b, head, 0);
  for (int64_t i = 0; i < a.queries; ++i, dout += a.out_view.row, out += a.out_view.row) {
    F total{};
    for_vectors(a.value_size, [&](int64_t e, int64_t lanes) {
      total = fma(load_lanes(dout + e, lanes), load_lanes(out + e, lanes), total);
    });
    delta[i] = sum(total);
  }
}

// What dO is multiplied with: dropped probabilities are 0, others are divided by this share.
NONET_INLINE float kept_factor(const Attention& a) {
  return a.dropout >= 1.f ? 0.f : 1.f / (1.f - a.dropout);
}

// body(b, key head) for every task. One task adds to a row of dbias, so one that is summed over the batch makes a task
// of a head.
template <class Body>
static void for_heads(const Attention& a, const AttentionGradient& g, const Body& body) {
  constexpr int64_t block_flops = 400'000;  // less is not worth a second thread
  const bool together = g.dbias != nullptr && g.bias_batch == 1;
  const int64_t tasks = together ? a.kv_heads : a.batch * a.kv_heads;
  const int64_t batches = together ? a.batch : 1;
  const int64_t flops = 4 * batches * a.heads / a.kv_heads * a.queries * a.keys * (a.size + a.value_size);
  parallel_for(tasks, maximum(1, block_flops / maximum(1, flops)), [&](int64_t from, int64_t to) {
    for (int64_t n = from; n < to; ++n) {
      for (int64_t b = n / a.kv_heads; b < n / a.kv_heads + batches; ++b) body(b, n % a.kv_heads);
    }
  });
}

}  // namespace nonet::NONET_NS
