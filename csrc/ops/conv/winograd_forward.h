// Images (Winograd in winograd.h).
#pragma once

#include "ops/conv/winograd_matrices.h"

namespace nonet::NONET_NS {

namespace {

// The inputs of some tiles, as rows of matrices: [positions][pieces of the sum][tiles][piece], positions `step` floats
// apart. What a product reads at a time lies in one piece of memory.
struct Inputs {
  float* data;
  int64_t tiles;
  int64_t piece, pieces;
  int64_t step;
  int64_t first[kinds];  // what comes before the first of these tiles

  int64_t of_piece() const { return tiles * piece; }
};

template <class Values>
Inputs inputs_for(const Winograd& w, const Tiles& all, int64_t first, int64_t tiles, float* data) {
  constexpr int64_t least = 16;
  const int64_t floats = divide_up(w.depth, Values::count);
  const int64_t chain = w.chain / Values::count * Values::chains;
  const int64_t piece = minimum(chain, divide_up(floats, least) * least);
  const int64_t pieces = divide_up(floats, piece);
  Inputs out{data, tiles, piece, pieces, pieces * tiles * piece + line_padding, {}};
  all.before(first, out.first);
  return out;
}

// One tile of a source; `rows` are its rows by kind, null where it has none.
template <class Values, class R, class C>
NONET_INLINE void transform_tile(const float* from, int64_t row, int64_t pixel, int64_t channels, int64_t step,
                                 float* const (&rows)[kinds]) {
  float* const whole = rows[0];
  float* const last_col = rows[1];
  float* const last_row = rows[2];
  float* const corner = rows[3];
  for_vectors(channels, [=](int64_t c, int64_t lanes) {
    F d[R::pixels][C::pixels];
    F v[R::pixels][C::pixels];
    load_tile<R, C>(row, pixel, from + c, lanes, d);
    transform_input<R, C>(d, v);
    const auto put = [&](float* to, int i, int j) { Values::store(to + (i * C::pixels + j) * step, c, v[i][j]); };
#pragma GCC unroll 4
    for (int i = 0; i + 1 < R::pixels; ++i) {
#pragma GCC unroll 4
      for (int j = 0; j + 1 < C::pixels; ++j) put(whole, i, j);
    }
    if (last_col != nullptr) {
#pragma GCC unroll 4
      for (int i = 0; i + 1 < R::pixels; ++i) put(last_col, i, C::pixels - 1);
    }
    if (last_row != nullptr) {
#pragma GCC unroll 4
      for (int j = 0; j + 1 < C::pixels; ++j) put(last_row, R::pixels - 1, j);
    }
    if (corner != nullptr) put(corner, R::pixels - 1, C::pixels - 1);
  });
}

template <class Values>
void transform_inputs(const Winograd& w, const Tiles& tiles, const Layout& layout, int64_t begin, int64_t end,
                      const Inputs& to) {
  const int64_t channels = to.piece * Values::count;  // of a piece
  for (Cursor t(tiles, begin, to.first); begin < end; ++begin, t.next()) {
    const float* pixel = w.in.data + t.at.image * w.in.image + t.at.row * w.in.row + t.at.col * w.in.pixel;
    for (int64_t s = 0; s < w.sources; ++s) {
      const float* from = pixel + w.source[s].offset;
      float* out = to.data + layout.position[s] * to.step;
      with_taps(w.source[s].rows, w.source[s].cols, [&]<class R, class C>(R, C) {
        for (int64_t piece = 0; piece < to.pieces; ++piece) {
          float* rows[kinds];
          for (int kind = 0; kind < kinds; ++kind)
            rows[kind] = t.has[kind] ? out + piece * to.of_piece() + t.row[kind] * to.piece : nullptr;
          const int64_t first = piece * channels;
          transform_tile<Values, R, C>(from + first, w.in.row, w.in.pixel, minimum(channels, w.depth - first), to.step,
                                       rows);
        }
      });
    }
  }
}

// A block of tiles and a part of the output's panels.
struct Block {
  int64_t tile, tiles;
  int64_t panel, panels;
};

// m [S S][tiles][32]: the products of one panel. begin, rows: of a block's tiles in the inputs, by kind.
template <class Values, int S>
void panel_products(const Winograd& w, const Layout& layout, const Inputs& in, const int64_t (&begin)[kinds],
                    const int64_t (&rows)[kinds], int64_t channels, const float* weights, float* m, int64_t m_step) {
  const int64_t floats = divide_up(w.depth, Values::count);
  const int64_t matrix = matrix_floats<Values>(w.depth);
  // Of short sources, several at a time.
  const int64_t together = maximum(1, w.chain / w.depth);
  for (int place = 0; place < S * S; ++place) {
    const int kind = kind_of(place / S + 1 == S, place % S + 1 == S);
    Term parts[most_sources];
    int64_t count = 0;
    for (int64_t s = 0; s < w.sources; ++s) {
      const Part part = part_of(w.source[s], place / S, place % S);
      if (!part.there) continue;
      parts[count++] = {in.data + (layout.position[s] + part.position) * in.step + begin[kind] * in.piece,
                        weights + (layout.matrix[s] + part.matrix) * matrix};
    }
    for (int64_t from = 0; from < count; from += together) {
      for (int64_t piece = 0; piece < in.pieces; ++piece) {
        Term terms[most_sources];
        const int64_t of = minimum(together, count - from);
        const int64_t k = piece * in.piece;
        for (int64_t i = 0; i < of; ++i)
          terms[i] = {parts[from + i].a + piece * in.of_piece(), parts[from + i].b + k * panel_columns};
        const Product product{terms,
                              of,
                              minimum(in.piece, floats - k),
                              in.piece,
                              panel_columns,
                              m + place * m_step,
                              panel_columns,
                              from > 0 || piece > 0};
        Values::template multiply<Order::rows>(rows[kind], channels, product);
      }
    }
  }
}

// One tile of output channels; sums are the rows by kind, `right` and `below` the distances of pixels, 0 where there
// are none.
template <int S, class Map>
NONET_INLINE F output_tile(const float* const (&sums)[kinds], int64_t step, const float* bias, float* out,
                           int64_t right, int64_t below, int64_t channels, Map) {
  const float* const from[kinds] = {sums[0], sums[1], sums[2], sums[3]};
  F faults{};
  for_vectors(channels, [=, &faults](int64_t c, int64_t lanes) {
    F m[S][S];
    F y[2][2];
#pragma GCC unroll 16
    for (int place = 0; place < S * S; ++place) {
      const int kind = kind_of(place / S + 1 == S, place % S + 1 == S);
      m[place / S][place % S] = load_lanes(from[kind] + place * step + c, lanes);
    }
    transform_output<S>(m, y);
    const F b = bias == nullptr ? F{} : load_lanes(bias + c, lanes);
    const auto put = [&](F value, float* to) {
      faults = add_faults(faults, value);
      store_lanes(to + c, Map::forward(value + b), lanes);
    };
    put(y[0][0], out);
    if (right != 0) put(y[0][1], out + right);
    if (below != 0) put(y[1][0], out + below);
    if (right != 0 && below != 0) put(y[1][1], out + right + below);
  });
  return faults;
}

// Output channels [channel, channel + channels) of a block from m. Returns the faults.
template <int S, class Map>
F output_panel(const Winograd& w, const Tiles& tiles, const Block& b, const int64_t (&begin)[kinds], const float* m,
               int64_t m_step, int64_t channel, int64_t channels, Map map) {
  F faults{};
  Cursor t(tiles, b.tile, begin);
  for (int64_t left = b.tiles; left > 0; --left, t.next()) {
    const float* sums[kinds];
    for (int kind = 0; kind < kinds; ++kind) sums[kind] = m + t.row[kind] * panel_columns;
    float* out = w.out.data + t.at.image * w.out.image + t.at.row * w.out.row + t.at.col * w.out.pixel + channel;
    faults += output_tile<S>(sums, m_step, w.bias == nullptr ? nullptr : w.bias + channel, out,
                             t.has[1] ? w.out.pixel : 0, t.has[2] ? w.out.row : 0, channels, map);
  }
  return faults;
}

// Panels of a block whose inputs are transformed. m: S S b.tiles 32 floats; made: the weights, if not in w.
template <class Values, int S>
bool run_panels(const Winograd& w, const Tiles& tiles, const Layout& layout, const Inputs& in, const Block& b, float* m,
                const float* made = nullptr) {
  int64_t begin[kinds];
  int64_t rows[kinds];
  int64_t first[kinds];
  tiles.before(b.tile, first);
  tiles.before(b.tile + b.tiles, rows);
  for (int kind = 0; kind < kinds; ++kind) {
    rows[kind] -= first[kind];
    begin[kind] = first[kind] - in.first[kind];
  }
  const int64_t m_step = b.tiles * panel_columns;
  for (int place = 0; place < S * S; ++place) {  // what no source has is 0
    bool there = false;
    for (int64_t s = 0; s < w.sources; ++s) there = there || part_of(w.source[s], place / S, place % S).there;
    for (int64_t i = 0; !there && i < m_step; i += width) store(m + place * m_step + i, F{});
  }
  F faults{};
  for (int64_t panel = b.panel; panel < b.panel + b.panels; ++panel) {
    const int64_t channel = panel * panel_columns;
    const int64_t channels = minimum(panel_columns, w.channels - channel);
    const int64_t panel_floats = layout.matrices * matrix_floats<Values>(w.depth);
    const float* weights = made != nullptr ? made : w.weights + panel * panel_floats;
    panel_products<Values, S>(w, layout, in, begin, rows, channels, weights, m, m_step);
    visit_fused(w.activation,
                [&](auto map) { faults += output_panel<S>(w, tiles, b, first, m, m_step, channel, channels, map); });
  }
  return !has_faults(faults);
}

template <class Values, int S>
bool run_block(const Winograd& w, const Tiles& tiles, const Block& b) {
  const Layout layout(w);
  Inputs in = inputs_for<Values>(w, tiles, b.tile, b.tiles, nullptr);
  const int64_t inputs = layout.positions * in.step;
  in.data = (float*)thread_scratch((inputs + S * S * b.tiles * panel_columns) * (int64_t)sizeof(float));
  transform_inputs<Values>(w, tiles, layout, b.tile, b.tile + b.tiles, in);
  return run_panels<Values, S>(w, tiles, layout, in, b, in.data + inputs);
}

// How a call is cut into tasks.
struct Cut {
  int64_t blocks, parts;  // of tiles, of panels
};
template <class Values>
Cut cut_of(const Winograd& w, const Tiles& tiles, int64_t calls) {
  const int64_t floats = Layout(w).positions * divide_up(w.depth, Values::count);  // of a tile
  const int64_t most = minimum(most_tiles, maximum(1, block_floats / floats / unit) * unit);
  const int64_t finer = minimum(divide_up(enough_tasks, calls), tiles.count / (2 * unit));
  const int64_t blocks = maximum(divide_up(tiles.count, most), finer);
  const int64_t panels = divide_up(w.channels, panel_columns);
  return {blocks, maximum(1, minimum(panels / 2, divide_up(enough_tasks, blocks * calls)))};
}

// Runs body(call, task of it) for every call's tasks(call) at once, until one returns false for a fault.
template <class Count, class Body>
bool for_calls(const Winograd* calls, int64_t count, const Count& tasks, const Body& body) {
  int64_t all = 0;
  for (const Winograd* w = calls; w < calls + count; ++w) all += tasks(*w);
  int fine = 1;
  parallel_for(all, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const Winograd* w = calls;
      int64_t at = task;
      for (int64_t own = tasks(*w); at >= own; own = tasks(*w)) {
        at -= own;
        ++w;
      }
      if (!body(*w, at)) __atomic_store_n(&fine, 0, __ATOMIC_RELAXED);
    }
  });
  return fine != 0;
}

NONET_INLINE Tiles tiles_of(const Winograd& w) {
  return {w.images, w.rows, w.cols};
}
NONET_INLINE int64_t panels_of(const Winograd& w) {
  return divide_up(w.channels, panel_columns);
}

template <class Values>
bool run_task(const Winograd& w, const Cut& cut, int64_t task) {
  const Tiles tiles = tiles_of(w);
  const int64_t block = task / cut.parts;
  const int64_t tile = tiles.count * block / cut.blocks;
  const int64_t panels = divide_up(panels_of(w), cut.parts);
  const int64_t panel = task % cut.parts * panels;
  const Block b{tile, tiles.count * (block + 1) / cut.blocks - tile, panel, minimum(panels, panels_of(w) - panel)};
  if (b.panels <= 0 || b.tiles <= 0) return true;
  return w.source[0].rows == 3 ? run_block<Values, 4>(w, tiles, b) : run_block<Values, 3>(w, tiles, b);
}

// Large weights beside few inputs are read once: all inputs are transformed before.
constexpr int64_t large_weights = 2 << 20;  // floats
constexpr int64_t few_inputs = 4 << 20;

template <class Values>
int64_t inputs_of(const Winograd& w) {
  return Layout(w).positions * inputs_for<Values>(w, tiles_of(w), 0, tiles_of(w).count, nullptr).step;
}
template <class Values>
int64_t forward_workspace(const Winograd* calls, int64_t count) {
  int64_t weights = 0;
  int64_t inputs = 0;
  for (const Winograd* w = calls; w < calls + count; ++w) {
    weights += panels_of(*w) * Layout(*w).matrices * matrix_floats<Values>(w->depth);
    inputs += inputs_of<Values>(*w);
  }
  return weights > large_weights && inputs <= few_inputs ? inputs : 0;
}

// All tiles of one panel, its weights made on the way if there are none.
template <class Values, int S>
bool run_panel(const Winograd& w, const Inputs& in, int64_t panel) {
  const Tiles tiles = tiles_of(w);
  const Layout layout(w);
  const int64_t blocks = divide_up(tiles.count, most_tiles);
  const int64_t sums = S * S * divide_up(tiles.count, blocks) * panel_columns;
  const int64_t weights = w.weights == nullptr ? layout.matrices * matrix_floats<Values>(w.depth) : 0;
  float* m = (float*)thread_scratch((sums + weights) * (int64_t)sizeof(float));
  float* made = w.weights == nullptr ? m + sums : nullptr;
  if (made != nullptr) {
    float* const panels[most_sources] = {made, made, made, made};
    for (int64_t at = 0; at < panel_columns; at += width)
      weights_vector<Values>(w.kernels, w.sources, panel * panel_columns + at, panels);
  }
  bool fine = true;
  for (int64_t block = 0; block < blocks; ++block) {
    const int64_t tile = tiles.count * block / blocks;
    const Block b{tile, tiles.count * (block + 1) / blocks - tile, panel, 1};
    fine = run_panels<Values, S>(w, tiles, layout, in, b, m, made) && fine;
  }
  return fine;
}

template <class Values>
bool forward_in_passes(const Winograd* calls, int64_t count, float* workspace) {
  Inputs inputs[most_sources];
  for (int64_t i = 0; i < count; ++i) {
    const Winograd& w = calls[i];
    const Tiles tiles = tiles_of(w);
    const Layout layout(w);
    inputs[i] = inputs_for<Values>(w, tiles, 0, tiles.count, workspace);
    workspace += inputs_of<Values>(w);
    parallel_for(tiles.count, 1 + grain_floats / (layout.positions * w.depth), [&](int64_t begin, int64_t end) {
      transform_inputs<Values>(w, tiles, layout, begin, end, inputs[i]);
    });
  }
  return for_calls(calls, count, panels_of, [&](const Winograd& w, int64_t panel) {
    const Inputs& in = inputs[&w - calls];
    return w.source[0].rows == 3 ? run_panel<Values, 4>(w, in, panel) : run_panel<Values, 3>(w, in, panel);
  });
}

template <class Values>
bool forward(const Winograd* calls, int64_t count, float* workspace) {
  if (workspace != nullptr) return forward_in_passes<Values>(calls, count, workspace);
  const auto cut = [&](const Winograd& w) { return cut_of<Values>(w, tiles_of(w), count); };
  return for_calls(
      calls, count, [&](const Winograd& w) { return cut(w).blocks * cut(w).parts; },
      [&](const Winograd& w, int64_t task) { return run_task<Values>(w, cut(w), task); });
}

}  // namespace

}  // namespace nonet::NONET_NS
