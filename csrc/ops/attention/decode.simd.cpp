#include "ops/attention/decode.h"

#include "ops/attention/tiles.h"

namespace nonet::NONET_NS {

namespace {

constexpr int64_t chunk = 256;       // keys of a task
constexpr int64_t most_queries = 4;  // more are faster in blocks
constexpr int64_t block_flops = 200'000;

// Of a chunk, per query row: its sums, the largest score and the sum of 2^(score - largest).
NONET_INLINE int64_t part_floats(const Attention& a) {
  return (a.value_size + 2 + 15) / 16 * 16;
}
NONET_INLINE int64_t rows_of(const Attention& a) {
  return a.heads / a.kv_heads * a.queries;
}

// Scores of R queries, `size` apart, with N keys.
template <int R, int N, class T>
NONET_INLINE void score(const float* q, const T* k, int64_t row, int64_t size, float* scores) {
  F acc[R][N] = {};
  for_vectors(size, [&](int64_t e, int64_t lanes) {
    F qe[R];
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) qe[r] = load_lanes(q + r * size + e, lanes);
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) {
      const F ke = load_lanes(k + n * row + e, lanes);
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) acc[r][n] = fma(qe[r], ke, acc[r][n]);
    }
  });
  for (int r = 0; r < R; ++r) {
    if constexpr (N == 1) {
      scores[r * chunk] = sum(acc[r][0]);
    } else {
      for (int n = 0; n < N; n += 4) {
        float four[4];
        sum4(acc[r][n], acc[r][n + 1], acc[r][n + 2], acc[r][n + 3], four);
        for (int i = 0; i < 4; ++i) scores[r * chunk + n + i] = four[i];
      }
    }
  }
}

template <int R, class T>
void score_rows(const float* q, const T* k, int64_t row, int64_t size, int64_t keys, float* scores) {
  constexpr int N = R == 1 ? 8 : 4;
  int64_t j = 0;
  for (; j + N <= keys; j += N) score<R, N>(q, k + j * row, row, size, scores + j);
  for (; j < keys; ++j) score<R, 1>(q, k + j * row, row, size, scores + j);
}

// out_r = sum_j p_rj v_j for R rows and V vectors of values, the last of `lanes`.
template <int R, int V, class T>
NONET_INLINE void gather(const float* p, const T* v, int64_t row, int64_t keys, float* out, int64_t out_row,
                         int64_t lanes) {
  F acc[R][V] = {};
  for (int64_t j = 0; j < keys; ++j, v += row) {
    F vj[V];
#pragma GCC unroll 8
    for (int i = 0; i < V; ++i) vj[i] = load_lanes(v + i * width, i + 1 < V ? (int64_t)width : lanes);
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      const F pj = broadcast(p[r * chunk + j]);
#pragma GCC unroll 8
      for (int i = 0; i < V; ++i) acc[r][i] = fma(pj, vj[i], acc[r][i]);
    }
  }
  for (int r = 0; r < R; ++r)
    for (int i = 0; i < V; ++i)
      store_lanes(out + r * out_row + i * width, acc[r][i], i + 1 < V ? (int64_t)width : lanes);
}

template <int R, class T>
void gather_rows(const float* p, const T* v, int64_t row, int64_t keys, int64_t n, float* out, int64_t out_row) {
  constexpr int V = R == 1 ? 4 : 2;
  int64_t e = 0;
  for (; e + V * width <= n; e += V * width) gather<R, V>(p, v + e, row, keys, out + e, out_row, width);
  for (; e < n; e += width) gather<R, 1>(p, v + e, row, keys, out + e, out_row, minimum(width, n - e));
}

template <class T>
void run_chunk(const Attention& a, int64_t b, int64_t head, int64_t first, float* parts) {
  const int64_t group = a.heads / a.kv_heads;
  const int64_t rows = rows_of(a);
  const int64_t keys = minimum(chunk, a.keys - first);
  float* q = nullptr;
  float* scores = nullptr;
  with_scratch([&](Pieces& p) {
    q = take(p, rows * a.size);
    scores = take(p, rows * chunk);
  });
  for (int64_t g = 0; g < group; ++g)
    copy_rows(row_of<T>(a.q, a.q_view, b, head * group + g, 0), a.q_view.row, a.queries, a.size, a.scale * log2_e,
              q + g * a.queries * a.size);
  const T* k = row_of<T>(a.k, a.k_view, b, head, first);
  const T* v = row_of<T>(a.v, a.v_view, b, head, first);
  int64_t r = 0;
  for (; r + 4 <= rows; r += 4) score_rows<4>(q + r * a.size, k, a.k_view.row, a.size, keys, scores + r * chunk);
  for (; r < rows; ++r) score_rows<1>(q + r * a.size, k, a.k_view.row, a.size, keys, scores + r * chunk);
  const int64_t distance = part_floats(a);
  for (r = 0; r < rows; ++r) {
    const int64_t i = r % a.queries;
    const Planes planes = planes_of(a, b, head * group + r / a.queries, i, first);
    const int64_t n = visible(a, i, first, keys);
    RowState state{-__builtin_inff(), {}};
    softmax_row(scores + r * chunk, n, planes.bias, planes.mask, state);
    zero_rest(scores + r * chunk, n, keys);
    parts[r * distance + a.value_size] = state.most;
    parts[r * distance + a.value_size + 1] = total_of(state);
  }
  for (r = 0; r + 4 <= rows; r += 4)
    gather_rows<4>(scores + r * chunk, v, a.v_view.row, keys, a.value_size, parts + r * distance, distance);
  for (; r < rows; ++r)
    gather_rows<1>(scores + r * chunk, v, a.v_view.row, keys, a.value_size, parts + r * distance, distance);
}

// One query row from its chunks.
template <class T>
void join(const Attention& a, int64_t b, int64_t head, int64_t i, const float* parts, int64_t chunks, int64_t distance,
          void* out, float* lse) {
  float most = -__builtin_inff();
  for (int64_t c = 0; c < chunks; ++c) {
    const float m = parts[c * distance + a.value_size];
    most = m > most ? m : most;
  }
  const float zero = most == -__builtin_inff() ? 0.f : most;
  float total = 0;
  for (int64_t c = 0; c < chunks; ++c)
    total += parts[c * distance + a.value_size + 1] * exp2_below(parts[c * distance + a.value_size] - zero);
  const float inverse = total == 0.f ? 0.f : 1.f / total;
  T* to = row_of<T>(out, a.out_view, b, head, i);
  for_vectors(a.value_size, [&](int64_t e, int64_t lanes) {
    F acc{};
    for (int64_t c = 0; c < chunks; ++c) {
      const float factor = exp2_below(parts[c * distance + a.value_size] - zero);
      if (factor != 0.f) acc = fma(load_lanes(parts + c * distance + e, lanes), broadcast(factor), acc);
    }
    store_lanes(to + e, acc * inverse, lanes);
  });
  lse[(b * a.heads + head) * a.queries + i] = total == 0.f ? __builtin_inff() : most + __builtin_log2f(total);
}

template <class T>
void run(const Attention& a, void* out, float* lse, float* workspace) {
  const int64_t heads = a.batch * a.kv_heads;
  const int64_t rows = rows_of(a);
  const int64_t chunks = divide_up(a.keys, chunk);
  const int64_t distance = part_floats(a);
  const int64_t flops = 2 * rows * minimum(chunk, a.keys) * (a.size + a.value_size);
  parallel_for(heads * chunks, maximum(1, block_flops / maximum(1, flops)), [&](int64_t from, int64_t to) {
    for (int64_t n = from; n < to; ++n) {
      const int64_t h = n / chunks;
      run_chunk<T>(a, h / a.kv_heads, h % a.kv_heads, n % chunks * chunk, workspace + n * rows * distance);
    }
  });
  const int64_t group = a.heads / a.kv_heads;
  parallel_for(heads, maximum(1, block_flops / (4 * rows * chunks * distance)), [&](int64_t from, int64_t to) {
    for (int64_t h = from; h < to; ++h) {
      for (int64_t r = 0; r < rows; ++r)
        join<T>(a, h / a.kv_heads, h % a.kv_heads * group + r / a.queries, r % a.queries,
                workspace + (h * chunks * rows + r) * distance, chunks, rows * distance, out, lse);
    }
  });
}

}  // namespace

bool wants_decode(const Attention& a) {
  return a.queries <= most_queries && rows_of(a) <= 32 && a.dropout == 0.f && a.keys > 0;
}

int64_t decode_workspace(const Attention& a) {
  return a.batch * a.kv_heads * divide_up(a.keys, chunk) * rows_of(a) * part_floats(a);
}

void decode(const Attention& a, void* out, float* lse, float* workspace) {
  (a.bfloat16 ? run<bfloat16> : run<float>)(a, out, lse, workspace);
}

}  // namespace nonet::NONET_NS
