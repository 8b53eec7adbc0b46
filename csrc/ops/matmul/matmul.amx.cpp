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

Lines lines_of_a(const Gemm& g, const float* a, int64_t row) {
  return g.transpose_a ? Lines{a + row, 1, g.lda} : Lines{a + row * g.lda, g.lda, 1};
}
Lines lines_of_b(const Gemm& g, const float* b, int64_t column) {
  return g.transpose_b ? Lines{b + column * g.ldb, g.ldb, 1} : Lines{b + column, 1, g.ldb};
}

template <bool rows>
void pack(int terms, const Lines& x, int64_t lines, int64_t depth, uint16_t* to) {
  switch (terms) {
    case 1:
      return pack_strip<1, rows>(x, lines, depth, to);
    case 2:
      return pack_strip<2, rows>(x, lines, depth, to);
    default:
      return pack_strip<3, rows>(x, lines, depth, to);
  }
}

// ---------------------------------------------------------------- packed B: strips, then their exponents
int64_t packed_bytes_of(const Plan& p) {
  return p.col_strips * (p.strip_bytes + (int64_t)sizeof(Exponents));
}
int64_t packed_bytes(const Gemm& g) {
  return packed_bytes_of(plan(g));
}

void pack_b_strip(const Gemm& g, const Plan& p, const float* b, int64_t strip, uint16_t* to, Exponents* range) {
  const int64_t column = strip * strip_lines;
  const int64_t columns = minimum(strip_lines, g.n - column);
  const Lines x = lines_of_b(g, b, column);
  pack<false>(p.terms.b, x, columns, g.k, to);
  *range = exponents(x, columns, g.k);
}

void pack_b(const Gemm& g, void* packed) {
  const Plan p = plan(g);
  char* strips = (char*)packed;
  Exponents* ranges = (Exponents*)(strips + p.col_strips * p.strip_bytes);
  parallel_for(p.col_strips, maximum(1, 65536 / p.strip_bytes), [&](int64_t begin, int64_t end) {
    for (int64_t s = begin; s < end; ++s)
      pack_b_strip(g, p, g.b, s, (uint16_t*)(strips + s * p.strip_bytes), ranges + s);
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

// One step of k: the products of terms (i, j) with i + j <= order, the smallest first and A0 B0 last, so that its
// rounding is the only one that counts. Each reloads one operand: A0 B2, A0 B1, A1 B1, A1 B0, A2 B0, A0 B0.
template <int a_terms, int b_terms, int order>
NONET_INLINE void step(const char* a, const char* b) {
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
  load_b<0>(b);
  if constexpr (a1) dots();
  if constexpr (a_terms > 2 && order >= 2) {
    load_a<2>(a);
    dots();
  }
  if constexpr (a1 || !b1) load_a<0>(a);
  dots();
}

template <int a_terms, int b_terms, int order>
void tile_product(const char* a, const char* b, int64_t steps, float* out) {
  tile_zero<0>();
  tile_zero<1>();
  tile_zero<2>();
  tile_zero<3>();
  for (int64_t s = 0; s < steps; ++s, a += step_bytes(a_terms), b += step_bytes(b_terms))
    step<a_terms, b_terms, order>(a, b);
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

// C[rows, columns] (+)= the products in out.
void add_tile(const float* out, float* c, int64_t ldc, int64_t rows, int64_t columns, bool accumulate) {
  for (int64_t r = 0; r < rows; ++r, c += ldc, out += strip_lines) {
    for_vectors(columns, [&](int64_t j, int64_t lanes) {
      const F value = load(out + j);
      store_lanes(c + j, accumulate ? load_lanes(c + j, lanes) + value : value, lanes);
    });
  }
}

// ---------------------------------------------------------------- a tile of C on the FMA kernel
void fma_tile(const Gemm& g, const Lines& a, int64_t rows, const Lines& b, int64_t columns, float* c) {
  alignas(64) float panel[k_block * panel_columns];
  const int64_t step = divide_up(g.k, divide_up(g.k, k_block));
  for (int64_t k = 0; k < g.k; k += step) {
    const int64_t depth = minimum(step, g.k - k);
    if (b.along == 1) {
      pack_panel_transposed(b.data + k, b.line, depth, columns, panel);
    } else {
      pack_panel(b.data + k * b.along, b.along, depth, columns, panel);
    }
    const Term term{a.data + k * a.along, panel};
    const Product product{&term, 1, depth, g.lda, panel_columns, c, g.n, k > 0 || g.accumulate};
    if (g.transpose_a) {
      brgemm<Order::columns>(rows, columns, product, NoEpilogue{});
    } else {
      brgemm<Order::rows>(rows, columns, product, NoEpilogue{});
    }
  }
}

// ---------------------------------------------------------------- tasks
struct Operands {
  const float* a;
  const float* b;
  float* c;
  const char* strips;       // packed B from strip `first` on
  const Exponents* ranges;  // the same
  int64_t first;
};

struct Task {
  int64_t row, rows;
  int64_t strip, strips;  // of B
};

void run_task(const Gemm& g, const Plan& p, const Operands& x, const Task& task) {
  const int64_t steps_of_chunk = minimum(chunk_k, p.depth) / step_k;
  const int64_t a_bytes = steps_of_chunk * step_bytes(p.terms.a);  // of a strip in a chunk
  const int64_t row_strips = divide_up(task.rows, strip_lines);
  char* scratch = (char*)thread_scratch(row_strips * (a_bytes + (int64_t)sizeof(Exponents)) + tile_floats * 4);
  float* out = (float*)scratch;
  char* packed = scratch + tile_floats * sizeof(float);
  Exponents* ranges = (Exponents*)(packed + row_strips * a_bytes);
  const auto rows_of = [&](int64_t s) { return minimum(strip_lines, task.rows - s * strip_lines); };
  for (int64_t s = 0; s < row_strips; ++s)
    ranges[s] = exponents(lines_of_a(g, x.a, task.row + s * strip_lines), rows_of(s), g.k);

  const TileProduct product = tile_product_of(p.terms);
  tile_configure();
  for (int64_t k = 0; k < g.k; k += chunk_k) {
    const int64_t depth = minimum(chunk_k, g.k - k);
    const int64_t steps = divide_up(depth, step_k);
    for (int64_t s = 0; s < row_strips; ++s) {
      Lines a = lines_of_a(g, x.a, task.row + s * strip_lines);
      a.data += k * a.along;
      pack<true>(p.terms.a, a, rows_of(s), depth, (uint16_t*)(packed + s * a_bytes));
    }
    for (int64_t strip = task.strip; strip < task.strip + task.strips; ++strip) {
      const int64_t column = strip * strip_lines;
      const int64_t columns = minimum(strip_lines, g.n - column);
      const char* b = x.strips + (strip - x.first) * p.strip_bytes + k / step_k * step_bytes(p.terms.b);
      for (int64_t s = 0; s < row_strips; ++s) {
        const int64_t row = task.row + s * strip_lines;
        float* c = x.c + row * g.n + column;
        if (in_range(ranges[s], x.ranges[strip - x.first], g.k)) {
          product(packed + s * a_bytes, b, steps, out);
          add_tile(out, c, g.n, rows_of(s), columns, k > 0 || g.accumulate);
        } else if (k == 0) {
          fma_tile(g, lines_of_a(g, x.a, row), rows_of(s), lines_of_b(g, x.b, column), columns, c);
        }
        if (k + depth == g.k) finish(g, c, rows_of(s), columns, g.bias == nullptr ? nullptr : g.bias + column);
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
          const Operands x{e.a, e.b, e.c, packed + at * p.strip_bytes, ranges + at, first};
          run_task(g, p, x, {row, minimum(p.block, g.m - row), first + from, minimum(p.group, strips - from)});
        }
      });
    }
  }
}

}  // namespace

constinit const MatmulKernels amx_matmul_kernels = {workspace, gemm, packed_bytes, pack_b};

}  // namespace nonet::NONET_NS
