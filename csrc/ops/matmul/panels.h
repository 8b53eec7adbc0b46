// Products with B in panels and A in place or in tiles: those of many rows. *.simd.cpp only.
#pragma once

#include "ops/matmul/pack.h"
#include "ops/matmul/sums.h"

namespace nonet::NONET_NS {

namespace {

constexpr int64_t slab_floats = 2 << 20;  // packed operands at a time

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
          float* line = tile + (i + c) * height + first;
          if (height <= width && (k - i - c) * height >= width) {  // what is too much, the next lines overwrite
            store(line, block[c]);
          } else if (c < lanes) {
            store_lanes(line, block[c], part);
          }
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

}  // namespace

}  // namespace nonet::NONET_NS
