// The matrix product of operands that are packed as bfloat16 terms (terms.h), on an engine that multiplies 32 x 32 of
// them: the tiles of AMX, or dot products of pairs. *.amx.cpp and *.avx512_bf16.cpp only.
//
// Both operands are packed first, once for all tasks (B not at all if it is a weight that is kept); a task is then a
// block of rows, which stays in L2 over a chunk of k, times a group of strips of B. Products start from 0 for at most
// chunk_k values of k and are then added to C in float32: chaining them over all of k would lose digits. A tile of C
// whose operands leave the range in which terms are exact runs on the FMA kernel alone.
#pragma once

#include "ops/matmul/brgemm.h"
#include "ops/matmul/epilogue.h"
#include "ops/matmul/matmul.h"
#include "ops/matmul/pack.h"
#include "ops/matmul/terms.h"

namespace nonet::NONET_NS {

namespace {

constexpr int64_t chunk_k = 512;
constexpr int64_t block_rows = 256;
constexpr int64_t min_group = 8;
constexpr int64_t block_flops = 2'000'000;  // less is not worth a second thread
constexpr int64_t slab_bytes = 24 << 20;    // of a packed operand at a time
constexpr int64_t tile_floats = strip_lines * strip_lines;

// Numbers of terms of A and B; products of terms i and j with i + j <= order are taken.
struct Scheme {
  int a, b, order;
};
Scheme scheme(const Gemm& g) {
  const int terms = g.precision == Precision::highest ? 3 : g.precision == Precision::high ? 2 : 1;
  return {g.a_is_bfloat16 ? 1 : terms, g.b_is_bfloat16 ? 1 : terms, terms - 1};
}

// What is packed at a time of an operand: strips of an entry, all of them unless it is a single entry.
struct Side {
  int64_t strips;       // of an entry
  int64_t strip_bytes;  // packed
  int64_t slab;         // strips packed at a time

  int64_t bytes(int64_t entries) const { return entries * slab * (strip_bytes + (int64_t)sizeof(Exponents)); }
};

struct Plan {
  Scheme terms;
  Side a, b;
  int64_t block;    // strips of A of a task
  int64_t group;    // strips of B of a task
  int64_t batches;  // entries packed at a time
  int64_t flops;    // of a strip times a strip
};

Plan plan(const Gemm& g) {
  Plan p;
  p.terms = scheme(g);
  const int64_t steps = divide_up(g.k, step_k);
  p.a = {divide_up(g.m, strip_lines), steps * step_bytes(p.terms.a), 0};
  p.b = {divide_up(g.n, strip_lines), steps * step_bytes(p.terms.b), 0};
  p.flops = 2 * strip_lines * strip_lines * steps * step_k;
  p.block = divide_up(p.a.strips, divide_up(g.m, block_rows));
  p.group = minimum(p.b.strips, maximum(min_group, divide_up(1 << 24, p.flops * p.block)));
  const auto tasks = [&] { return g.batch * divide_up(p.a.strips, p.block) * divide_up(p.b.strips, p.group); };
  while (tasks() < 16 && p.flops * p.block * p.group > block_flops && (p.group > 1 || p.block > 2)) {
    int64_t& larger = p.group > 1 ? p.group : p.block;
    larger = divide_up(larger, 2);
  }
  const bool packs_b = g.packed_b == nullptr;
  const int64_t entry = p.a.strips * p.a.strip_bytes + (packs_b ? p.b.strips * p.b.strip_bytes : 0);
  p.batches = minimum(g.batch, maximum(1, slab_bytes / entry));
  const auto slab = [&](const Side& side, int64_t unit) {
    return p.batches > 1 ? side.strips
                         : minimum(side.strips, maximum(unit, slab_bytes / side.strip_bytes / unit * unit));
  };
  p.a.slab = slab(p.a, p.block);
  p.b.slab = packs_b ? slab(p.b, p.group) : p.b.strips;
  return p;
}

// The lines of an operand from `first` on (rows of op(A), columns of op(B)), element `at` being the entry's first.
// transposed: they lie along the rows of memory of A^T, or of B.
template <class T>
Lines<T> lines(const void* data, int64_t at, int64_t first, int64_t row, bool along_rows) {
  const T* x = (const T*)data + at;
  return along_rows ? Lines<T>{x + first * row, row, 1} : Lines<T>{x + first, 1, row};
}
template <class T>
Lines<T> lines_of_a(const Gemm& g, int64_t a, int64_t first) {
  return lines<T>(g.a, a, first, g.lda, !g.transpose_a);
}
template <class T>
Lines<T> lines_of_b(const Gemm& g, int64_t b, int64_t first) {
  return lines<T>(g.b, b, first, g.ldb, g.transpose_b);
}

template <bool rows, class T>
void pack(int terms, const Lines<T>& x, int64_t count, int64_t depth, uint16_t* to) {
  if (sizeof(T) == sizeof(bfloat16) || terms == 1) return pack_strip<1, rows>(x, count, depth, to);
  if constexpr (sizeof(T) == sizeof(float)) {
    return terms == 2 ? pack_strip<2, rows>(x, count, depth, to) : pack_strip<3, rows>(x, count, depth, to);
  }
}

// ---------------------------------------------------------------- packed operands: strips, then their exponents
struct Packed {
  char* strips;
  Exponents* ranges;
};
Packed packed_at(void* memory, const Side& side, int64_t strips) {
  return {(char*)memory, (Exponents*)((char*)memory + strips * side.strip_bytes)};
}

template <class T>
void pack_a_strip(const Gemm& g, const Plan& p, int64_t a, int64_t strip, uint16_t* to, Exponents* range) {
  const int64_t row = strip * strip_lines;
  const int64_t rows = minimum(strip_lines, g.m - row);
  const Lines<T> x = lines_of_a<T>(g, a, row);
  pack<true>(p.terms.a, x, rows, g.k, to);
  *range = exponents(x, rows, g.k);
}
template <class T>
void pack_b_strip(const Gemm& g, const Plan& p, int64_t b, int64_t strip, uint16_t* to, Exponents* range) {
  const int64_t column = strip * strip_lines;
  const int64_t columns = minimum(strip_lines, g.n - column);
  const Lines<T> x = lines_of_b<T>(g, b, column);
  pack<false>(p.terms.b, x, columns, g.k, to);
  *range = exponents(x, columns, g.k);
}

// Strips [first, first + strips) of `entries` entries from `entry` on. a_strips, b_strips: 0 for an operand that is
// there.
struct Slab {
  int64_t entry, entries;
  int64_t a_first, a_strips;
  int64_t b_first, b_strips;
};
void pack_slab(const Gemm& g, const Plan& p, const Slab& s, const Packed& a, const Packed& b) {
  const int64_t of_a = s.entries * s.a_strips;
  const int64_t of_b = s.entries * s.b_strips;
  const int64_t bytes = maximum(p.a.strip_bytes, p.b.strip_bytes);
  parallel_for(of_a + of_b, maximum(1, 65536 / bytes), [&](int64_t begin, int64_t end) {
    for (int64_t u = begin; u < end; ++u) {
      if (u < of_a) {
        (g.a_is_bfloat16 ? pack_a_strip<bfloat16> : pack_a_strip<float>)(g, p, entry_of(g, s.entry + u / s.a_strips).a,
                                                                         s.a_first + u % s.a_strips,
                                                                         (uint16_t*)(a.strips + u * p.a.strip_bytes),
                                                                         a.ranges + u);
      } else {
        const int64_t v = u - of_a;
        (g.b_is_bfloat16 ? pack_b_strip<bfloat16> : pack_b_strip<float>)(g, p, entry_of(g, s.entry + v / s.b_strips).b,
                                                                         s.b_first + v % s.b_strips,
                                                                         (uint16_t*)(b.strips + v * p.b.strip_bytes),
                                                                         b.ranges + v);
      }
    }
  });
}

int64_t packed_bytes(const Gemm& g) {
  const Plan p = plan(g);
  return p.b.strips * (p.b.strip_bytes + (int64_t)sizeof(Exponents));
}
void pack_b(const Gemm& g, void* packed) {
  const Plan p = plan(g);
  pack_slab(g, p, {0, 1, 0, 0, 0, p.b.strips}, {}, packed_at(packed, p.b, p.b.strips));
}

// out[32, 32] = the first `rows` rows of a strip of A times a strip of B over `steps` of k; other rows may be written.
using TileProduct = void (*)(const char* a, const char* b, int64_t steps, int64_t rows, float* out);

// An Engine has begin() and end(), around the products of a thread, and product_of(scheme).

// c[rows, columns] (+)= the products in out.
void add_tile(const float* out, const Sums& sums, int64_t rows, int64_t columns, bool accumulate) {
  float* c = sums.data;
  for (int64_t r = 0; r < rows; ++r, c += sums.row, out += strip_lines) {
    for_vectors(columns, [&](int64_t j, int64_t lanes) {
      const F value = load(out + j);
      store_lanes(c + j, accumulate ? load_lanes(c + j, lanes) + value : value, lanes);
    });
  }
}

// ---------------------------------------------------------------- a tile of C on the FMA kernel
template <class T>
float value_of(const Lines<T>& x, int64_t line, int64_t k) {
  return load(x.data + line * x.line + k * x.along, 1)[0];
}

// C (+)= the rows of a times the columns of b.
template <class A, class B>
void fma_tile(const Lines<A>& a, int64_t rows, const Lines<B>& b, int64_t columns, int64_t depth, const Sums& c,
              bool accumulate) {
  alignas(64) float part[strip_lines * k_block];
  alignas(64) float panel[k_block * panel_columns];
  const int64_t step = divide_up(depth, divide_up(depth, k_block));
  for (int64_t k = 0; k < depth; k += step) {
    const int64_t kb = minimum(step, depth - k);
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t i = 0; i < kb; ++i) part[r * kb + i] = value_of(a, r, k + i);
    }
    if (b.along == 1) {
      pack_panel_transposed(b.data + k, b.line, kb, columns, panel);
    } else {
      pack_panel(b.data + k * b.along, b.along, kb, columns, panel);
    }
    const Term term{part, panel};
    brgemm(rows, columns, {&term, 1, kb, kb, panel_columns, c.data, c.row, k > 0 || accumulate}, NoEpilogue{});
  }
}
template <class A>
void fma_tile_of(const Gemm& g, const Entry& e, const Region& r, const Sums& c) {
  const Lines<A> a = lines_of_a<A>(g, e.a, r.row);
  if (g.b_is_bfloat16) {
    fma_tile(a, r.rows, lines_of_b<bfloat16>(g, e.b, r.column), r.cols, g.k, c, g.accumulate);
  } else {
    fma_tile(a, r.rows, lines_of_b<float>(g, e.b, r.column), r.cols, g.k, c, g.accumulate);
  }
}

// ---------------------------------------------------------------- tasks
// Memory of a thread: one tile of C, and the sums of a bfloat16 C where there is more than one chunk.
struct Scratch {
  float* out;
  float* sums;
};
Scratch scratch_of(const Gemm& g, const Region& r) {
  const int64_t tiles = divide_up(r.rows, strip_lines) * divide_up(r.cols, strip_lines);
  const int64_t floats = tile_floats * (1 + (g.c_is_bfloat16 && g.k > chunk_k ? tiles : 0));
  float* memory = (float*)thread_scratch(floats * (int64_t)sizeof(float));
  return {memory, memory + tile_floats};
}

// Rows of a tile of C lie far apart: asked for before its products, they have come when those are done.
void fetch_tile(const Gemm& g, const Entry& e, const Region& tile) {
  const int64_t size = g.c_is_bfloat16 ? sizeof(bfloat16) : sizeof(float);
  const char* c = (const char*)g.c + (e.c + tile.row * g.n + tile.column) * size;
  for (int64_t r = 0; r < tile.rows; ++r, c += g.n * size) {
    for (int64_t i = 0; i < tile.cols * size; i += 64) __builtin_prefetch(c + i, 1);
  }
}

// a, b: the strips of the region.
template <class Engine>
void run_task(const Gemm& g, const Plan& p, const Entry& e, const Packed& a, const Packed& b, const Region& r) {
  const Scratch scratch = scratch_of(g, r);
  // Sums gather in C; in one tile, where a single chunk makes them; in memory of the thread, where C is bfloat16.
  const bool one_chunk = g.k <= chunk_k && !g.accumulate;
  const auto sums_at = [&](const Region& tile) -> Sums {
    if (one_chunk) return {scratch.out, strip_lines};
    if (!g.c_is_bfloat16) return sums_in_c(g, e, tile);
    const int64_t row = divide_up(r.cols, strip_lines) * strip_lines;
    return {scratch.sums + (tile.row - r.row) * row + tile.column - r.column, row};
  };
  const auto on_fma = [&](const Region& tile, const Sums& sums) {
    (g.a_is_bfloat16 ? fma_tile_of<bfloat16> : fma_tile_of<float>)(g, e, tile, sums);
  };

  const TileProduct product = Engine::product_of(p.terms);
  Engine::begin();
  for (int64_t k = 0; k < g.k; k += chunk_k) {
    const int64_t depth = minimum(chunk_k, g.k - k);
    for (int64_t column = 0; column < r.cols; column += strip_lines) {
      const int64_t j = column / strip_lines;
      const char* strip_b = b.strips + j * p.b.strip_bytes + k / step_k * step_bytes(p.terms.b);
      for (int64_t row = 0; row < r.rows; row += strip_lines) {
        const int64_t i = row / strip_lines;
        const Region tile{r.row + row, minimum(strip_lines, r.rows - row), r.column + column,
                          minimum(strip_lines, r.cols - column)};
        const Sums sums = sums_at(tile);
        if (in_range(a.ranges[i], b.ranges[j], g.k)) {
          fetch_tile(g, e, tile);
          product(a.strips + i * p.a.strip_bytes + k / step_k * step_bytes(p.terms.a), strip_b,
                  divide_up(depth, step_k), tile.rows, scratch.out);
          if (!one_chunk) add_tile(scratch.out, sums, tile.rows, tile.cols, k > 0 || g.accumulate);
        } else if (k == 0) {
          on_fma(tile, sums);
        }
        if (k + depth == g.k) finish(g, e, tile, sums, false);
      }
    }
  }
  Engine::end();
}

int64_t workspace(const Gemm& g) {
  const Plan p = plan(g);
  return divide_up(p.a.bytes(p.batches) + (g.packed_b == nullptr ? p.b.bytes(p.batches) : 0), sizeof(float));
}

// Strips of all entries of a slab are packed: their products.
template <class Engine>
void run_slab(const Gemm& g, const Plan& p, const Slab& s, const Packed& a, const Packed& b) {
  const int64_t blocks = divide_up(s.a_strips, p.block);
  const int64_t tasks = blocks * divide_up(s.b_strips, p.group);
  const int64_t flops = p.flops * minimum(p.block, s.a_strips) * minimum(p.group, s.b_strips);
  parallel_for(s.entries * tasks, maximum(1, block_flops / flops), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const int64_t entry = t / tasks;
      const int64_t i = t % tasks % blocks * p.block;
      const int64_t j = t % tasks / blocks * p.group;
      const int64_t row = (s.a_first + i) * strip_lines;
      const int64_t column = (s.b_first + j) * strip_lines;
      const Region r{row, minimum(minimum(p.block, s.a_strips - i) * strip_lines, g.m - row), column,
                     minimum(minimum(p.group, s.b_strips - j) * strip_lines, g.n - column)};
      const int64_t at_a = entry * s.a_strips + i;
      const int64_t at_b = entry * s.b_strips + j;
      run_task<Engine>(g, p, entry_of(g, s.entry + entry), {a.strips + at_a * p.a.strip_bytes, a.ranges + at_a},
                       {b.strips + at_b * p.b.strip_bytes, b.ranges + at_b}, r);
    }
  });
}

template <class Engine>
void gemm(const Gemm& g, float* workspace) {
  const Plan p = plan(g);
  const bool packs_b = g.packed_b == nullptr;
  const Packed a = packed_at(workspace, p.a, p.batches * p.a.slab);
  const Packed b = packs_b ? packed_at((char*)workspace + p.a.bytes(p.batches), p.b, p.batches * p.b.slab)
                           : packed_at((void*)g.packed_b, p.b, p.b.strips);
  for (int64_t entry = 0; entry < g.batch; entry += p.batches) {
    for (int64_t j = 0; j < p.b.strips; j += p.b.slab) {
      for (int64_t i = 0; i < p.a.strips; i += p.a.slab) {
        const Slab s{entry, minimum(p.batches, g.batch - entry), i, minimum(p.a.slab, p.a.strips - i),
                     j,     minimum(p.b.slab, p.b.strips - j)};
        Slab missing = s;
        if (!packs_b || i > 0) missing.b_strips = 0;
        if (i == 0 && j > 0 && p.a.slab == p.a.strips) missing.a_strips = 0;  // A is there already
        pack_slab(g, p, missing, a, b);
        run_slab<Engine>(g, p, s, a, b);
      }
    }
  }
}

}  // namespace

}  // namespace nonet::NONET_NS
