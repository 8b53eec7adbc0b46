// The matrix product on AMX tiles: float32 as sums of bfloat16 terms (terms.h), six, three or one product of terms for
// highest, high and medium.
//
// A task is a block of rows times a group of strips of B. Its part of A is packed into memory of its thread that stays
// in L2; B is packed once for all tasks (or was, for a weight that is kept). Tiles start from 0 for at most chunk_k
// values of k and are then added to C in float32: chaining them over all of k would lose digits. A tile of C whose
// operands leave the range in which terms are exact runs on the FMA kernel alone.
#include "ops/matmul/matmul.h"

#include "ops/matmul/brgemm.h"
#include "ops/matmul/epilogue.h"
#include "ops/matmul/pack.h"
#include "ops/matmul/terms.h"

namespace nonet::NONET_NS {

namespace {

constexpr int64_t chunk_k = 512;
constexpr int64_t block_rows = 256;
constexpr int64_t block_flops = 2'000'000;  // less is not worth a second thread
constexpr int64_t slab_bytes = 24 << 20;    // of packed B at a time
constexpr int64_t tile_floats = strip_lines * strip_lines;

// Numbers of terms of A and B; products of terms i and j with i + j <= order are taken.
struct Scheme {
  int a, b, order;
};
Scheme scheme(const Gemm& g) {
  const int terms = g.precision == Precision::highest ? 3 : g.precision == Precision::high ? 2 : 1;
  return {g.a_is_bfloat16 ? 1 : terms, g.b_is_bfloat16 ? 1 : terms, terms - 1};
}

struct Plan {
  Scheme terms;
  int64_t depth;  // k, rounded up to whole steps
  int64_t row_strips, col_strips;
  int64_t block;        // rows of a task, whole strips
  int64_t group;        // strips of B of a task
  int64_t strip_bytes;  // of packed B
  int64_t batches;      // entries packed at a time
  int64_t slab;         // strips of B packed at a time, all unless batches is 1
};

Plan plan(const Gemm& g) {
  Plan p;
  p.terms = scheme(g);
  p.depth = divide_up(g.k, step_k) * step_k;
  p.row_strips = divide_up(g.m, strip_lines);
  p.col_strips = divide_up(g.n, strip_lines);
  p.block = divide_up(p.row_strips, divide_up(g.m, block_rows)) * strip_lines;
  const int64_t flops = 2 * p.block * strip_lines * p.depth;  // per strip of B
  const auto tasks = [&] { return g.batch * divide_up(g.m, p.block) * divide_up(p.col_strips, p.group); };
  p.group = minimum(p.col_strips, maximum(1, divide_up(1 << 24, flops)));
  while (tasks() < 16 && flops * p.group > block_flops && (p.group > 1 || p.block > 2 * strip_lines)) {
    if (p.group > 1) {
      p.group = divide_up(p.group, 2);
    } else {
      p.block = divide_up(p.block / strip_lines, 2) * strip_lines;
    }
  }
  p.strip_bytes = p.depth / step_k * step_bytes(p.terms.b);
  p.batches = minimum(g.batch, maximum(1, slab_bytes / (p.col_strips * p.strip_bytes)));
  p.slab = g.packed_b != nullptr || p.batches > 1
               ? p.col_strips
               : minimum(p.col_strips, maximum(p.group, slab_bytes / p.strip_bytes / p.group * p.group));
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

// ---------------------------------------------------------------- packed B: strips, then their exponents
int64_t packed_bytes_of(const Plan& p) {
  return p.col_strips * (p.strip_bytes + (int64_t)sizeof(Exponents));
}
int64_t packed_bytes(const Gemm& g) {
  return packed_bytes_of(plan(g));
}

template <class T>
void pack_b_strip_of(const Gemm& g, const Plan& p, int64_t b, int64_t strip, uint16_t* to, Exponents* range) {
  const int64_t column = strip * strip_lines;
  const int64_t columns = minimum(strip_lines, g.n - column);
  const Lines<T> x = lines_of_b<T>(g, b, column);
  pack<false>(p.terms.b, x, columns, g.k, to);
  *range = exponents(x, columns, g.k);
}
// b: where the entry begins.
void pack_b_strip(const Gemm& g, const Plan& p, int64_t b, int64_t strip, uint16_t* to, Exponents* range) {
  (g.b_is_bfloat16 ? pack_b_strip_of<bfloat16> : pack_b_strip_of<float>)(g, p, b, strip, to, range);
}

void pack_b(const Gemm& g, void* packed) {
  const Plan p = plan(g);
  char* strips = (char*)packed;
  Exponents* ranges = (Exponents*)(strips + p.col_strips * p.strip_bytes);
  parallel_for(p.col_strips, maximum(1, 65536 / p.strip_bytes), [&](int64_t begin, int64_t end) {
    for (int64_t s = begin; s < end; ++s) pack_b_strip(g, p, 0, s, (uint16_t*)(strips + s * p.strip_bytes), ranges + s);
  });
}

// ---------------------------------------------------------------- 32 x 32 of C over a chunk of k
template <int i>
NONET_INLINE void load_a(const char* a) {
  tile_load<4>(a + 2 * i * tile_bytes, tile_line);
  tile_load<5>(a + (2 * i + 1) * tile_bytes, tile_line);
}
template <int j>
NONET_INLINE void load_b(const char* b) {
  tile_load<6>(b + 2 * j * tile_bytes, tile_line);
  tile_load<7>(b + (2 * j + 1) * tile_bytes, tile_line);
}
NONET_INLINE void dots() {
  tile_dot<0, 4, 6>();
  tile_dot<1, 4, 7>();
  tile_dot<2, 5, 6>();
  tile_dot<3, 5, 7>();
}

// One step of k: the products of terms (i, j) with 0 < i + j <= order. Each reloads one operand: A0 B2, A0 B1, A1 B1,
// A1 B0, A2 B0.
template <int a_terms, int b_terms, int order>
NONET_INLINE void small_products(const char* a, const char* b) {
  constexpr bool a1 = a_terms > 1 && order >= 1;
  constexpr bool b1 = b_terms > 1 && order >= 1;
  if constexpr (b1) load_a<0>(a);
  if constexpr (b_terms > 2 && order >= 2) {
    load_b<2>(b);
    dots();
  }
  if constexpr (b1) {
    load_b<1>(b);
    dots();
  }
  if constexpr (a1) load_a<1>(a);
  if constexpr (a1 && b1 && order >= 2) dots();
  if constexpr (a1) {
    load_b<0>(b);
    dots();
  }
  if constexpr (a_terms > 2 && order >= 2) {
    load_a<2>(a);
    dots();
  }
}

// The small products of all steps come first and A0 B0 of all steps last: added to sums that have their full size, the
// small ones would be rounded as coarsely as the large.
template <int a_terms, int b_terms, int order>
void tile_product(const char* a, const char* b, int64_t steps, float* out) {
  tile_zero<0>();
  tile_zero<1>();
  tile_zero<2>();
  tile_zero<3>();
  if constexpr (order > 0) {
    for (int64_t s = 0; s < steps; ++s)
      small_products<a_terms, b_terms, order>(a + s * step_bytes(a_terms), b + s * step_bytes(b_terms));
  }
  for (int64_t s = 0; s < steps; ++s) {
    load_a<0>(a + s * step_bytes(a_terms));
    load_b<0>(b + s * step_bytes(b_terms));
    dots();
  }
  constexpr int64_t line = strip_lines * sizeof(float);
  tile_store<0>(out, line);
  tile_store<1>(out + 16, line);
  tile_store<2>(out + 16 * strip_lines, line);
  tile_store<3>(out + 16 * strip_lines + 16, line);
}

using TileProduct = void (*)(const char* a, const char* b, int64_t steps, float* out);
TileProduct tile_product_of(const Scheme& s) {
  if (s.order == 0) return tile_product<1, 1, 0>;
  if (s.a == 1 && s.b == 1) return tile_product<1, 1, 0>;
  if (s.order == 1) return s.a == 1 ? tile_product<1, 2, 1> : s.b == 1 ? tile_product<2, 1, 1> : tile_product<2, 2, 1>;
  return s.a == 1 ? tile_product<1, 3, 2> : s.b == 1 ? tile_product<3, 1, 2> : tile_product<3, 3, 2>;
}

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
struct PackedB {
  const char* strips;       // from strip `first` on
  const Exponents* ranges;  // the same
  int64_t first;
};

// A region's tiles in the memory of its thread: one tile of C, the strips of A in a chunk of k and their exponents, and
// the sums of a bfloat16 C where there is more than one chunk.
struct Scratch {
  float* out;
  Exponents* ranges;
  float* sums;
  char* packed;
  int64_t strip_bytes;  // of packed A
};
Scratch scratch_of(const Gemm& g, const Plan& p, const Region& r) {
  const int64_t strips = divide_up(r.rows, strip_lines);
  const int64_t strip_bytes = minimum(chunk_k, p.depth) / step_k * step_bytes(p.terms.a);
  const int64_t sums = g.c_is_bfloat16 && g.k > chunk_k ? strips * divide_up(r.cols, strip_lines) * tile_floats : 0;
  const int64_t ranges = divide_up(strips, 8) * 8;  // keeps what follows aligned
  float* memory = (float*)thread_scratch((tile_floats + sums) * (int64_t)sizeof(float) +
                                         ranges * (int64_t)sizeof(Exponents) + strips * strip_bytes);
  Exponents* at = (Exponents*)(memory + tile_floats + sums);
  return {memory, at, memory + tile_floats, (char*)(at + ranges), strip_bytes};
}

template <class A>
void run_task(const Gemm& g, const Plan& p, const Entry& e, const PackedB& b, const Region& r) {
  const Scratch scratch = scratch_of(g, p, r);
  const int64_t strips = divide_up(r.rows, strip_lines);
  const auto rows_of = [&](int64_t s) { return minimum(strip_lines, r.rows - s * strip_lines); };
  for (int64_t s = 0; s < strips; ++s)
    scratch.ranges[s] = exponents(lines_of_a<A>(g, e.a, r.row + s * strip_lines), rows_of(s), g.k);

  // Sums gather in C; in one tile, where a single chunk makes them; in memory of the thread, where C is bfloat16.
  const bool one_chunk = g.k <= chunk_k && !g.accumulate;
  const auto sums_at = [&](const Region& tile) -> Sums {
    if (one_chunk) return {scratch.out, strip_lines};
    if (!g.c_is_bfloat16) return sums_in_c(g, e, tile);
    const int64_t row = divide_up(r.cols, strip_lines) * strip_lines;
    return {scratch.sums + (tile.row - r.row) * row + tile.column - r.column, row};
  };

  const TileProduct product = tile_product_of(p.terms);
  tile_configure();
  for (int64_t k = 0; k < g.k; k += chunk_k) {
    const int64_t depth = minimum(chunk_k, g.k - k);
    for (int64_t s = 0; s < strips; ++s) {
      Lines<A> a = lines_of_a<A>(g, e.a, r.row + s * strip_lines);
      a.data += k * a.along;
      pack<true>(p.terms.a, a, rows_of(s), depth, (uint16_t*)(scratch.packed + s * scratch.strip_bytes));
    }
    for (int64_t column = r.column; column < r.column + r.cols; column += strip_lines) {
      const int64_t strip = column / strip_lines - b.first;
      const char* packed_b = b.strips + strip * p.strip_bytes + k / step_k * step_bytes(p.terms.b);
      for (int64_t s = 0; s < strips; ++s) {
        const Region tile{r.row + s * strip_lines, rows_of(s), column,
                          minimum(strip_lines, r.column + r.cols - column)};
        const Sums sums = sums_at(tile);
        if (in_range(scratch.ranges[s], b.ranges[strip], g.k)) {
          product(scratch.packed + s * scratch.strip_bytes, packed_b, divide_up(depth, step_k), scratch.out);
          if (!one_chunk) add_tile(scratch.out, sums, tile.rows, tile.cols, k > 0 || g.accumulate);
        } else if (k == 0) {
          fma_tile_of<A>(g, e, tile, sums);
        }
        if (k + depth == g.k) finish(g, e, tile, sums, false);
      }
    }
  }
  tile_release();
}

int64_t workspace(const Gemm& g) {
  const Plan p = plan(g);
  if (g.packed_b != nullptr) return 0;
  return divide_up(p.batches * p.slab * (p.strip_bytes + (int64_t)sizeof(Exponents)), sizeof(float));
}

void gemm(const Gemm& g, float* workspace) {
  const Plan p = plan(g);
  const int64_t row_blocks = divide_up(g.m, p.block);
  const int64_t flops = 2 * p.block * minimum(p.group, p.col_strips) * strip_lines * p.depth;
  for (int64_t entry = 0; entry < g.batch; entry += p.batches) {
    const int64_t entries = minimum(p.batches, g.batch - entry);
    for (int64_t first = 0; first < p.col_strips; first += p.slab) {
      const int64_t strips = minimum(p.slab, p.col_strips - first);
      char* packed = (char*)(g.packed_b != nullptr ? g.packed_b : workspace);
      Exponents* ranges = (Exponents*)(packed + (g.packed_b != nullptr ? 1 : p.batches) * p.slab * p.strip_bytes);
      if (g.packed_b == nullptr) {
        parallel_for(entries * strips, maximum(1, 65536 / p.strip_bytes), [&](int64_t begin, int64_t end) {
          for (int64_t u = begin; u < end; ++u)
            pack_b_strip(g, p, entry_of(g, entry + u / strips).b, first + u % strips,
                         (uint16_t*)(packed + u * p.strip_bytes), ranges + u);
        });
      }
      const int64_t groups = divide_up(strips, p.group);
      const int64_t tasks = row_blocks * groups;
      parallel_for(entries * tasks, maximum(1, block_flops / flops), [&](int64_t begin, int64_t end) {
        for (int64_t t = begin; t < end; ++t) {
          const int64_t i = t / tasks;
          const int64_t at = g.packed_b != nullptr ? 0 : i * strips;
          const Entry e = entry_of(g, entry + i);
          const int64_t row = t % tasks % row_blocks * p.block;
          const int64_t from = t % tasks / row_blocks * p.group;
          const PackedB b{packed + at * p.strip_bytes, ranges + at, first};
          const int64_t column = (first + from) * strip_lines;
          const int64_t cols = minimum(minimum(p.group, strips - from) * strip_lines, g.n - column);
          const Region r{row, minimum(p.block, g.m - row), column, cols};
          (g.a_is_bfloat16 ? run_task<bfloat16> : run_task<float>)(g, p, e, b, r);
        }
      });
    }
  }
}

}  // namespace

constinit const MatmulKernels amx_matmul_kernels = {workspace, gemm, packed_bytes, pack_b};

}  // namespace nonet::NONET_NS
