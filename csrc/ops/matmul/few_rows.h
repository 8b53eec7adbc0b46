// Products that read B where it lies: few rows of A, or a small k. *.simd.cpp only.
#pragma once

#include "ops/matmul/pack.h"
#include "ops/matmul/sums.h"

namespace nonet::NONET_NS {

namespace {

constexpr int64_t dot_rows = tile_rows > 6 ? 4 : 3;

NONET_INLINE float value_at(const void* x, bool is_bfloat16, int64_t i) {
  if (!is_bfloat16) return ((const float*)x)[i];
  const uint32_t bits = (uint32_t)((const bfloat16*)x)[i].bits << 16;
  float out;
  __builtin_memcpy(&out, &bits, sizeof out);
  return out;
}
void widen(const bfloat16* x, int64_t n, float* to) {
  for_vectors(n, [&](int64_t i, int64_t lanes) { store_lanes(to + i, load_lanes(x + i, lanes), lanes); });
}

// ---------------------------------------------------------------- few rows times B^T: dot products of rows
bool wants_dot(const Gemm& g) {
  return g.transpose_b && !g.transpose_a && g.m <= 8 * dot_rows;
}

// C[r, s] = a_r . b_s for R rows and S (a multiple of 4, or 1) columns. ahead: asks for the next S rows of B, which lie
// one behind the other, in that order: a row alone is too short for the hardware to foresee.
template <int R, int S, bool ahead, class B>
void dot_tile(const float* a, int64_t lda, const B* b, int64_t ldb, int64_t k, float* c, int64_t ldc, bool add) {
  F acc[R][S] = {};
  for_vectors(k, [&](int64_t i, int64_t lanes) {
    if constexpr (ahead) {
      const char* next = (const char*)(b + S * ldb + S * i);
#pragma GCC unroll 8
      for (int64_t at = 0; at < (int64_t)(S * width * sizeof(B)); at += 64) __builtin_prefetch(next + at, 0, 2);
    }
    F ai[R];
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) ai[r] = load_lanes(a + r * lda + i, lanes);
#pragma GCC unroll 8
    for (int s = 0; s < S; ++s) {
      const F bi = load_lanes(b + s * ldb + i, lanes);
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) acc[r][s] = fma(ai[r], bi, acc[r][s]);
    }
  });
  for (int r = 0; r < R; ++r, c += ldc) {
    float out[S < 4 ? 4 : S];
    if constexpr (S == 1) {
      float four[4];
      sum4(acc[r][0], F{}, F{}, F{}, four);
      out[0] = four[0];
    } else {
      for (int s = 0; s < S; s += 4) sum4(acc[r][s], acc[r][s + 1], acc[r][s + 2], acc[r][s + 3], (float (&)[4])out[s]);
    }
    for (int s = 0; s < S; ++s) c[s] = add ? c[s] + out[s] : out[s];
  }
}

// Rows of A, the columns of B that belong to a task, and the first of their sums.
template <class B>
struct DotTask {
  const Gemm& g;
  const float* a;  // [m, k]
  int64_t lda;
  const B* b;  // [cols, k]
  Sums sums;
};

// R rows from `row` against columns [begin, end) of the task.
template <int R, class B>
void dot_strip(const DotTask<B>& t, int64_t row, int64_t begin, int64_t end) {
  constexpr int S = R == 1 ? 8 : 4;
  constexpr int64_t cached = 1 << 20;  // bytes of B
  const Gemm& g = t.g;
  const float* a = t.a + row * t.lda;
  float* c = t.sums.data + row * t.sums.row;
  // The first rows of A bring B in, for all of them.
  const bool ahead = row == 0 && g.ldb == g.k && g.n * g.k * (int64_t)sizeof(B) > cached;
  const auto tile = ahead ? dot_tile<R, S, true, B> : dot_tile<R, S, false, B>;
  int64_t j = begin;
  for (; j + S <= end; j += S) tile(a, t.lda, t.b + j * g.ldb, g.ldb, g.k, c + j, t.sums.row, g.accumulate);
  for (; j < end; ++j) dot_tile<R, 1, false>(a, t.lda, t.b + j * g.ldb, g.ldb, g.k, c + j, t.sums.row, g.accumulate);
}

template <class B>
void dot_task(const Gemm& g, const Entry& e, int64_t column, int64_t cols) {
  const Region r{0, g.m, column, cols};
  const int64_t a_floats = g.a_is_bfloat16 ? g.m * g.k : 0;
  const int64_t floats = a_floats + sums_floats(g, g.m, cols);
  float* memory = floats == 0 ? nullptr : (float*)thread_scratch(floats * (int64_t)sizeof(float));
  DotTask<B> t{g, (const float*)g.a + e.a, g.lda, (const B*)g.b + e.b + column * g.ldb,
               sums_of(g, e, r, memory + a_floats)};
  if (g.a_is_bfloat16) {
    for (int64_t i = 0; i < g.m; ++i) widen((const bfloat16*)g.a + e.a + i * g.lda, g.k, memory + i * g.k);
    t.a = memory;
    t.lda = g.k;
  }
  // Columns outermost, 32 at a time: their rows of B stay in cache for all rows of A.
  for (int64_t j = 0; j < cols; j += panel_columns) {
    const int64_t to = minimum(j + panel_columns, cols);
    int64_t row = 0;
    for (; row + dot_rows <= g.m; row += dot_rows) dot_strip<dot_rows>(t, row, j, to);
    for (; row + 2 <= g.m; row += 2) dot_strip<2>(t, row, j, to);
    if (row < g.m) dot_strip<1>(t, row, j, to);
  }
  finish(g, e, r, t.sums, false);
}

void run_dot(const Gemm& g) {
  const int64_t grain = divide_up(divide_up(block_flops, 2 * g.m * g.k), panel_columns) * panel_columns;
  const int64_t blocks = divide_up(g.n, grain);
  parallel_for(g.batch * blocks, maximum(1, block_flops / (2 * g.m * g.k * minimum(grain, g.n))),
               [&](int64_t first, int64_t last) {
                 for (int64_t task = first; task < last; ++task) {
                   const Entry e = entry_of(g, task / blocks);
                   const int64_t column = task % blocks * grain;
                   const int64_t cols = minimum(grain, g.n - column);
                   (g.b_is_bfloat16 ? dot_task<bfloat16> : dot_task<float>)(g, e, column, cols);
                 }
               });
}

// ---------------------------------------------------------------- up to four rows and a large B: it streams by
// In long pieces of a few of its rows at a time, which is what memory delivers fastest; the sums wait in 8 KB of L1.
constexpr int64_t stream_columns(int64_t rows) {
  return rows == 1 ? 2048 : rows == 2 ? 1024 : 512;
}
constexpr int64_t stream_floats = 1 << 17;  // a B that does not stay in L2

bool wants_stream(const Gemm& g) {
  return !g.transpose_b && g.m <= 4 && g.n >= 256 && g.k * g.n >= stream_floats;
}

// sums[r, j] += sum_i a(r, k + i) B[k + i, j] for i < depth
template <int R, int depth, class B>
NONET_INLINE void stream_rows(const Gemm& g, const Entry& e, int64_t k, int64_t column, int64_t cols, float* sums) {
  F a[R][depth];
#pragma GCC unroll 8
  for (int i = 0; i < depth; ++i) {
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      const int64_t at = g.transpose_a ? (k + i) * g.lda + r : r * g.lda + k + i;
      a[r][i] = broadcast(value_at(g.a, g.a_is_bfloat16, e.a + at));
    }
  }
  const B* b = (const B*)g.b + e.b + k * g.ldb + column;
  for_vectors(cols, [&](int64_t j, int64_t lanes) {
    F sum[R];
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) sum[r] = load(sums + r * stream_columns(R) + j);
#pragma GCC unroll 8
    for (int i = 0; i < depth; ++i) {
      const F bi = load_lanes(b + i * g.ldb + j, lanes);
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) sum[r] = fma(a[r][i], bi, sum[r]);
    }
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) store(sums + r * stream_columns(R) + j, sum[r]);
  });
}

template <int R, class B>
void stream_block(const Gemm& g, const Entry& e, int64_t column, int64_t cols) {
  constexpr int depth = R == 1 ? 8 : 4;
  alignas(64) float sums[R * stream_columns(R) + width] = {};  // whole vectors at the end too
  int64_t k = 0;
  for (; k + depth <= g.k; k += depth) stream_rows<R, depth, B>(g, e, k, column, cols, sums);
  for (; k < g.k; ++k) stream_rows<R, 1, B>(g, e, k, column, cols, sums);
  const Region region{0, R, column, cols};
  if (!g.accumulate) return finish(g, e, region, {sums, stream_columns(R)}, false);
  const Sums c = sums_in_c(g, e, region);
  for (int r = 0; r < R; ++r) {
    for_vectors(cols, [&](int64_t j, int64_t lanes) {
      float* to = c.data + r * c.row + j;
      store_lanes(to, load_lanes(to, lanes) + load(sums + r * stream_columns(R) + j), lanes);
    });
  }
}

void run_stream(const Gemm& g) {
  using StreamBlock = void (*)(const Gemm& g, const Entry& e, int64_t column, int64_t cols);
  static constexpr StreamBlock blocks_of[2][4] = {
      {stream_block<1, float>, stream_block<2, float>, stream_block<3, float>, stream_block<4, float>},
      {stream_block<1, bfloat16>, stream_block<2, bfloat16>, stream_block<3, bfloat16>, stream_block<4, bfloat16>}};
  const StreamBlock block = blocks_of[g.b_is_bfloat16][g.m - 1];
  const int64_t columns = stream_columns(g.m);
  const int64_t blocks = divide_up(g.n, columns);
  parallel_for(g.batch * blocks, maximum(1, block_flops / (2 * g.m * g.k * columns)), [&](int64_t first, int64_t last) {
    for (int64_t task = first; task < last; ++task) {
      const int64_t column = task % blocks * columns;
      block(g, entry_of(g, task / blocks), column, minimum(columns, g.n - column));
    }
  });
}

// ---------------------------------------------------------------- few rows, or small k: B is read where it lies
bool wants_direct(const Gemm& g) {
  return !g.transpose_b && (g.m <= 2 * tile_rows || g.k <= 8) && !g.a_is_bfloat16 && !g.b_is_bfloat16;
}

template <Order order>
void direct_block(const Gemm& g, const Entry& e, const Region& r) {
  const Sums sums = task_sums(g, e, r);
  // B may be read beyond the last column only where there is one: a copy of the rest is padded.
  const int64_t unit = g.row_max == nullptr ? tile_columns : panel_columns;
  const int64_t whole = r.cols / unit * unit;
  alignas(64) float tail[k_block * panel_columns];
  const int64_t step = divide_up(g.k, divide_up(g.k, k_block));
  for (int64_t k = 0; k < g.k; k += step) {
    const int64_t kb = minimum(step, g.k - k);
    const int64_t at = order == Order::rows ? r.row * g.lda + k : k * g.lda + r.row;
    Term term{(const float*)g.a + e.a + at, (const float*)g.b + e.b + k * g.ldb + r.column};
    const bool last = k + kb == g.k;
    const auto part = [&](int64_t first, int64_t cols, int64_t ldb) {
      const int64_t column = r.column + first;
      const Sums part_sums{sums.data + first, sums.row};
      const Product product{
          &term, 1, kb, g.lda, ldb, part_sums.data, part_sums.row, k > 0 || g.accumulate, early_bias(g, column)};
      brgemm<order>(r.rows, cols, product, [&](int64_t begin, int64_t end) {
        if (last)
          finish(g, e, {r.row + begin, end - begin, column, cols}, {part_sums.data + begin * sums.row, sums.row}, true);
      });
    };
    if (whole > 0) part(0, whole, g.ldb);
    if (whole < r.cols) {
      pack_panel(term.b + whole, g.ldb, kb, r.cols - whole, tail);
      term.b = tail;
      part(whole, r.cols - whole, panel_columns);
    }
  }
}

void run_direct(const Gemm& g) {
  const int64_t rows = minimum(g.m, 21 * 6);
  const int64_t cols = divide_up(divide_up(block_flops, 2 * rows * g.k), 64) * 64;
  const int64_t row_blocks = divide_up(g.m, rows);
  const int64_t col_blocks = divide_up(g.n, cols);
  const int64_t blocks = row_blocks * col_blocks;
  const int64_t grain = maximum(1, block_flops / (2 * rows * minimum(cols, g.n) * g.k));
  parallel_for(g.batch * blocks, grain, [&](int64_t first, int64_t last) {
    for (int64_t task = first; task < last; ++task) {
      const Entry e = entry_of(g, task / blocks);
      const int64_t row = task % blocks / col_blocks * rows;
      const int64_t column = task % col_blocks * cols;
      const Region r{row, minimum(rows, g.m - row), column, minimum(cols, g.n - column)};
      (g.transpose_a ? direct_block<Order::columns> : direct_block<Order::rows>)(g, e, r);
    }
  });
}

}  // namespace

}  // namespace nonet::NONET_NS
