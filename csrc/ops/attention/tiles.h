// What the passes of attention share: copies of heads in the forms that products read, which keys a block of queries
// sees, and the softmax of rows. *.simd.cpp only.
//
// Scores are kept in units of log 2: the scale and log2 e are multiplied into the copy of q.
#pragma once

#include "ops/attention/attention.h"
#include "ops/matmul/pack.h"
#include "simd/philox.h"

namespace nonet::NONET_NS {

inline constexpr float log2_e = 1.44269504f;
inline constexpr int64_t key_block = 128;

// 2^x for x up to a little above 0, within 2 ulp; 0 below -126.5, NaN for NaN.
NONET_INLINE F exp2_below(F x) {
  const F y = max_number(broadcast(-127.f), x);
  const F shifted = y + 12582912.f;  // the nearest integer, in its low bits too
  const F r = y - (shifted - 12582912.f);
  F p = broadcast(0.00015353362f);
  p = fma(p, r, broadcast(0.0013398875f));
  p = fma(p, r, broadcast(0.009618437f));
  p = fma(p, r, broadcast(0.055503324f));
  p = fma(p, r, broadcast(0.24022648f));
  p = fma(p, r, broadcast(0.6931472f));
  p = fma(p, r, broadcast(1.f));
  return p * as_float((as_int(shifted) << 23) + 0x3f800000);
}
NONET_INLINE float exp2_below(float x) {
  return exp2_below(broadcast(x))[0];
}

// ---------------------------------------------------------------- heads
template <class T>
NONET_INLINE const T* row_of(const void* data, const HeadView& view, int64_t b, int64_t h, int64_t t) {
  return (const T*)data + view.offset + b * view.batch + h * view.head + t * view.row;
}
template <class T>
NONET_INLINE T* row_of(void* data, const HeadView& view, int64_t b, int64_t h, int64_t t) {
  return (T*)data + view.offset + b * view.batch + h * view.head + t * view.row;
}

// to [rows, n] = factor x, whose rows are `row` apart.
template <class T>
static void copy_rows(const T* x, int64_t row, int64_t rows, int64_t n, float factor, float* to) {
  for (int64_t r = 0; r < rows; ++r, x += row, to += n)
    for_vectors(n, [&](int64_t i, int64_t lanes) { store_lanes(to + i, load_lanes(x + i, lanes) * factor, lanes); });
}
// The same back.
template <class T>
static void write_rows(const float* x, int64_t rows, int64_t n, float factor, T* to, int64_t row) {
  for (int64_t r = 0; r < rows; ++r, x += n, to += row)
    for_vectors(n, [&](int64_t i, int64_t lanes) { store_lanes(to + i, load_lanes(x + i, lanes) * factor, lanes); });
}

constexpr int64_t padded(int64_t n) {
  return (n + panel_columns - 1) / panel_columns * panel_columns;
}
// Panels [n / 32][distance][32] of rows [rows, n], of which the first is row `at` of the panels.
template <class T>
static void pack_rows_as_panels(const T* x, int64_t row, int64_t rows, int64_t n, int64_t distance, int64_t at,
                                float* to) {
  for (int64_t c = 0; c < n; c += panel_columns)
    pack_panel(x + c, row, rows, minimum(panel_columns, n - c), to + c * distance + at * panel_columns);
}
// Panels [rows / 32][n][32] of the transpose of rows [rows, n].
template <class T>
static void pack_rows_transposed(const T* x, int64_t row, int64_t rows, int64_t n, float* to) {
  for (int64_t r = 0; r < rows; r += panel_columns)
    pack_panel_transposed(x + r * row, row, n, minimum(panel_columns, rows - r), to + r * n);
}

// C[rows, cols] (+)= A[rows, k] B, whose panels are `distance` rows long.
template <Order order = Order::rows>
static void multiply(int64_t rows, int64_t cols, int64_t k, const float* a, int64_t lda, const float* b,
                     int64_t distance, float* c, int64_t ldc, bool accumulate) {
  for (int64_t j = 0; j < cols; j += panel_columns) {
    const Term term{a, b + j * distance};
    brgemm<order>(rows, minimum(panel_columns, cols - j),
                  Product{&term, 1, k, lda, panel_columns, c + j, ldc, accumulate}, NoEpilogue{});
  }
}

// ---------------------------------------------------------------- which keys are seen
// The place of number n of a head's parts, which a causal order makes unequal. A thread gets tasks that follow each
// other: last, first, second to last, second, …
NONET_INLINE int64_t balanced(int64_t n, int64_t count) {
  return n % 2 == 0 ? count - 1 - n / 2 : n / 2;
}

// The keys of a block [first, first + count) that query i sees are among the first of this many.
NONET_INLINE int64_t visible(const Attention& a, int64_t i, int64_t first, int64_t count) {
  return a.causal ? maximum(0, minimum(count, i + a.shift + 1 - first)) : count;
}

// Rows of the bias and the mask from (b, h, i, 0); null where there is none.
struct Planes {
  const float* bias;
  int64_t bias_row;
  const bool* mask;
  int64_t mask_row;
};
NONET_INLINE Planes planes_of(const Attention& a, int64_t b, int64_t h, int64_t i, int64_t j) {
  Planes p{nullptr, 0, nullptr, 0};
  if (a.bias != nullptr) {
    const PlaneView& v = a.bias_view;
    p.bias = a.bias + b * v.batch + h * v.head + i * v.row + j;
    p.bias_row = v.row;
  }
  if (a.mask != nullptr) {
    const PlaneView& v = a.mask_view;
    p.mask = a.mask + b * v.batch + h * v.head + i * v.row + j;
    p.mask_row = v.row;
  }
  return p;
}

// Whether no pair of [rows, cols] is seen, by mask and bias. The first seen one ends the search.
static inline bool all_hidden(const Planes& p, int64_t rows, int64_t cols) {
  if (p.mask == nullptr && p.bias == nullptr) return false;
  const int64_t lines = (p.mask == nullptr || p.mask_row == 0) && (p.bias == nullptr || p.bias_row == 0) ? 1 : rows;
  for (int64_t r = 0; r < lines; ++r) {
    for (int64_t j = 0; j < cols; ++j) {
      const bool masked = p.mask != nullptr && !p.mask[r * p.mask_row + j];
      if (!masked && (p.bias == nullptr || p.bias[r * p.bias_row + j] != -__builtin_inff())) return false;
    }
  }
  return true;
}

NONET_INLINE I load_flags(const bool* p, int64_t lanes) {
  U8 v{};
  if (lanes == width) {
    __builtin_memcpy(&v, p, width);
  } else {
    uint8_t part[width] = {};
    __builtin_memcpy(part, p, lanes);
    __builtin_memcpy(&v, part, width);
  }
  return __builtin_convertvector(v, I) != 0;
}

// A score with what is added to it and masked out of it.
NONET_INLINE F adjusted(F s, const float* bias, const bool* mask, int64_t j, int64_t lanes) {
  if (bias != nullptr) s = fma(load_lanes(bias + j, lanes), broadcast(log2_e), s);
  if (mask != nullptr) s = load_flags(mask + j, lanes) != 0 ? s : broadcast(-__builtin_inff());
  return s;
}

// ---------------------------------------------------------------- rows
// The running softmax of a row over blocks of keys: the largest score, and per lane the sum of 2^(score - largest).
struct RowState {
  float most;
  float total[width];
};

template <int step, int... lane>
NONET_INLINE F with_partner(F v, Lanes<lane...>) {
  return max_number(v, NONET_SHUFFLE(v, v, (lane ^ step)...));
}
// The largest lane. NaN is passed over: it shows in the sums.
template <int step = width / 2>
NONET_INLINE float largest(F v) {
  v = with_partner<step>(v, AllLanes{});
  if constexpr (step > 1) {
    return largest<step / 2>(v);
  } else {
    return v[0];
  }
}

// The largest of n scores, with bias and mask put into them.
static inline float largest_score(float* s, int64_t n, const float* bias, const bool* mask) {
  F most = broadcast(-__builtin_inff());
  if (bias != nullptr || mask != nullptr) {
    for_vectors(n, [&](int64_t j, int64_t lanes) {
      const F x = adjusted(load_lanes(s + j, lanes), bias, mask, j, lanes);
      store_lanes(s + j, x, lanes);
      most = max_number(keep_lanes(x, lanes, -__builtin_inff()), most);
    });
    return largest(most);
  }
  int64_t j = 0;
  F other = most;
  for (; j + 2 * width <= n; j += 2 * width) {
    most = max_number(load(s + j), most);
    other = max_number(load(s + j + width), other);
  }
  most = max_number(most, other);
  for (; j < n; j += width) {
    const int64_t lanes = minimum(width, n - j);
    most = max_number(keep_lanes(load_lanes(s + j, lanes), lanes, -__builtin_inff()), most);
  }
  return largest(most);
}

// Scores s of the first n keys of a block become 2^(s - most), with `most` raised to the largest. -> what sums made so
// far are to be multiplied with.
static inline float softmax_row(float* s, int64_t n, const float* bias, const bool* mask, RowState& state) {
  const float block = largest_score(s, n, bias, mask);
  const float before = state.most;
  const float raised = block > before ? block : before;
  const float zero = raised == -__builtin_inff() ? 0.f : raised;  // nothing is seen yet: -inf - 0
  const float factor = raised == before ? 1.f : exp2_below(before - zero);
  state.most = raised;
  F total = load(state.total) * factor;
  int64_t j = 0;
#pragma GCC unroll 2
  for (; j + width <= n; j += width) {
    const F p = exp2_below(load(s + j) - zero);
    store(s + j, p);
    total += p;
  }
  if (j < n) {
    const F p = exp2_below(load(s + j, n - j) - zero);
    store(s + j, p, n - j);
    total += keep_lanes(p, n - j, 0.f);
  }
  store(state.total, total);
  return factor;
}

NONET_INLINE void zero_rest(float* s, int64_t from, int64_t to) {
  for (int64_t j = from; j < to; ++j) s[j] = 0.f;
}

NONET_INLINE float total_of(const RowState& state) {
  return sum(load(state.total));
}
NONET_INLINE float lse_of(const RowState& state, float total) {
  return total == 0.f ? __builtin_inff() : state.most + __builtin_log2f(total);
}

// The first word of a row's dropout.
NONET_INLINE int64_t row_words(const Attention& a, int64_t b, int64_t h, int64_t i) {
  return ((b * a.heads + h) * a.queries + i) * ((a.keys + 3) / 4 * 4);
}

// A task's scratch memory, handed out in aligned pieces. Without memory it counts.
struct Pieces {
  float* next;
  int64_t floats = 0;
};
NONET_INLINE float* take(Pieces& p, int64_t n) {
  float* out = p.next;
  const int64_t all = (n + 15) / 16 * 16;
  p.floats += all;
  if (out != nullptr) p.next += all;
  return out;
}
// body(pieces) twice: to count, and with memory.
template <class Body>
NONET_INLINE void with_scratch(const Body& body) {
  Pieces count{nullptr};
  body(count);
  Pieces pieces{(float*)thread_scratch(count.floats * (int64_t)sizeof(float))};
  body(pieces);
}

}  // namespace nonet::NONET_NS
