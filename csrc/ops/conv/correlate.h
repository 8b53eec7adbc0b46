// The correlation of conv.h, and what its relatives share with it. *.simd.cpp and *.avx512_bf16.cpp only.
#pragma once

#include "ops/conv/conv.h"
#include "ops/matmul/brgemm.h"
#include "ops/matmul/epilogue.h"

namespace nonet::NONET_NS {

namespace {

constexpr int64_t block_flops = 800'000;  // of one task: enough to hide a fork, few enough to share out
constexpr int64_t most_terms = 64;        // of one product

// How a grid is cut into tasks: rows of all images together, and panels of 32 output channels of all groups together.
struct Split {
  int64_t all_rows, rows, row_blocks;
  int64_t all_panels, panels, panel_blocks;
  int64_t tasks, grain;
};

// flops: operations per output row and panel.
Split split(const Grid& grid, int64_t all_panels, int64_t flops) {
  Split s;
  const int64_t row = maximum(1, flops);
  s.all_rows = grid.images * grid.rows;
  s.all_panels = all_panels;
  s.panels = all_panels;
  // At least as many pixels as make reading the weights worth while.
  s.rows = minimum(s.all_rows, maximum(divide_up(128, grid.cols), block_flops / (row * all_panels)));
  s.row_blocks = divide_up(s.all_rows, s.rows);
  // Too few tasks to share out: cut the channels too.
  while (s.row_blocks * divide_up(all_panels, s.panels) < 16 && s.panels > 1 && row * s.rows * s.panels > block_flops)
    s.panels = divide_up(s.panels, 2);
  s.panel_blocks = divide_up(all_panels, s.panels);
  s.tasks = s.row_blocks * s.panel_blocks;
  s.grain = maximum(1, block_flops / (row * s.rows * s.panels));
  return s;
}

struct Task {
  int64_t begin, end;  // rows
  int64_t panel, panels;
};

// body(task) for all of them.
template <class Body>
void for_tasks(const Split& s, const Body& body) {
  parallel_for(s.tasks, s.grain, [&](int64_t first, int64_t last) {
    for (int64_t t = first; t < last; ++t) {
      const int64_t row = t / s.panel_blocks * s.rows;
      const int64_t panel = t % s.panel_blocks * s.panels;
      body(Task{row, minimum(row + s.rows, s.all_rows), panel, minimum(s.panels, s.all_panels - panel)});
    }
  });
}

// A row of the grid: where it lies in both images, and its pixels.
struct Row {
  int64_t in, out, cols;
};
template <class T>
Row row_at(const Grid& grid, const Pixels<const float>& in, const Pixels<T>& out, int64_t number) {
  const int64_t image = number / grid.rows;
  const int64_t row = number % grid.rows;
  return {image * in.image + row * grid.step_y * in.row, image * out.image + row * out.row,
          number == grid.images * grid.rows - 1 ? grid.last_cols : grid.cols};
}

// A part of the sum: taps [from, to), floats [k, k + kb) of each.
struct Chunk {
  int64_t from, to, k, kb;
  bool first, last;
};

// Cuts the sum into chunks whose part of a panel stays in L1.
template <class Body>
void for_chunks(int64_t taps, int64_t depth, const Body& body) {
  const int64_t parts = maximum(1, divide_up(depth, k_chain));
  const int64_t kb = divide_up(depth, parts);
  const int64_t together = parts > 1 ? 1 : minimum(most_terms, maximum(1, k_chain / maximum(kb, 1)));
  for (int64_t from = 0; from < taps; from += together) {
    const int64_t to = minimum(from + together, taps);
    int64_t k = 0;
    do {
      const int64_t end = minimum(k + kb, depth);
      body(Chunk{from, to, k, end - k, from == 0 && k == 0, to == taps && end == depth});
      k = end;
    } while (k < depth);
  }
}

// Whether a result is stored once, in whole vectors, and too large for the caches.
bool stores_past(const Correlation& c) {
  const Grid& grid = c.grid;
  const int64_t bytes = grid.images * c.out.image * (int64_t)sizeof(float);
  return c.activation == FusedActivation::none && c.out.pixel % width == 0 && c.out.row % width == 0 &&
         c.out.image % width == 0 && grid.out % tile_columns == 0 && passes_caches(c.out.data, bytes);
}

// One panel of output channels on the rows of a task.
template <class Products>
void correlate_panel(const Correlation& c, const Task& t, int64_t group, int64_t panel, const float* weights,
                     bool past) {
  const int64_t channel = group * c.grid.out + panel * panel_columns;
  const int64_t channels = minimum(panel_columns, c.grid.out - panel * panel_columns);
  const float* bias = c.bias == nullptr ? nullptr : c.bias + channel;
  for_chunks(c.tap_count, c.depth, [&](const Chunk& chunk) {
    for (int64_t number = t.begin; number < t.end; ++number) {
      const Row row = row_at(c.grid, c.in, c.out, number);
      const float* in = c.in.data + row.in + group * c.grid.in + chunk.k;
      float* out = c.out.data + row.out + channel;
      Term terms[most_terms];
      for (int64_t i = chunk.from; i < chunk.to; ++i) {
        const Tap& tap = c.taps[i];
        terms[i - chunk.from] = {in + tap.y * c.in.row + tap.x * c.in.pixel,
                                 weights + (tap.weight + chunk.k) * panel_columns};
      }
      const Product product{
          terms,       chunk.to - chunk.from, chunk.kb, c.grid.step_x * c.in.pixel,       panel_columns, out,
          c.out.pixel, !chunk.first,          bias,     past && chunk.first && chunk.last};
      Products::multiply(row.cols, channels, product, [&](int64_t begin, int64_t end) {
        if (chunk.last)
          finish_in_place(out + begin * c.out.pixel, c.out.pixel, end - begin, channels, nullptr, c.activation);
      });
    }
  });
}

template <class Products>
void correlate(const Correlation& c) {
  const Grid& grid = c.grid;
  const int64_t panels = divide_up(grid.out, panel_columns);
  const int64_t flops = 2 * grid.cols * c.tap_count * c.depth * minimum(grid.out, panel_columns);
  const bool past = stores_past(c);
  for_tasks(split(grid, grid.groups * panels, flops), [&](const Task& t) {
    for (int64_t p = t.panel; p < t.panel + t.panels; ++p)
      correlate_panel<Products>(c, t, p / panels, p % panels, c.weights + p * c.panel_floats, past);
    if (past) drain();
  });
}

struct FloatProducts {
  template <class Epilogue>
  NONET_INLINE void multiply(int64_t rows, int64_t cols, const Product& product, const Epilogue& epilogue) {
    brgemm(rows, cols, product, epilogue);
  }
};

}  // namespace

}  // namespace nonet::NONET_NS
