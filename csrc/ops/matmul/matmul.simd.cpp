#include "ops/matmul/matmul.h"

#include "ops/matmul/brgemm.h"
#include "ops/matmul/epilogue.h"
#include "ops/matmul/pack.h"

namespace nonet::NONET_NS {

namespace {

constexpr int64_t block_flops = 400'000;  // less is not worth a second thread
constexpr int64_t slab_floats = 2 << 20;  // packed operands at a time

constexpr int64_t dot_rows = tile_rows > 6 ? 4 : 3;

// The memory of a task in which the sums of a bfloat16 C gather, of so many floats; C itself needs none.
int64_t sums_floats(const Gemm& g, int64_t rows, int64_t cols) {
  return g.c_is_bfloat16 ? rows * divide_up(cols, panel_columns) * panel_columns : 0;
}
Sums sums_of(const Gemm& g, const Entry& e, const Region& r, float* memory) {
  return g.c_is_bfloat16 ? Sums{memory, divide_up(r.cols, panel_columns) * panel_columns} : sums_in_c(g, e, r);
}
Sums task_sums(const Gemm& g, const Entry& e, const Region& r) {
  const int64_t floats = sums_floats(g, r.rows, r.cols);
  return sums_of(g, e, r, floats == 0 ? nullptr : (float*)thread_scratch(floats * (int64_t)sizeof(float)));
}

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

// ---------------------------------------------------------------- k = 0: C = f(bias)
void run_empty(const Gemm& g) {
  if (g.accumulate) return;
  for (int64_t i = 0; i < g.batch; ++i) {
    const Entry e = entry_of(g, i);
    for (int64_t row = 0; row < g.m; ++row) {
      const Region r{row, 1, 0, g.n};
      const Sums sums = task_sums(g, e, r);
      for (int64_t j = 0; j < g.n; ++j) sums.data[j] = 0;
      finish(g, e, r, sums, false);
    }
  }
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

// ---------------------------------------------------------------- the rest: B in panels, A in place or in tiles
// The parts that k is cut into.
NONET_INLINE int64_t k_step(const Gemm& g) {
  return divide_up(g.k, divide_up(g.k, k_block));
}

struct Plan {
  int64_t panels;     // of B
  bool pack_a;        // into tiles [part of k][height] of float32
  int64_t row_block;  // rows and panels of one task
  int64_t group;
  int64_t batches;       // packed at a time
  int64_t slab;          // panels packed at a time, all unless batches is 1
  int64_t entry_floats;  // of packed A
};

Plan plan(const Gemm& g) {
  Plan p;
  p.panels = divide_up(g.n, panel_columns);
  // Transposed, or rows a multiple of 4 KB apart, which all fall into the same few cache lines; or bfloat16.
  p.pack_a =
      g.a_is_bfloat16 || (g.m > tile_rows && g.n > 2 * panel_columns && (g.transpose_a ? g.k > 16 : g.lda % 1024 == 0));
  p.row_block = divide_up(g.m, divide_up(g.m, 128));
  const int64_t strip = 2 * g.k * panel_columns;  // operations per row and panel
  const int64_t target = maximum(2 * block_flops, strip * g.m * p.panels * g.batch / 64);
  p.group = minimum(p.panels, minimum(8, maximum(1, target / (strip * p.row_block))));
  const auto tasks = [&] { return g.batch * divide_up(g.m, p.row_block) * divide_up(p.panels, p.group); };
  if (p.pack_a && g.transpose_a && g.k >= 4 * k_block) {  // long sums: A comes from afar for every group
    p.group = minimum(p.panels, 8);
    if (tasks() < 32) p.row_block = divide_up(g.m, divide_up(g.m, 64));
  }
  while (tasks() < 16 && strip * p.row_block * p.group > block_flops) {
    if (p.group > 1) {
      p.group = divide_up(p.group, 2);
    } else if (p.row_block > 4 * tile_rows) {
      p.row_block = divide_up(p.row_block, 2);
    } else {
      break;
    }
  }
  const int64_t panel_floats = g.k * panel_columns;
  p.entry_floats = p.pack_a ? g.m * g.k : 0;
  p.batches = minimum(g.batch, maximum(1, slab_floats / (p.panels * panel_floats + p.entry_floats)));
  p.slab = g.packed_b != nullptr || p.batches > 1
               ? p.panels
               : minimum(p.panels, maximum(p.group, slab_floats / panel_floats / p.group * p.group));
  return p;
}

bool wants_panels(const Gemm& g) {
  return g.m > 0 && g.n > 0 && g.k > 0 && g.batch > 0 && !wants_dot(g) && !wants_stream(g) && !wants_direct(g);
}

int64_t workspace(const Gemm& g) {
  if (!wants_panels(g)) return 0;
  const Plan p = plan(g);
  return p.batches * ((g.packed_b == nullptr ? p.slab * g.k * panel_columns : 0) + p.entry_floats);
}

int64_t packed_bytes(const Gemm& g) {
  return wants_panels(g) ? divide_up(g.n, panel_columns) * g.k * panel_columns * (int64_t)sizeof(float) : 0;
}

// Rows [row, row + rows) of op(A) as tiles [k][height], each at the place of its first row.
template <class A>
void pack_rows(const A* a, int64_t lda, int64_t k, int64_t rows, float* to) {
  for_tiles(rows, tile_rows, [&](int64_t row, int64_t height) {
    float* tile = to + row * k;
    for (int64_t first = 0; first < height; first += width) {
      const int64_t part = minimum(width, height - first);
      const A* from = a + (row + first) * lda;
      for_vectors(k, [&](int64_t i, int64_t lanes) {
        F block[width];
#pragma GCC unroll 16
        for (int r = 0; r < width; ++r) block[r] = r < part ? load_lanes(from + r * lda + i, lanes) : F{};
        transpose(block);
#pragma GCC unroll 16
        for (int c = 0; c < width; ++c) {
          if (c < lanes) store_lanes(tile + (i + c) * height + first, block[c], part);
        }
      });
    }
  });
}

// Rows of a tile from lines of A^T. room: whole vectors may be read; what they write too much, the next row overwrites.
template <int height, class A>
void copy_tile_rows(const A* from, int64_t lda, int64_t k, bool room, float* to) {
  if constexpr (height <= width) {
    for (; room && k > 1; --k, from += lda, to += height) store(to, load(from));
  }
  for (; k > 0; --k, from += lda, to += height) {
    if constexpr (sizeof(A) == sizeof(float)) {
      __builtin_memcpy(to, from, height * sizeof(float));
    } else {
      for_vectors(height, [&](int64_t r, int64_t lanes) { store_lanes(to + r, load_lanes(from + r, lanes), lanes); });
    }
  }
}
template <class A>
void copy_tile_rows(const A* from, int64_t lda, int64_t k, int64_t height, bool room, float* to) {
  // Most tiles have one of two heights.
  if (height == tile_rows) return copy_tile_rows<tile_rows>(from, lda, k, room, to);
  if (height == tile_rows - 1) return copy_tile_rows<tile_rows - 1>(from, lda, k, room, to);
  for (; k > 0; --k, from += lda, to += height) {
    for_vectors(height, [&](int64_t r, int64_t lanes) { store_lanes(to + r, load_lanes(from + r, lanes), lanes); });
  }
}

// The same from A^T: few lines of it at a time are read for all tiles.
template <class A>
void pack_columns(const A* a, int64_t lda, int64_t k, int64_t rows, float* to) {
  constexpr int64_t most_tiles = 64;
  constexpr int64_t lines = 16;
  int64_t first[most_tiles + 1];
  for (int64_t done = 0; done < rows;) {
    int64_t tiles = 0;
    const int64_t part = minimum(rows - done, most_tiles * tile_rows);
    for_tiles(part, tile_rows, [&](int64_t row, int64_t) { first[tiles++] = done + row; });
    first[tiles] = done + part;
    for (int64_t i = 0; i < k; i += lines) {
      for (int64_t t = 0; t < tiles; ++t) {
        const int64_t height = first[t + 1] - first[t];
        copy_tile_rows(a + i * lda + first[t], lda, minimum(lines, k - i), height, first[t] + width <= rows,
                       to + first[t] * k + i * height);
      }
    }
    done += part;
  }
}

// Where the tiles of a row block's part of k begin in packed A. Its parts lie apart: tiles of the whole of k would
// begin at multiples of 4 KB for many a k, and writing them side by side would find no room in the first cache.
NONET_INLINE int64_t packed_part(const Gemm& g, int64_t row, int64_t rows, int64_t k) {
  return row * g.k + k * rows;
}

template <class A>
void pack_a_block(const Gemm& g, const A* a, int64_t row, int64_t rows, int64_t k, int64_t kb, float* packed) {
  float* to = packed + packed_part(g, row, rows, k);
  if (g.transpose_a) {
    pack_columns(a + k * g.lda + row, g.lda, kb, rows, to);
  } else {
    pack_rows(a + row * g.lda + k, g.lda, kb, rows, to);
  }
}

template <class B>
void pack_panel_of(const Gemm& g, const B* b, int64_t panel, float* to) {
  const int64_t column = panel * panel_columns;
  const int64_t cols = minimum(panel_columns, g.n - column);
  if (g.transpose_b) {
    pack_panel_transposed(b + column * g.ldb, g.ldb, g.k, cols, to);
  } else {
    pack_panel(b + column, g.ldb, g.k, cols, to);
  }
}
// b: where the entry begins.
void pack_b_panel(const Gemm& g, int64_t b, int64_t panel, float* to) {
  if (g.b_is_bfloat16) {
    pack_panel_of(g, (const bfloat16*)g.b + b, panel, to);
  } else {
    pack_panel_of(g, (const float*)g.b + b, panel, to);
  }
}

void pack_b(const Gemm& g, void* packed) {
  const int64_t panel_floats = g.k * panel_columns;
  parallel_for(divide_up(g.n, panel_columns), maximum(1, 32768 / panel_floats), [&](int64_t begin, int64_t end) {
    for (int64_t panel = begin; panel < end; ++panel) pack_b_panel(g, 0, panel, (float*)packed + panel * panel_floats);
  });
}

// Whether C is stored once, as it is, in whole vectors, and too large for the caches.
bool stores_past(const Gemm& g) {
  return g.k <= k_block && !g.accumulate && !g.c_is_bfloat16 && g.scale == 1.f && g.residual == nullptr &&
         g.before == nullptr && g.row_max == nullptr && g.activation == FusedActivation::none && g.batch == 1 &&
         g.n % tile_columns == 0 && passes_caches(g.c, g.m * g.n * (int64_t)sizeof(float));
}

// One region of C over the whole of k. b: its panels; packed_a: tiles of the entry, or null.
void packed_region(const Gemm& g, const Entry& e, const Region& r, const float* b, const float* packed_a) {
  const Sums sums = task_sums(g, e, r);
  const int64_t step = k_step(g);
  const bool past = step >= g.k && stores_past(g);
  for (int64_t k = 0; k < g.k; k += step) {
    const int64_t kb = minimum(step, g.k - k);
    for (int64_t first = 0; first < r.cols; first += panel_columns) {
      const int64_t column = r.column + first;
      const int64_t cols = minimum(panel_columns, r.cols - first);
      Term term{nullptr, b + first * g.k + k * panel_columns};
      Product product{
          &term, 1, kb, g.lda, panel_columns, sums.data + first, sums.row, k > 0 || g.accumulate, early_bias(g, column),
          past};
      const auto epilogue = [&](int64_t begin, int64_t end) {
        if (k + kb == g.k) {
          finish(g, e, {r.row + begin, end - begin, column, cols}, {sums.data + first + begin * sums.row, sums.row},
                 true);
        }
      };
      if (packed_a != nullptr) {
        for_tiles(r.rows, tile_rows, [&](int64_t row, int64_t height) {
          term.a = packed_a + packed_part(g, r.row, r.rows, k) + row * kb;
          product.lda = height;
          product.c = sums.data + first + row * sums.row;
          brgemm<Order::columns>(height, cols, product, NoEpilogue{});
          epilogue(row, row + height);
        });
      } else if (g.transpose_a) {
        term.a = (const float*)g.a + e.a + k * g.lda + r.row;
        brgemm<Order::columns>(r.rows, cols, product, epilogue);
      } else {
        term.a = (const float*)g.a + e.a + r.row * g.lda + k;
        brgemm<Order::rows>(r.rows, cols, product, epilogue);
      }
    }
  }
  if (past) drain();
}

void run_packed(const Gemm& g, float* workspace) {
  const Plan p = plan(g);
  const int64_t panel_floats = g.k * panel_columns;
  const int64_t row_blocks = divide_up(g.m, p.row_block);
  const int64_t step = k_step(g);
  const int64_t parts = divide_up(g.k, step);
  const bool packs_b = g.packed_b == nullptr;
  const float* packed_b = packs_b ? workspace : (const float*)g.packed_b;
  float* packed_a = packs_b ? workspace + p.batches * p.slab * panel_floats : workspace;
  for (int64_t first = 0; first < g.batch; first += p.batches) {
    const int64_t entries = minimum(p.batches, g.batch - first);
    for (int64_t panel = 0; panel < p.panels; panel += p.slab) {
      const int64_t panels = minimum(p.slab, p.panels - panel);
      const int64_t units_b = packs_b ? entries * panels : 0;
      const int64_t units = units_b + (p.pack_a && panel == 0 ? entries * row_blocks * parts : 0);
      parallel_for(units, maximum(1, 32768 / panel_floats), [&](int64_t begin, int64_t end) {
        for (int64_t u = begin; u < end; ++u) {
          if (u < units_b) {
            pack_b_panel(g, entry_of(g, first + u / panels).b, panel + u % panels, workspace + u * panel_floats);
          } else {
            const int64_t i = (u - units_b) / parts / row_blocks;
            const int64_t row = (u - units_b) % row_blocks * p.row_block;
            const int64_t rows = minimum(p.row_block, g.m - row);
            const int64_t k = (u - units_b) / row_blocks % parts * step;
            const int64_t kb = minimum(step, g.k - k);
            const int64_t a = entry_of(g, first + i).a;
            float* to = packed_a + i * p.entry_floats;
            if (g.a_is_bfloat16) {
              pack_a_block(g, (const bfloat16*)g.a + a, row, rows, k, kb, to);
            } else {
              pack_a_block(g, (const float*)g.a + a, row, rows, k, kb, to);
            }
          }
        }
      });
      const int64_t groups = divide_up(panels, p.group);
      const int64_t tasks = row_blocks * groups;
      const int64_t flops = 2 * panel_floats * minimum(p.row_block, g.m) * p.group;
      parallel_for(entries * tasks, maximum(1, block_flops / flops), [&](int64_t begin, int64_t end) {
        for (int64_t t = begin; t < end; ++t) {
          const int64_t i = t / tasks;
          const int64_t row = t % tasks % row_blocks * p.row_block;
          const int64_t from = t % tasks / row_blocks * p.group;
          const int64_t column = (panel + from) * panel_columns;
          const int64_t cols = minimum(minimum(p.group, panels - from) * panel_columns, g.n - column);
          packed_region(g, entry_of(g, first + i), {row, minimum(p.row_block, g.m - row), column, cols},
                        packed_b + (i * panels + from) * panel_floats,
                        p.pack_a ? packed_a + i * p.entry_floats : nullptr);
        }
      });
    }
  }
}

void gemm(const Gemm& g, float* workspace) {
  if (g.m == 0 || g.n == 0 || g.batch == 0) return;
  if (g.k == 0) return run_empty(g);
  if (wants_dot(g)) return run_dot(g);
  if (wants_stream(g)) return run_stream(g);
  if (wants_direct(g)) return run_direct(g);
  run_packed(g, workspace);
}

}  // namespace

constinit const MatmulKernels matmul_kernels = {workspace, gemm, packed_bytes, pack_b};

}  // namespace nonet::NONET_NS
