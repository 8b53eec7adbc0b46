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

// A task: the query heads of one key head, and a range of its keys. All tasks of a head add to dq: where there are
// several, each has sums of its own, which are joined in their order.
struct Range {
  int64_t b, head;  // the key head
  int64_t number;
  int64_t begin, end;  // keys
};

struct Ranges {
  int64_t batches;  // of a task: one task adds to a row of dbias
  int64_t tasks;    // of a range
  int64_t keys;     // of a range, whole blocks
  int64_t count;
};
static inline Ranges ranges_of(const Attention& a, const AttentionGradient& g) {
  const bool together = g.dbias != nullptr && g.bias_batch == 1;
  Ranges r{together ? a.batch : 1, together ? a.kv_heads : a.batch * a.kv_heads, 0, 1};
  while (r.tasks * r.count < 8 && a.keys >= 4 * key_block * r.count) r.count *= 2;
  r.keys = divide_up(divide_up(a.keys, r.count), key_block) * key_block;
  r.count = maximum(1, divide_up(a.keys, maximum(1, r.keys)));
  return r;
}

// Where the sums of dq [queries, size] of a head lie: in the memory of the task, or in a place for the range.
static inline float* query_sums(const Attention& a, const Ranges& r, const Range& t, int64_t head, float* own,
                                float* workspace) {
  return r.count == 1 ? own : workspace + ((t.b * a.heads + head) * r.count + t.number) * a.queries * a.size;
}

// dq of some rows of a head from sums that lie `distance` apart, `count` of them.
template <class T>
static void write_queries(const Attention& a, const AttentionGradient& g, int64_t b, int64_t head, int64_t i,
                          int64_t rows, const float* sums, int64_t distance, int64_t count) {
  for (int64_t r = i; r < i + rows; ++r) {
    const float* x = sums + r * a.size;
    T* to = row_of<T>(g.dq, a.q_view, b, head, r);
    for_vectors(a.size, [&](int64_t e, int64_t lanes) {
      F total = load_lanes(x + e, lanes);
      for (int64_t n = 1; n < count; ++n) total += load_lanes(x + n * distance + e, lanes);
      store_lanes(to + e, total * a.scale, lanes);
    });
  }
}

static inline int64_t gradient_workspace(const Attention& a, const AttentionGradient& g) {
  const int64_t count = ranges_of(a, g).count;
  return count == 1 ? 0 : a.batch * a.heads * count * a.queries * a.size;
}

// body(range) for every task; then what T dq is.
template <class T, class Body>
static void for_ranges(const Attention& a, const AttentionGradient& g, float* workspace, const Body& body) {
  constexpr int64_t block_flops = 400'000;  // less is not worth a second thread
  const Ranges r = ranges_of(a, g);
  const int64_t flops =
      4 * r.batches * a.heads / a.kv_heads * a.queries * minimum(a.keys, r.keys) * (a.size + a.value_size);
  parallel_for(r.tasks * r.count, maximum(1, block_flops / maximum(1, flops)), [&](int64_t from, int64_t to) {
    for (int64_t n = from; n < to; ++n) {
      const int64_t first = n / r.count;
      const int64_t number = balanced(n % r.count, r.count);
      const int64_t begin = number * r.keys;
      for (int64_t b = first / a.kv_heads; b < first / a.kv_heads + r.batches; ++b)
        body(r, Range{b, first % a.kv_heads, number, begin, minimum(a.keys, begin + r.keys)});
    }
  });
  if (r.count == 1) return;
  constexpr int64_t rows = 64;
  const int64_t blocks = divide_up(a.queries, rows);
  const int64_t distance = a.queries * a.size;
  parallel_for(a.batch * a.heads * blocks, maximum(1, 16384 / maximum(1, rows * a.size)),
               [&](int64_t from, int64_t to) {
                 for (int64_t n = from; n < to; ++n) {
                   const int64_t head = n / blocks;
                   const int64_t i = n % blocks * rows;
                   write_queries<T>(a, g, head / a.heads, head % a.heads, i, minimum(rows, a.queries - i),
                                    workspace + head * r.count * distance, distance, r.count);
                 }
               });
}

}  // namespace nonet::NONET_NS
