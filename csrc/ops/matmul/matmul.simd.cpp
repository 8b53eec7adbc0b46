#include "ops/matmul/matmul.h"

#include "ops/matmul/brgemm.h"
#include "ops/matmul/epilogue.h"
#include "ops/matmul/pack.h"

namespace nonet::NONET_NS {

namespace {

constexpr int64_t block_flops = 400'000;  // less is not worth a second thread
constexpr int64_t slab_floats = 2 << 20;  // packed operands at a time

constexpr int64_t dot_rows = tile_rows > 6 ? 4 : 3;

const float* bias_at(const Gemm& g, int64_t column) {
  return g.bias == nullptr ? nullptr : g.bias + column;
}

// ---------------------------------------------------------------- k = 0: C = f(bias)
void run_empty(const Gemm& g) {
  for (int64_t i = 0; i < g.batch; ++i) {
    float* c = entry_of(g, i).c;
    for (int64_t j = 0; j < g.m * g.n && !g.accumulate; ++j) c[j] = 0;
    finish(g, c, g.m, g.n, g.bias);
  }
}

// ---------------------------------------------------------------- few rows times B^T: dot products of rows
bool wants_dot(const Gemm& g) {
  return g.transpose_b && !g.transpose_a && g.m <= 8 * dot_rows;
}

// C[r, s] = a_r . b_s for R rows and S (a multiple of 4, or 1) columns.
template <int R, int S>
void dot_tile(const float* a, int64_t lda, const float* b, int64_t ldb, int64_t k, float* c, int64_t ldc, bool add) {
  F acc[R][S] = {};
  for_vectors(k, [&](int64_t i, int64_t lanes) {
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

// R rows against columns [begin, end).
template <int R>
void dot_strip(const Gemm& g, const float* a, const float* b, float* c, int64_t begin, int64_t end) {
  constexpr int S = R == 1 ? 8 : 4;
  int64_t j = begin;
  for (; j + S <= end; j += S) dot_tile<R, S>(a, g.lda, b + j * g.ldb, g.ldb, g.k, c + j, g.n, g.accumulate);
  for (; j < end; ++j) dot_tile<R, 1>(a, g.lda, b + j * g.ldb, g.ldb, g.k, c + j, g.n, g.accumulate);
}

void run_dot(const Gemm& g) {
  const int64_t grain = divide_up(divide_up(block_flops, 2 * g.m * g.k), 8) * 8;
  const int64_t blocks = divide_up(g.n, grain);
  parallel_for(g.batch * blocks, maximum(1, block_flops / (2 * g.m * g.k * minimum(grain, g.n))),
               [&](int64_t first, int64_t last) {
                 for (int64_t task = first; task < last; ++task) {
                   const Entry e = entry_of(g, task / blocks);
                   const int64_t begin = task % blocks * grain;
                   const int64_t end = minimum(begin + grain, g.n);
                   // Columns outermost, 32 at a time: their rows of B stay in cache for all rows of A.
                   for (int64_t j = begin; j < end; j += panel_columns) {
                     const int64_t to = minimum(j + panel_columns, end);
                     int64_t r = 0;
                     for (; r + dot_rows <= g.m; r += dot_rows)
                       dot_strip<dot_rows>(g, e.a + r * g.lda, e.b, e.c + r * g.n, j, to);
                     for (; r + 2 <= g.m; r += 2) dot_strip<2>(g, e.a + r * g.lda, e.b, e.c + r * g.n, j, to);
                     if (r < g.m) dot_strip<1>(g, e.a + r * g.lda, e.b, e.c + r * g.n, j, to);
                   }
                   finish(g, e.c + begin, g.m, end - begin, bias_at(g, begin));
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
template <int R, int depth>
NONET_INLINE void stream_rows(const Gemm& g, const Entry& e, int64_t k, int64_t column, int64_t cols, float* sums) {
  F a[R][depth];
#pragma GCC unroll 8
  for (int i = 0; i < depth; ++i) {
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) a[r][i] = broadcast(g.transpose_a ? e.a[(k + i) * g.lda + r] : e.a[r * g.lda + k + i]);
  }
  const float* b = e.b + k * g.ldb + column;
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

template <int R>
void stream_block(const Gemm& g, const Entry& e, int64_t column, int64_t cols) {
  constexpr int depth = R == 1 ? 8 : 4;
  alignas(64) float sums[R * stream_columns(R) + width] = {};  // whole vectors at the end too
  int64_t k = 0;
  for (; k + depth <= g.k; k += depth) stream_rows<R, depth>(g, e, k, column, cols, sums);
  for (; k < g.k; ++k) stream_rows<R, 1>(g, e, k, column, cols, sums);
  for (int r = 0; r < R; ++r) {
    float* c = e.c + r * g.n + column;
    for_vectors(cols, [&](int64_t j, int64_t lanes) {
      const F sum = load(sums + r * stream_columns(R) + j);
      store_lanes(c + j, g.accumulate ? load_lanes(c + j, lanes) + sum : sum, lanes);
    });
    finish(g, c, 1, cols, bias_at(g, column));
  }
}

void run_stream(const Gemm& g) {
  using StreamBlock = void (*)(const Gemm& g, const Entry& e, int64_t column, int64_t cols);
  constexpr StreamBlock blocks_of[] = {stream_block<1>, stream_block<2>, stream_block<3>, stream_block<4>};
  const int64_t columns = stream_columns(g.m);
  const int64_t blocks = divide_up(g.n, columns);
  parallel_for(g.batch * blocks, maximum(1, block_flops / (2 * g.m * g.k * columns)), [&](int64_t first, int64_t last) {
    for (int64_t task = first; task < last; ++task) {
      const int64_t column = task % blocks * columns;
      blocks_of[g.m - 1](g, entry_of(g, task / blocks), column, minimum(columns, g.n - column));
    }
  });
}

// ---------------------------------------------------------------- few rows, or small k: B is read where it lies
bool wants_direct(const Gemm& g) {
  return !g.transpose_b && (g.m <= 2 * tile_rows || g.k <= 8);
}

template <Order order>
void direct_block(const Gemm& g, const Entry& e, int64_t row, int64_t rows, int64_t column, int64_t cols) {
  const int64_t whole = cols / tile_columns * tile_columns;
  alignas(64) float tail[k_block * panel_columns];
  const int64_t step = divide_up(g.k, divide_up(g.k, k_block));
  for (int64_t k = 0; k < g.k; k += step) {
    const int64_t kb = minimum(step, g.k - k);
    const bool last = k + kb == g.k;
    const float* a = order == Order::rows ? e.a + row * g.lda + k : e.a + k * g.lda + row;
    const float* b = e.b + k * g.ldb + column;
    float* c = e.c + row * g.n + column;
    const bool add = k > 0 || g.accumulate;
    if (whole > 0) {
      const Term term{a, b};
      brgemm<order>(rows, whole, {&term, 1, kb, g.lda, g.ldb, c, g.n, add, bias_at(g, column)},
                    [&](int64_t begin, int64_t end) {
                      if (last) finish(g, c + begin * g.n, end - begin, whole);
                    });
    }
    if (whole < cols) {
      pack_panel(b + whole, g.ldb, kb, cols - whole, tail);
      const Term term{a, tail};
      brgemm<order>(rows, cols - whole,
                    {&term, 1, kb, g.lda, panel_columns, c + whole, g.n, add, bias_at(g, column + whole)},
                    [&](int64_t begin, int64_t end) {
                      if (last) finish(g, c + begin * g.n + whole, end - begin, cols - whole);
                    });
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
      (g.transpose_a ? direct_block<Order::columns> : direct_block<Order::rows>)(g, e, row, minimum(rows, g.m - row),
                                                                                 column, minimum(cols, g.n - column));
    }
  });
}

// ---------------------------------------------------------------- the rest: B in panels, A in place or in tiles
struct Plan {
  int64_t panels;     // of B
  bool pack_a;        // into tiles [k][height]
  int64_t row_block;  // rows and panels of one task
  int64_t group;
  int64_t batches;       // packed at a time
  int64_t slab;          // panels packed at a time, all unless batches is 1
  int64_t entry_floats;  // of packed A
};

Plan plan(const Gemm& g) {
  Plan p;
  p.panels = divide_up(g.n, panel_columns);
  // Transposed, or rows a multiple of 4 KB apart, which all fall into the same few cache lines.
  p.pack_a = g.m > tile_rows && g.n > 2 * panel_columns && (g.transpose_a ? g.k > 16 : g.lda % 1024 == 0);
  p.row_block = divide_up(g.m, divide_up(g.m, 128));
  const int64_t strip = 2 * g.k * panel_columns;  // operations per row and panel
  const int64_t target = maximum(2 * block_flops, strip * g.m * p.panels * g.batch / 64);
  p.group = minimum(p.panels, minimum(8, maximum(1, target / (strip * p.row_block))));
  const auto tasks = [&] { return g.batch * divide_up(g.m, p.row_block) * divide_up(p.panels, p.group); };
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
  return g.m > 0 && g.n > 0 && g.k > 0 && g.batch > 0 && !wants_dot(g) && !wants_direct(g);
}

int64_t workspace(const Gemm& g) {
  if (!wants_panels(g)) return 0;
  const Plan p = plan(g);
  return p.batches * ((g.packed_b == nullptr ? p.slab * g.k * panel_columns : 0) + p.entry_floats);
}

int64_t packed_bytes(const Gemm& g) {
  return wants_panels(g) ? divide_up(g.n, panel_columns) * g.k * panel_columns * (int64_t)sizeof(float) : 0;
}

// Rows [row, row + height) of op(A) as a tile [k][height].
void pack_tile(const Gemm& g, const float* a, int64_t row, int64_t height, float* to) {
  for (int64_t k = 0; k < g.k; ++k) {
    for (int64_t r = 0; r < height; ++r) *to++ = g.transpose_a ? a[k * g.lda + row + r] : a[(row + r) * g.lda + k];
  }
}

void pack_a_block(const Gemm& g, const Plan& p, const float* a, int64_t row, float* packed) {
  for_tiles(minimum(p.row_block, g.m - row), tile_rows,
            [&](int64_t r, int64_t height) { pack_tile(g, a, row + r, height, packed + (row + r) * g.k); });
}

void pack_b_panel(const Gemm& g, const float* b, int64_t panel, float* to) {
  const int64_t column = panel * panel_columns;
  const int64_t cols = minimum(panel_columns, g.n - column);
  if (g.transpose_b) {
    pack_panel_transposed(b + column * g.ldb, g.ldb, g.k, cols, to);
  } else {
    pack_panel(b + column, g.ldb, g.k, cols, to);
  }
}

void pack_b(const Gemm& g, void* packed) {
  const int64_t panel_floats = g.k * panel_columns;
  parallel_for(divide_up(g.n, panel_columns), maximum(1, 32768 / panel_floats), [&](int64_t begin, int64_t end) {
    for (int64_t panel = begin; panel < end; ++panel)
      pack_b_panel(g, g.b, panel, (float*)packed + panel * panel_floats);
  });
}

struct Block {
  int64_t row, rows;
  int64_t panel, panels;
};

// One block of C over the whole of k. b: panels of the block; packed_a: tiles of the entry, or null.
void packed_block(const Gemm& g, const Entry& e, const Block& block, const float* b, const float* packed_a) {
  const int64_t step = divide_up(g.k, divide_up(g.k, k_block));
  for (int64_t k = 0; k < g.k; k += step) {
    const int64_t kb = minimum(step, g.k - k);
    for (int64_t panel = 0; panel < block.panels; ++panel) {
      const int64_t column = (block.panel + panel) * panel_columns;
      const int64_t cols = minimum(panel_columns, g.n - column);
      const float* bk = b + (panel * g.k + k) * panel_columns;
      float* c = e.c + block.row * g.n + column;
      Term term{nullptr, bk};
      Product product{&term, 1, kb, g.lda, panel_columns, c, g.n, k > 0 || g.accumulate, bias_at(g, column)};
      const auto epilogue = [&](int64_t begin, int64_t end) {
        if (k + kb == g.k) finish(g, c + begin * g.n, end - begin, cols);
      };
      if (packed_a != nullptr) {
        for_tiles(block.rows, tile_rows, [&](int64_t row, int64_t height) {
          term.a = packed_a + (block.row + row) * g.k + k * height;
          product.lda = height;
          product.c = c + row * g.n;
          brgemm<Order::columns>(height, cols, product, NoEpilogue{});
          epilogue(row, row + height);
        });
      } else if (g.transpose_a) {
        term.a = e.a + k * g.lda + block.row;
        brgemm<Order::columns>(block.rows, cols, product, epilogue);
      } else {
        term.a = e.a + block.row * g.lda + k;
        brgemm<Order::rows>(block.rows, cols, product, epilogue);
      }
    }
  }
}

void run_packed(const Gemm& g, float* workspace) {
  const Plan p = plan(g);
  const int64_t panel_floats = g.k * panel_columns;
  const int64_t row_blocks = divide_up(g.m, p.row_block);
  const bool packs_b = g.packed_b == nullptr;
  const float* packed_b = packs_b ? workspace : (const float*)g.packed_b;
  float* packed_a = packs_b ? workspace + p.batches * p.slab * panel_floats : workspace;
  for (int64_t first = 0; first < g.batch; first += p.batches) {
    const int64_t entries = minimum(p.batches, g.batch - first);
    for (int64_t panel = 0; panel < p.panels; panel += p.slab) {
      const int64_t panels = minimum(p.slab, p.panels - panel);
      const int64_t units_b = packs_b ? entries * panels : 0;
      const int64_t units = units_b + (p.pack_a && panel == 0 ? entries * row_blocks : 0);
      parallel_for(units, maximum(1, 32768 / panel_floats), [&](int64_t begin, int64_t end) {
        for (int64_t u = begin; u < end; ++u) {
          if (u < units_b) {
            pack_b_panel(g, entry_of(g, first + u / panels).b, panel + u % panels, workspace + u * panel_floats);
          } else {
            const int64_t i = (u - units_b) / row_blocks;
            pack_a_block(g, p, entry_of(g, first + i).a, (u - units_b) % row_blocks * p.row_block,
                         packed_a + i * p.entry_floats);
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
          const Block block{row, minimum(p.row_block, g.m - row), panel + from, minimum(p.group, panels - from)};
          packed_block(g, entry_of(g, first + i), block, packed_b + (i * panels + from) * panel_floats,
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
