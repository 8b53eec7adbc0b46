#include "ops/conv/correlate.h"

namespace nonet::NONET_NS {

namespace {

// ---------------------------------------------------------------- one channel per group: vectors of channels
// P neighbouring pixels.
template <int P, class Lanes>
NONET_INLINE void depthwise_pixels(const Correlation& c, const float* in, float* out, int64_t channel, Lanes lanes) {
  F acc[P] = {};
  for (int64_t i = 0; i < c.tap_count; ++i) {
    const Tap& tap = c.taps[i];
    const F w = load_lanes(c.weights + tap.weight * c.grid.groups + channel, lanes);
    const float* x = in + tap.y * c.in.row + tap.x * c.in.pixel + channel;
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) acc[p] = fma(load_lanes(x + p * c.grid.step_x * c.in.pixel, lanes), w, acc[p]);
  }
#pragma GCC unroll 4
  for (int p = 0; p < P; ++p) store_lanes(out + p * c.out.pixel + channel, acc[p], lanes);
}

template <class Lanes>
NONET_INLINE void depthwise_row(const Correlation& c, const float* in, float* out, int64_t cols, int64_t channel,
                                Lanes lanes) {
  const int64_t step = c.grid.step_x * c.in.pixel;
  int64_t x = 0;
  for (; x + 4 <= cols; x += 4) depthwise_pixels<4>(c, in + x * step, out + x * c.out.pixel, channel, lanes);
  for (; x < cols; ++x) depthwise_pixels<1>(c, in + x * step, out + x * c.out.pixel, channel, lanes);
}

// A lane count that the compiler knows.
struct AllOfThem {
  constexpr operator int64_t() const { return width; }
};

void correlate_depthwise(const Correlation& c) {
  const Grid& grid = c.grid;
  for_tasks(split(grid, divide_up(grid.groups, width), 2 * grid.cols * c.tap_count * width), [&](const Task& t) {
    const int64_t first = t.panel * width;
    const int64_t last = minimum((t.panel + t.panels) * width, grid.groups);
    for (int64_t number = t.begin; number < t.end; ++number) {
      const Row row = row_at(grid, c.in, c.out, number);
      const float* in = c.in.data + row.in;
      float* out = c.out.data + row.out;
      int64_t channel = first;
      for (; channel + width <= last; channel += width) depthwise_row(c, in, out, row.cols, channel, AllOfThem{});
      if (channel < last) depthwise_row(c, in, out, row.cols, channel, last - channel);
      finish_in_place(out + first, c.out.pixel, row.cols, last - first, c.bias == nullptr ? nullptr : c.bias + first,
                      c.activation);
    }
  });
}

// ---------------------------------------------------------------- few channels: products are added where they belong
// row[x] += sum_j products[(x + left - j) / stride][j], where that division comes out even.
//
// In two passes over `stage`, [width of the image][spread_line]: a load that follows a store into the same vector
// waits for it.
constexpr int64_t spread_line = maximum(spread_channels, width);

void add_products(const Spread& s, const float* products, int64_t line, float* row, float* stage) {
  const int64_t step = s.stride[1];
  const int64_t floats = s.width * s.channels;
  int64_t column = s.padding[1] / step;  // of dY, for the kernel column `phase`
  int64_t phase = s.padding[1] % step;
  for (int64_t x = 0; x < s.width; ++x) {
    const int64_t beyond = maximum(0, column - (s.cols - 1));
    const int64_t j = phase + beyond * step;
    const int64_t last = minimum(s.kernel[1] - 1, x + s.padding[1]);
    const float* first = products + (column - beyond) * line + j * s.channels;
    for (int64_t i = 0; i < s.channels; i += width) {
      const float* from = first + i;
      const int64_t at = x * s.channels + i;
      F sum = load_lanes(row + at, minimum(width, floats - at));
      for (int64_t k = j; k <= last; k += step, from += step * s.channels - line) sum += load(from);
      store(stage + x * spread_line + i, sum);
    }
    if (++phase == step) {
      phase = 0;
      ++column;
    }
  }
  // What is written beyond a pixel's channels is overwritten by the next one.
  for (int64_t x = 0; x < s.width; ++x) {
    for (int64_t i = 0; i < s.channels; i += width) {
      const int64_t at = x * s.channels + i;
      store_lanes(row + at, load(stage + x * spread_line + i), minimum(width, floats - at));
    }
  }
}

void spread(const Spread& s) {
  const int64_t columns = s.kernel[1] * s.channels;
  const int64_t panels = divide_up(columns, panel_columns);
  const int64_t line = panels * panel_columns;
  const int64_t floats = s.cols * line + width;
  parallel_for(s.images, 1, [&](int64_t begin, int64_t end) {
    float* products = (float*)thread_scratch((floats + s.width * spread_line) * (int64_t)sizeof(float));
    float* stage = products + floats;
    for (int64_t image = begin; image < end; ++image) {
      const float* in = s.in.data + image * s.in.image;
      float* out = s.out + image * s.height * s.width * s.channels;
      for_vectors(s.height * s.width * s.channels, [&](int64_t i, int64_t lanes) { store_lanes(out + i, F{}, lanes); });
      for (int64_t y = 0; y < s.rows; ++y) {
        for (int64_t i = 0; i < s.kernel[0]; ++i) {
          const int64_t to = y * s.stride[0] + i * s.dilation - s.padding[0];
          if (to < 0 || to >= s.height) continue;
          for (int64_t p = 0; p < panels; ++p) {
            const Term term{in + y * s.in.row, s.weights + (i * panels + p) * s.depth * panel_columns};
            const Product product{&term, 1,    s.depth, s.in.pixel, panel_columns, products + p * panel_columns,
                                  line,  false};
            brgemm(s.cols, minimum(panel_columns, columns - p * panel_columns), product, NoEpilogue{});
          }
          add_products(s, products, line, out + to * s.width * s.channels, stage);
        }
      }
      finish_in_place(out, s.channels, s.height * s.width, s.channels, s.bias, s.activation);
    }
  });
}

// ---------------------------------------------------------------- weights: pixels are the summed index
// Rows [begin, end) of all images together that belong to a slice.
struct Slice {
  int64_t begin, end;
};
Slice slice(const WeightGradient& g, int64_t number) {
  const int64_t rows = g.grid.images * g.grid.rows;
  return {rows * number / g.slices, rows * (number + 1) / g.slices};
}

// One panel of output channels, all taps, over the rows of a slice.
void gradient_panel(const WeightGradient& g, const Slice& s, int64_t group, int64_t panel, float* partial) {
  const Grid& grid = g.grid;
  const int64_t channels = minimum(panel_columns, grid.out - panel * panel_columns);
  const float* in = g.in.data + group * grid.in;
  const float* out = g.out.data + group * grid.out + panel * panel_columns;
  const int64_t together = minimum(most_terms, maximum(1, k_chain / maximum(grid.cols, 1)));
  // A few rows at a time, all taps of them: they stay in cache.
  int64_t from = s.begin;
  do {  // once even for no rows: the sum is then 0
    int64_t to = minimum(from + together, s.end);
    if (to == grid.images * grid.rows && to - from > 1 && grid.last_cols != grid.cols) --to;  // comes by itself
    const int64_t cols = to == grid.images * grid.rows ? grid.last_cols : grid.cols;
    for (int64_t i = 0; i < g.tap_count; ++i) {
      const Tap& tap = g.taps[i];
      Term terms[most_terms];
      for (int64_t number = from; number < to; ++number) {
        const Row row = row_at(grid, g.in, g.out, number);
        terms[number - from] = {in + row.in + tap.y * g.in.row + tap.x * g.in.pixel, out + row.out};
      }
      const Product product{terms,       to - from,
                            cols,        grid.step_x * g.in.pixel,
                            g.out.pixel, partial + tap.weight * grid.out + panel * panel_columns,
                            grid.out,    g.accumulate || from > s.begin};
      brgemm<Order::columns>(g.depth, channels, product, NoEpilogue{});
    }
    from = to;
  } while (from < s.end);
}

void weight_gradient(const WeightGradient& g) {
  const int64_t panels = divide_up(g.grid.out, panel_columns);
  const int64_t all_panels = panels * g.grid.groups;
  const int64_t flops = 2 * g.grid.cols * g.grid.rows * g.grid.images / g.slices * g.tap_count * g.depth *
                        minimum(g.grid.out, panel_columns);
  parallel_for(g.slices * all_panels, maximum(1, block_flops / maximum(1, flops)), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const int64_t group = t % all_panels / panels;
      float* partial = g.partial + t / all_panels * g.floats + group * (g.floats / g.grid.groups);
      gradient_panel(g, slice(g, t / all_panels), group, t % panels, partial);
    }
  });
}

// T taps of one vector of channels over the rows of a slice.
template <int T>
void depthwise_gradient(const WeightGradient& g, const Slice& s, const Tap* taps, float* partial, int64_t channel,
                        int64_t lanes) {
  const int64_t step = g.grid.step_x * g.in.pixel;
  F total[T] = {};
  for (int64_t number = s.begin; number < s.end; ++number) {
    const Row row = row_at(g.grid, g.in, g.out, number);
    const float* in = g.in.data + row.in + channel;
    const float* out = g.out.data + row.out + channel;
    F sum[T] = {};
    for (int64_t x = 0; x < row.cols; ++x) {
      const F d = load_lanes(out + x * g.out.pixel, lanes);
#pragma GCC unroll 4
      for (int i = 0; i < T; ++i) {
        const float* at = in + taps[i].y * g.in.row + taps[i].x * g.in.pixel + x * step;
        sum[i] = fma(load_lanes(at, lanes), d, sum[i]);
      }
    }
    for (int i = 0; i < T; ++i) total[i] += sum[i];
  }
  for (int i = 0; i < T; ++i) {
    float* to = partial + taps[i].weight * g.grid.groups + channel;
    store_lanes(to, g.accumulate ? load_lanes(to, lanes) + total[i] : total[i], lanes);
  }
}

void weight_gradient_depthwise(const WeightGradient& g) {
  parallel_for(g.slices, 1, [&](int64_t first, int64_t last) {
    for (int64_t number = first; number < last; ++number) {
      float* partial = g.partial + number * g.floats;
      for_vectors(g.grid.groups, [&](int64_t channel, int64_t lanes) {
        int64_t i = 0;
        for (; i + 4 <= g.tap_count; i += 4)
          depthwise_gradient<4>(g, slice(g, number), g.taps + i, partial, channel, lanes);
        for (; i < g.tap_count; ++i) depthwise_gradient<1>(g, slice(g, number), g.taps + i, partial, channel, lanes);
      });
    }
  });
}

void sum_slices(float* partial, int64_t slices, int64_t floats) {
  parallel_for(floats, 8192, [&](int64_t begin, int64_t end) {
    for (int64_t left = slices; left > 1; left = divide_up(left, 2)) {
      const int64_t half = divide_up(left, 2);
      for (int64_t i = 0; i + half < left; ++i) {
        float* to = partial + i * floats + begin;
        const float* from = partial + (i + half) * floats + begin;
        for_vectors(end - begin, [&](int64_t j, int64_t lanes) {
          store_lanes(to + j, load_lanes(to + j, lanes) + load_lanes(from + j, lanes), lanes);
        });
      }
    }
  });
}

}  // namespace

constinit const ConvKernels conv_kernels = {width,           correlate<FloatProducts>,  correlate_depthwise, spread,
                                            weight_gradient, weight_gradient_depthwise, sum_slices};

}  // namespace nonet::NONET_NS
