// The matrices of weights (WinogradWeights in winograd.h).
#pragma once

#include "ops/conv/winograd_tiles.h"

namespace nonet::NONET_NS {

namespace {

constexpr int64_t most_elements = 16;  // of a kernel

// values[p] = element p of `count` kernels, `step` floats apart.
NONET_INLINE void load_kernels(const float* from, int64_t step, int64_t count, int64_t size,
                               F (&values)[most_elements]) {
  for (int64_t first = 0; first < size; first += width) {
    F block[width];
#pragma GCC unroll 16
    for (int64_t lane = 0; lane < width; ++lane)
      block[lane] = lane < count ? load_lanes(from + lane * step + first, minimum(width, size - first)) : F{};
    transpose(block);
#pragma GCC unroll 16
    for (int64_t i = 0; i < width; ++i) values[first + i] = block[i];
  }
}
// The other way round.
NONET_INLINE void store_kernels(float* to, int64_t step, int64_t count, int64_t size,
                                const F (&values)[most_elements]) {
  for (int64_t first = 0; first < size; first += width) {
    F block[width];
#pragma GCC unroll 16
    for (int64_t i = 0; i < width; ++i) block[i] = values[first + i];
    transpose(block);
#pragma GCC unroll 16
    for (int64_t lane = 0; lane < width; ++lane) {
      if (lane < count) store_lanes(to + lane * step + first, block[lane], minimum(width, size - first));
    }
  }
}

// A vector of columns, all matrices of it; panels: where the matrices of its panel are, of every source.
template <class Values>
void weights_vector(const WinogradWeights* calls, int64_t sources, int64_t channel, float* const* panels) {
  const WinogradWeights& all = *calls;
  const int64_t depth = all.rotated ? all.out : all.in;
  const int64_t channels = all.rotated ? all.in : all.out;
  const int64_t of_depth = all.rotated ? all.in * all.size : all.size;  // distances in W
  const int64_t of_channel = all.rotated ? all.size : all.in * all.size;
  const int64_t matrix = matrix_floats<Values>(depth);
  const int64_t count = maximum(0, minimum(width, channels - channel));
  int64_t to = channel % panel_columns;
  F kernels[Values::count][most_elements] = {};  // out here: clearing it took as long as the rest
  for (int64_t k = 0; k < depth; k += Values::count, to += panel_columns) {
    for (int64_t i = 0; i < Values::count; ++i) {
      const int64_t there = k + i < depth ? count : 0;
      load_kernels(all.weight + channel * of_channel + (k + i) * of_depth, of_channel, there, all.size, kernels[i]);
    }
    for (const WinogradWeights* w = calls; w < calls + sources; ++w) {
      float* first = panels[w - calls] + w->first * matrix + to;
      with_taps(w->rows, w->cols, [&]<class R, class C>(R, C) {
        F u[Values::count][R::matrices][C::matrices];
#pragma GCC unroll 2
        for (int n = 0; n < Values::count; ++n) {
          F g[R::count][C::count];
#pragma GCC unroll 9
          for (int p = 0; p < R::count * C::count; ++p) {
            g[p / C::count][p % C::count] = kernels[n][w->row[p / C::count] * w->width + w->col[p % C::count]];
          }
          transform_kernel<R, C>(g, u[n]);
        }
#pragma GCC unroll 16
        for (int p = 0; p < R::matrices * C::matrices; ++p) {
          constexpr int across = C::matrices;
          store(first + p * matrix,
                Values::join(u[0][p / across][p % across], u[Values::count - 1][p / across][p % across]));
        }
      });
    }
  }
}

template <class Values>
void weights(const WinogradWeights* calls, int64_t count) {
  const int64_t depth = calls->rotated ? calls->out : calls->in;
  const int64_t panels = divide_up(calls->rotated ? calls->in : calls->out, panel_columns);
  const int64_t grain = 1 + grain_floats / (depth * calls->size * width * 4);
  parallel_for(panels * panel_columns / width, grain, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      float* to[most_sources];
      for (int64_t i = 0; i < count; ++i) {
        const int64_t panel = task * width / panel_columns;
        to[i] = calls[i].to + panel * calls[i].matrices * matrix_floats<Values>(depth);
      }
      weights_vector<Values>(calls, count, task * width, to);
    }
  });
}

}  // namespace

}  // namespace nonet::NONET_NS
