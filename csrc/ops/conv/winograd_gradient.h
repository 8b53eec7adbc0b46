// The gradient of the weights (WinogradGradient in winograd.h).
#pragma once

#include "ops/conv/winograd_matrices.h"

namespace nonet::NONET_NS {

namespace {

template <class Values>
int64_t unit_floats(const WinogradGradient& g) {
  const int64_t places = g.source[0].rows == 3 ? 16 : 9;
  return Layout(g).positions * line_of(g.depth) + places * line_of(g.channels);
}
// Tiles side by side in an operand make a unit.
template <class Values>
int64_t chunk_units(const WinogradGradient& g) {
  const Tiles tiles(g.images, g.rows, g.cols);
  return minimum(divide_up(tiles.count, Values::count), maximum(4 * unit, chunk_floats / unit_floats<Values>(g)));
}
template <class Values>
int64_t gradient_workspace(const WinogradGradient& g) {
  return chunk_units<Values>(g) * unit_floats<Values>(g);
}

// Where a unit's products are, of every kind. Only single tiles leave out what only missing pixels see.
struct UnitRows {
  int64_t row[kinds];
  bool has[kinds];
};
template <class Values>
NONET_INLINE UnitRows rows_at(const Cursor& at, int64_t unit) {
  UnitRows out;
  for (int kind = 0; kind < kinds; ++kind) {
    out.row[kind] = Values::count == 1 ? at.row[kind] : unit;
    out.has[kind] = Values::count == 1 ? at.has[kind] : true;
  }
  return out;
}

// Where its rows begin, null for none.
struct RowStarts {
  float* at[kinds];

  RowStarts(float* to, const UnitRows& rows, int64_t line) {
    for (int kind = 0; kind < kinds; ++kind) at[kind] = rows.has[kind] ? to + rows.row[kind] * line : nullptr;
  }
};

// Elements c of R x C products, `step` floats apart.
template <class Values, int R, int C>
NONET_INLINE void store_unit(const F (&v)[Values::count][R][C], const RowStarts& rows, int64_t step, int64_t c) {
#pragma GCC unroll 16
  for (int p = 0; p < R * C; ++p) {
    float* row = rows.at[kind_of(p / C + 1 == R, p % C + 1 == C)];
    if (row != nullptr) store(row + p * step + c, Values::join(v[0][p / C][p % C], v[Values::count - 1][p / C][p % C]));
  }
}

// A unit's inputs of one source: [positions][.. step ..][line]. Loops that store take everything by value.
template <class Values, class R, class C>
NONET_INLINE void input_unit(const WinogradGradient& g, const Tiles& tiles, int64_t tile, const UnitRows& unit,
                             int64_t offset, float* to, int64_t step) {
  const RowStarts rows(to, unit, line_of(g.depth));
  const int64_t row = g.in.row;
  const int64_t pixel = g.in.pixel;
  const float* from[Values::count];
  for (int i = 0; i < Values::count; ++i) {
    const Place at = tiles.place(minimum(tile + i, tiles.count - 1));  // a missing one is 0 in dY
    from[i] = g.in.data + at.image * g.in.image + at.row * row + at.col * pixel + offset;
  }
  for_vectors(g.depth, [=](int64_t c, int64_t lanes) {
    F v[Values::count][R::pixels][C::pixels];
#pragma GCC unroll 2
    for (int i = 0; i < Values::count; ++i) {
      F d[R::pixels][C::pixels];
      load_tile<R, C>(row, pixel, from[i] + c, lanes, d);
      transform_input<R, C>(d, v[i]);
    }
    store_unit<Values>(v, rows, step, c);
  });
}

// The gradients of a unit's outputs, zeros beyond the image.
template <class Values, int S>
NONET_INLINE void gradient_unit(const WinogradGradient& g, const Tiles& tiles, int64_t tile, const UnitRows& unit,
                                float* to, int64_t step) {
  const RowStarts rows(to, unit, line_of(g.channels));
  const float* pixels[Values::count][2][2];
  for (int i = 0; i < Values::count; ++i) {
    const Place at = tiles.place(minimum(tile + i, tiles.count - 1));
    const float* first = g.out.data + at.image * g.out.image + at.row * g.out.row + at.col * g.out.pixel;
    for (int p = 0; p < 4; ++p) {
      const bool there = tile + i < tiles.count && at.row + p / 2 < g.rows && at.col + p % 2 < g.cols;
      pixels[i][p / 2][p % 2] = there ? first + p / 2 * g.out.row + p % 2 * g.out.pixel : nullptr;
    }
  }
  for_vectors(g.channels, [=](int64_t c, int64_t lanes) {
    F v[Values::count][S][S];
#pragma GCC unroll 2
    for (int i = 0; i < Values::count; ++i) {
      F y[2][2];
#pragma GCC unroll 4
      for (int p = 0; p < 4; ++p) {
        const float* at = pixels[i][p / 2][p % 2];
        y[p / 2][p % 2] = at != nullptr ? load_lanes(at + c, lanes) : F{};
      }
      transform_gradient<S>(y, v[i]);
    }
    store_unit<Values>(v, rows, step, c);
  });
}

// One matrix of a source, one panel of it: the sum over units of its inputs times the gradients. units: room for them,
// and how many there are of every kind.
template <class Values, int S>
void matrix_sums(const WinogradGradient& g, const Layout& layout, int64_t number, int64_t panel, int64_t units,
                 const int64_t (&rows)[kinds], const float* x, const float* dy, bool accumulate) {
  const int64_t in_line = line_of(g.depth);
  const int64_t out_line = line_of(g.channels);
  const int64_t channel = panel * panel_columns;
  int64_t s = g.sources - 1;
  while (layout.matrix[s] > number) --s;
  for (int place = 0; place < S * S; ++place) {
    const Part part = part_of(g.source[s], place / S, place % S);
    if (!part.there || part.matrix != number - layout.matrix[s]) continue;
    const int64_t count = rows[kind_of(place / S + 1 == S, place % S + 1 == S)];
    const int64_t step = maximum(1, divide_up(count, maximum(1, divide_up(count, Values::gradient_chain))));
    int64_t k = 0;
    do {  // once even for none: the sum is then 0
      const Term term{x + ((layout.position[s] + part.position) * units + k) * in_line,
                      dy + (place * units + k) * out_line + channel};
      const Product product{&term,      1,         minimum(step, count - k),
                            in_line,    out_line,  g.sums + number * g.depth * g.channels + channel,
                            g.channels, accumulate};
      Values::template multiply<Order::columns>(g.depth, minimum(panel_columns, g.channels - channel), product);
      accumulate = true;
    } while ((k += step) < count);
  }
}

template <class Values, int S>
void run_gradient(const WinogradGradient& g) {
  const Tiles tiles(g.images, g.rows, g.cols);
  const Layout layout(g);
  const int64_t in_line = line_of(g.depth);
  const int64_t out_line = line_of(g.channels);
  const int64_t panels = divide_up(g.channels, panel_columns);
  const int64_t all = divide_up(tiles.count, Values::count);
  const int64_t most = chunk_units<Values>(g);
  for (int64_t first = 0; first < all; first += most) {
    const int64_t units = minimum(most, all - first);
    int64_t before[kinds];
    int64_t rows[kinds];
    tiles.before(first * Values::count, before);
    tiles.before(minimum(tiles.count, (first + units) * Values::count), rows);
    for (int kind = 0; kind < kinds; ++kind) rows[kind] = Values::count == 1 ? rows[kind] - before[kind] : units;
    float* x = g.workspace;
    float* dy = x + layout.positions * units * in_line;
    parallel_for(units, 1 + grain_floats / unit_floats<Values>(g), [&](int64_t begin, int64_t end) {
      Cursor cursor(tiles, (first + begin) * Values::count, before);
      for (int64_t u = begin; u < end; ++u, cursor.next()) {
        const int64_t tile = (first + u) * Values::count;
        const UnitRows at = rows_at<Values>(cursor, u);
        for (int64_t s = 0; s < g.sources; ++s) {
          with_taps(g.source[s].rows, g.source[s].cols, [&]<class R, class C>(R, C) {
            input_unit<Values, R, C>(g, tiles, tile, at, g.source[s].offset, x + layout.position[s] * units * in_line,
                                     units * in_line);
          });
        }
        gradient_unit<Values, S>(g, tiles, tile, at, dy, units * out_line);
      }
    });
    parallel_for(layout.matrices * panels, 1, [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task)
        matrix_sums<Values, S>(g, layout, task / panels, task % panels, units, rows, x, dy, g.accumulate || first > 0);
    });
  }
}

template <class Values>
void gradient(const WinogradGradient& g) {
  g.source[0].rows == 3 ? run_gradient<Values, 4>(g) : run_gradient<Values, 3>(g);
}

// The kernels of a vector of output channels. Returns the faults.
F kernels_from_sums(const float* sums, const WinogradWeights* calls, int64_t sources, int64_t channel) {
  const WinogradWeights& all = *calls;
  const int64_t lanes = minimum(width, all.out - channel);
  F faults{};
  F kernels[most_elements] = {};
  for (int64_t c = 0; c < all.in; ++c) {
    for (const WinogradWeights* w = calls; w < calls + sources; ++w) {
      with_taps(w->rows, w->cols, [&]<class R, class C>(R, C) {
        constexpr int across = C::matrices;
        F u[R::matrices][C::matrices];
        F g[R::count][C::count];
#pragma GCC unroll 16
        for (int p = 0; p < R::matrices * across; ++p)
          u[p / across][p % across] = load_lanes(sums + ((w->first + p) * all.in + c) * all.out + channel, lanes);
        transform_sums<R, C>(u, g);
#pragma GCC unroll 9
        for (int p = 0; p < R::count * C::count; ++p) {
          const F value = g[p / C::count][p % C::count];
          faults = add_faults(faults, value);
          kernels[w->row[p / C::count] * w->width + w->col[p % C::count]] = value;
        }
      });
    }
    store_kernels(all.to + (channel * all.in + c) * all.size, all.in * all.size, lanes, all.size, kernels);
  }
  return faults;
}

bool gradient_weights(const float* sums, const WinogradWeights* calls, int64_t count) {
  int fine = 1;
  const int64_t grain = 1 + grain_floats / (calls->in * calls->size * width * 4);
  parallel_for(divide_up(calls->out, width), grain, [&](int64_t begin, int64_t end) {
    F faults{};
    for (int64_t task = begin; task < end; ++task) faults += kernels_from_sums(sums, calls, count, task * width);
    if (has_faults(faults)) __atomic_store_n(&fine, 0, __ATOMIC_RELAXED);
  });
  return fine != 0;
}

}  // namespace

}  // namespace nonet::NONET_NS
