#include "ops/conv/winograd.h"

#include "ops/conv/winograd_transforms.h"
#include "ops/matmul/brgemm.h"
#include "ops/matmul/epilogue.h"

namespace nonet::NONET_NS {

namespace {

constexpr int64_t positions = 16;             // of a tile
constexpr int64_t unit = 14;                  // tiles that a block is a multiple of
constexpr int64_t block_floats = 600 * unit;  // of a position's inputs in a block: all 16 stay in L2
constexpr int64_t most_tiles = 8 * unit;      // of a block
constexpr int64_t enough_tasks = 16;          // to share out
constexpr int64_t chunk_floats = 2 << 20;     // of transformed images at a time, for the gradient of weights
constexpr int64_t grain_floats = 1 << 16;     // of a task that transforms
constexpr int64_t chain = 64;                 // values summed at a time: what is summed is larger than outputs
constexpr int64_t chain_of_pairs = 32;        // the same, where the definition has shorter sums to compare with
constexpr int64_t padding = 16;               // between rows, so that they do not lie a power of two apart

NONET_INLINE int64_t line_of(int64_t channels) {
  return divide_up(channels, panel_columns) * panel_columns + padding;
}

// Tiles of 2 x 2 in images of rows x cols, counted through all images.
struct Tiles {
  int64_t rows, cols, count;

  Tiles(int64_t images, int64_t image_rows, int64_t image_cols)
      : rows(divide_up(image_rows, 2)), cols(divide_up(image_cols, 2)), count(images * rows * cols) {}
};
struct Place {
  int64_t image, row, col;  // the first pixel
};
NONET_INLINE Place place_of(const Tiles& tiles, int64_t tile) {
  const int64_t row = tile / tiles.cols;
  return {row / tiles.rows, row % tiles.rows * 2, tile % tiles.cols * 2};
}

// C[rows, cols] (+)= A B over `depth` values, in chains.
struct Factor {
  const float* data;
  int64_t line;
};
template <Order order>
NONET_INLINE void multiply(int64_t rows, int64_t cols, int64_t depth, const Factor& a, const Factor& b, float* c,
                           int64_t ldc, bool accumulate, int64_t most = chain) {
  const int64_t step = divide_up(depth, divide_up(depth, most));
  for (int64_t k = 0; k < depth; k += step) {
    const Term term{a.data + (order == Order::rows ? k : k * a.line), b.data + k * b.line};
    const Product product{&term, 1, minimum(step, depth - k), a.line, b.line, c, ldc, accumulate || k > 0};
    brgemm<order>(rows, cols, product, NoEpilogue{});
  }
}

// The input of one tile of S x S pixels, [S S][.. step ..][channels rounded up to a vector].
template <int S = 4>
NONET_INLINE void input_tile(const Pixels<const float>& in, const Place& at, int64_t channels, float* to,
                             int64_t step) {
  const float* from = in.data + at.image * in.image + at.row * in.row + at.col * in.pixel;
  for_vectors(channels, [&](int64_t c, int64_t lanes) {
    F d[S][S];
    F v[S][S];
#pragma GCC unroll 16
    for (int i = 0; i < S * S; ++i) d[i / S][i % S] = load_lanes(from + i / S * in.row + i % S * in.pixel + c, lanes);
    transform_input(d, v);
    store_positions(to + c, step, v);
  });
}

// Not 0 where a value is not finite.
NONET_INLINE F add_faults(F faults, F value) {
  return fma(value, F{}, faults);
}
bool has_faults(F faults) {
  for (int i = 0; i < width; ++i) {
    if (!(faults[i] == 0.f)) return true;
  }
  return false;
}

// ---------------------------------------------------------------- forward
// A block of tiles and a part of the output's panels.
struct Block {
  int64_t tile, tiles;
  int64_t panel, panels;
};

// Output channels [channel, channel + channels) of a block from m [S S][tiles][32]. Returns the faults.
template <int S, class Call, class Map>
F output_panel(const Call& w, const Tiles& tiles, const Block& b, const float* m, int64_t channel, int64_t channels,
               Map) {
  F faults{};
  for (int64_t t = 0; t < b.tiles; ++t) {
    const Place at = place_of(tiles, b.tile + t);
    float* out = w.out.data + at.image * w.out.image + at.row * w.out.row + at.col * w.out.pixel + channel;
    const bool right = at.col + 1 < w.cols;
    const bool below = at.row + 1 < w.rows;
    for_vectors(channels, [&](int64_t c, int64_t lanes) {
      F sums[S][S];
      F y[2][2];
      load_positions(m + t * panel_columns + c, b.tiles * panel_columns, lanes, sums);
      transform_output(sums, y);
      const F bias = w.bias == nullptr ? F{} : load_lanes(w.bias + channel + c, lanes);
      const auto put = [&](F value, float* to) {
        faults = add_faults(faults, value);
        store_lanes(to + c, Map::forward(value + bias), lanes);
      };
      put(y[0][0], out);
      if (right) put(y[0][1], out + w.out.pixel);
      if (below) put(y[1][0], out + w.out.row);
      if (right && below) put(y[1][1], out + w.out.row + w.out.pixel);
    });
  }
  return faults;
}

// What a call of either kind reads: images side by side as channels.
struct Sources {
  int64_t count;
  const int64_t* offset;
  int64_t depth;  // of each
};
NONET_INLINE Sources sources_of(const Winograd& w) {
  static constexpr int64_t none = 0;
  return {1, &none, w.depth};
}
NONET_INLINE Sources sources_of(const WinogradPairs& w) {
  return {w.sources, w.source, w.depth};
}

template <int S, class Call>
bool run_block(const Call& w, const Tiles& tiles, const Block& b) {
  const Sources sources = sources_of(w);
  const int64_t depth = sources.count * sources.depth;
  // A vector at the end of a source may reach into the next one, which is written after it.
  const int64_t line = line_of(depth);
  const int64_t all_panels = divide_up(w.channels, panel_columns);
  const int64_t inputs = S * S * b.tiles * line;
  float* v = (float*)thread_scratch((inputs + S * S * b.tiles * panel_columns) * (int64_t)sizeof(float));
  float* m = v + inputs;
  for (int64_t t = 0; t < b.tiles; ++t) {
    for (int64_t i = 0; i < sources.count; ++i) {
      Pixels<const float> in = w.in;
      in.data += sources.offset[i];
      input_tile<S>(in, place_of(tiles, b.tile + t), sources.depth, v + t * line + i * sources.depth, b.tiles * line);
    }
  }
  F faults{};
  for (int64_t panel = b.panel; panel < b.panel + b.panels; ++panel) {
    const int64_t channel = panel * panel_columns;
    const int64_t channels = minimum(panel_columns, w.channels - channel);
    for (int64_t i = 0; i < S * S; ++i) {
      const Factor u{w.weights + (i * all_panels + panel) * depth * panel_columns, panel_columns};
      multiply<Order::rows>(b.tiles, channels, depth, {v + i * b.tiles * line, line}, u,
                            m + i * b.tiles * panel_columns, panel_columns, false, S == 4 ? chain : chain_of_pairs);
    }
    visit_fused(w.activation, [&](auto map) { faults += output_panel<S>(w, tiles, b, m, channel, channels, map); });
  }
  return !has_faults(faults);
}

template <int S, class Call>
bool run(const Call& w) {
  const Tiles tiles(w.images, w.rows, w.cols);
  const Sources sources = sources_of(w);
  const int64_t all_panels = divide_up(w.channels, panel_columns);
  const int64_t most =
      minimum(most_tiles, maximum(1, block_floats * 16 / (S * S) / unit / (sources.count * sources.depth)) * unit);
  const int64_t blocks = divide_up(tiles.count, most);
  const int64_t parts = maximum(1, minimum(all_panels / 2, divide_up(enough_tasks, blocks)));
  const int64_t panels = divide_up(all_panels, parts);
  int fine = 1;
  parallel_for(blocks * parts, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t block = task / parts;
      const int64_t tile = tiles.count * block / blocks;
      const int64_t panel = task % parts * panels;
      const Block b{tile, tiles.count * (block + 1) / blocks - tile, panel, minimum(panels, all_panels - panel)};
      if (b.panels > 0 && !run_block<S>(w, tiles, b)) __atomic_store_n(&fine, 0, __ATOMIC_RELAXED);
    }
  });
  return fine != 0;
}

bool forward(const Winograd& w) {
  return run<4>(w);
}
bool pairs(const WinogradPairs& w) {
  return run<3>(w);
}

// ---------------------------------------------------------------- weights
// Kernels of `count` lanes, `step` floats apart.
NONET_INLINE void load_kernels(const float* from, int64_t step, int64_t count, bool rotated, F (&g)[3][3]) {
  float values[9][width] = {};
  for (int64_t lane = 0; lane < count; ++lane) {
    const float* kernel = from + lane * step;
    for (int p = 0; p < 9; ++p) values[p][lane] = kernel[rotated ? 8 - p : p];
  }
#pragma GCC unroll 9
  for (int p = 0; p < 9; ++p) g[p / 3][p % 3] = load(values[p]);
}

void weights(const float* weight, int64_t out, int64_t in, bool rotated, float* to) {
  const int64_t depth = rotated ? out : in;
  const int64_t channels = rotated ? in : out;
  const int64_t of_depth = rotated ? in * 9 : 9;  // distances in W
  const int64_t of_channel = rotated ? 9 : in * 9;
  const int64_t panels = divide_up(channels, panel_columns);
  const int64_t vectors = panel_columns / width;
  parallel_for(panels * vectors, 1 + grain_floats / (depth * positions * width), [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t channel = task * width;
      const int64_t count = maximum(0, minimum(width, channels - channel));
      float* panel = to + task / vectors * depth * panel_columns + task % vectors * width;
      for (int64_t k = 0; k < depth; ++k) {
        F g[3][3];
        F u[4][4];
        load_kernels(weight + channel * of_channel + k * of_depth, of_channel, count, rotated, g);
        transform_kernel(g, u);
        store_positions(panel + k * panel_columns, panels * depth * panel_columns, u);
      }
    }
  });
}

void pairs_weights(const float* weight, int64_t out, int64_t in, bool rotated, const int64_t (&row)[2],
                   const int64_t (&col)[2], int64_t first, int64_t total, float* to) {
  constexpr int64_t elements = 16;  // of a kernel
  const int64_t depth = rotated ? out : in;
  const int64_t channels = rotated ? in : out;
  const int64_t of_depth = rotated ? in * elements : elements;  // distances in W
  const int64_t of_channel = rotated ? elements : in * elements;
  const int64_t panels = divide_up(channels, panel_columns);
  const int64_t vectors = panel_columns / width;
  parallel_for(panels * vectors, 1 + grain_floats / (depth * 9 * width), [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t channel = task * width;
      const int64_t count = maximum(0, minimum(width, channels - channel));
      float* panel = to + (task / vectors * total + first) * panel_columns + task % vectors * width;
      for (int64_t k = 0; k < depth; ++k) {
        float values[4][width] = {};
        const float* kernel = weight + channel * of_channel + k * of_depth;
        for (int64_t lane = 0; lane < count; ++lane, kernel += of_channel) {
          for (int p = 0; p < 4; ++p) values[p][lane] = kernel[4 * row[p / 2] + col[p % 2]];
        }
        const F g[2][2] = {{load(values[0]), load(values[1])}, {load(values[2]), load(values[3])}};
        F u[3][3];
        transform_kernel(g, u);
        store_positions(panel + k * panel_columns, panels * total * panel_columns, u);
      }
    }
  });
}

// ---------------------------------------------------------------- the gradient of the weights
int64_t chunk_tiles(const WinogradGradient& g) {
  const Tiles tiles(g.images, g.rows, g.cols);
  const int64_t each = positions * (line_of(g.depth) + line_of(g.channels));
  return minimum(tiles.count, maximum(4 * unit, chunk_floats / each));
}
int64_t gradient_workspace(const WinogradGradient& g) {
  return chunk_tiles(g) * positions * (line_of(g.depth) + line_of(g.channels));
}

// The gradient of one tile's outputs, zeros beyond the image.
NONET_INLINE void gradient_tile(const WinogradGradient& g, const Place& at, float* to, int64_t step) {
  const Pixels<const float>& out = g.out;
  const float* from = out.data + at.image * out.image + at.row * out.row + at.col * out.pixel;
  const bool right = at.col + 1 < g.cols;
  const bool below = at.row + 1 < g.rows;
  for_vectors(g.channels, [&](int64_t c, int64_t lanes) {
    const auto at_pixel = [&](bool there, int64_t offset) {
      return there ? load_lanes(from + offset + c, lanes) : F{};
    };
    const F y[2][2] = {{at_pixel(true, 0), at_pixel(right, out.pixel)},
                       {at_pixel(below, out.row), at_pixel(right && below, out.row + out.pixel)}};
    F v[4][4];
    transform_gradient(y, v);
    store_positions(to + c, step, v);
  });
}

void gradient(const WinogradGradient& g) {
  const Tiles tiles(g.images, g.rows, g.cols);
  const int64_t in_line = line_of(g.depth);
  const int64_t out_line = line_of(g.channels);
  const int64_t panels = divide_up(g.channels, panel_columns);
  const int64_t most = chunk_tiles(g);
  for (int64_t first = 0; first < tiles.count; first += most) {
    const int64_t count = minimum(most, tiles.count - first);
    float* x = g.workspace;
    float* dy = x + positions * count * in_line;
    parallel_for(count, 1 + grain_floats / (positions * (in_line + out_line)), [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        const Place at = place_of(tiles, first + t);
        input_tile(g.in, at, g.depth, x + t * in_line, count * in_line);
        gradient_tile(g, at, dy + t * out_line, count * out_line);
      }
    });
    parallel_for(positions * panels, 1, [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task) {
        const int64_t i = task / panels;
        const int64_t channel = task % panels * panel_columns;
        const int64_t channels = minimum(panel_columns, g.channels - channel);
        multiply<Order::columns>(g.depth, channels, count, {x + i * count * in_line, in_line},
                                 {dy + i * count * out_line + channel, out_line},
                                 g.sums + i * g.depth * g.channels + channel, g.channels, g.accumulate || first > 0);
      }
    });
  }
}

bool gradient_weights(const float* sums, int64_t out, int64_t in, float* dweight) {
  int fine = 1;
  parallel_for(divide_up(out, width), 1 + grain_floats / (in * positions * width), [&](int64_t begin, int64_t end) {
    F faults{};
    for (int64_t task = begin; task < end; ++task) {
      const int64_t channel = task * width;
      const int64_t lanes = minimum(width, out - channel);
      for (int64_t c = 0; c < in; ++c) {
        F u[4][4];
        F g[3][3];
        load_positions(sums + c * out + channel, in * out, lanes, u);
        transform_sums(u, g);
        float values[9][width];
        for (int p = 0; p < 9; ++p) {
          faults = add_faults(faults, g[p / 3][p % 3]);
          store(values[p], g[p / 3][p % 3]);
        }
        for (int64_t lane = 0; lane < lanes; ++lane) {
          float* to = dweight + ((channel + lane) * in + c) * 9;
          for (int p = 0; p < 9; ++p) to[p] = values[p][lane];
        }
      }
    }
    if (has_faults(faults)) __atomic_store_n(&fine, 0, __ATOMIC_RELAXED);
  });
  return fine != 0;
}

}  // namespace

constinit const WinogradKernels winograd_kernels = {forward,  weights,         pairs, pairs_weights, gradient_workspace,
                                                    gradient, gradient_weights};

}  // namespace nonet::NONET_NS
