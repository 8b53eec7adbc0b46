#include "ops/conv/maxima.h"

#include "simd/vec.h"

namespace nonet::NONET_NS {

namespace {

constexpr int64_t most_rows = 5;        // of a block; with two vectors, sums fit the registers of every instruction set
constexpr int64_t longest_chain = 256;  // of multiply-adds, see k_chain
constexpr int64_t most_channels = 512;  // that one list holds
constexpr int64_t grain = 16384;        // elements per task

NONET_INLINE int64_t least(int64_t a, int64_t b) {
  return a < b ? a : b;
}
NONET_INLINE int64_t parts_of(int64_t n, int64_t most) {
  return (n + most - 1) / most;
}

// A block of a patch: rows [row, row + rows), vectors from float `column` on; blocks of one patch lie side by side,
// [channels][rows][vectors * width] each, from `at` floats on.
struct Block {
  int64_t row, rows, column, vectors, lanes;  // lanes: of the last vector
  int64_t at;
};
template <class Body>
NONET_INLINE void for_blocks(const Patch& p, int64_t channels, const Body& body) {
  const int64_t row_parts = parts_of(p.rows, most_rows);
  int64_t at = 0;
  for (int64_t part = 0; part < row_parts; ++part) {
    const int64_t row = p.rows * part / row_parts;
    const int64_t rows = p.rows * (part + 1) / row_parts - row;
    for (int64_t column = 0; column < p.row_floats; column += 2 * width) {
      const int64_t left = p.row_floats - column;
      const int64_t vectors = left > width ? 2 : 1;
      body(Block{row, rows, column, vectors, least(width, left - (vectors - 1) * width), at});
      at += channels * rows * vectors * width;
    }
  }
}

int64_t weight_floats(const Patch& p, int64_t channels) {
  int64_t floats = 0;
  for_blocks(p, channels, [&](const Block& b) { floats = b.at + channels * b.rows * b.vectors * width; });
  return floats;
}

// body(place in the blocks, place in W [channels, depth, rows, kw], whether it is there)
template <class Body>
NONET_INLINE void for_elements(const Patch& p, int64_t channels, const Body& body) {
  const int64_t kernel_columns = p.row_floats / p.depth;
  for_blocks(p, channels, [&](const Block& b) {
    for (int64_t c = 0; c < channels; ++c) {
      for (int64_t r = 0; r < b.rows; ++r) {
        for (int64_t j = 0; j < b.vectors * width; ++j) {
          const int64_t column = b.column + j;
          const int64_t row = (c * p.depth + column % p.depth) * p.rows + b.row + r;
          body(b.at + (c * b.rows + r) * b.vectors * width + j, row * kernel_columns + column / p.depth,
               column < p.row_floats);
        }
      }
    }
  });
}

void to_blocks(const float* weights, const Patch& p, int64_t channels, float* blocks) {
  for_elements(p, channels, [&](int64_t at, int64_t from, bool there) { blocks[at] = there ? weights[from] : 0.f; });
}

void from_blocks(const float* blocks, const Patch& p, int64_t channels, float* weights) {
  for_elements(p, channels, [&](int64_t at, int64_t to, bool there) {
    if (there) weights[to] = blocks[at];
  });
}

template <int n>
struct Count {
  static constexpr int value = n;
};
// body(Count<rows>, Count<vectors>)
template <class Body>
NONET_INLINE void with_size(const Block& b, const Body& body) {
  const auto rows = [&](auto vectors) {
    switch (b.rows) {
      case 1:
        return body(Count<1>{}, vectors);
      case 2:
        return body(Count<2>{}, vectors);
      case 3:
        return body(Count<3>{}, vectors);
      case 4:
        return body(Count<4>{}, vectors);
      default:
        return body(Count<5>{}, vectors);
    }
  };
  if (b.vectors == 1) {
    rows(Count<1>{});
  } else {
    rows(Count<2>{});
  }
}

// ---------------------------------------------------------------- weights
// sums [R][V vectors] += the patches under pixels of one channel.
template <int R, int V>
void add_patches(const Maxima& m, const float* gradients, const int32_t* index, const float* image, int64_t row_step,
                 float* sums) {
  for (int64_t first = 0; first < m.pixels; first += longest_chain) {
    F acc[R][V] = {};
    const int64_t end = least(first + longest_chain, m.pixels);
    for (int64_t p = first; p < end; ++p) {
      const float* x = image + m.offset[index[p * m.channels]];
      const F d = broadcast(gradients[p * m.channels]);
#pragma GCC unroll 5
      for (int r = 0; r < R; ++r) {
#pragma GCC unroll 2
        for (int v = 0; v < V; ++v) acc[r][v] = fma(d, load(x + r * row_step + v * width), acc[r][v]);
      }
    }
#pragma GCC unroll 5
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) {
        float* to = sums + (r * V + v) * width;
        store(to, load(to) + acc[r][v]);
      }
    }
  }
}

void weight(const MaximaWeight& w) {
  const Maxima& m = w.maxima;
  const int64_t floats = weight_floats(w.patch, m.channels);
  parallel_for(w.slices, 1, [&](int64_t begin, int64_t end) {
    for (int64_t slice = begin; slice < end; ++slice) {
      float* partial = w.partial + slice * floats;
      for (int64_t i = 0; i < floats; ++i) partial[i] = 0;
      for (int64_t n = m.images * slice / w.slices; n < m.images * (slice + 1) / w.slices; ++n) {
        const float* image = n + 1 == m.images ? w.last_image : w.images + n * w.image_floats;
        const int64_t at = n * m.pixels * m.channels;
        for_blocks(w.patch, m.channels, [&](const Block& b) {
          with_size(b, [&](auto rows, auto vectors) {
            constexpr int R = decltype(rows)::value;
            constexpr int V = decltype(vectors)::value;
            for (int64_t c = 0; c < m.channels; ++c) {
              add_patches<R, V>(m, m.gradients + at + c, m.index + at + c, image + b.row * w.patch.row_step + b.column,
                                w.patch.row_step, partial + b.at + c * R * V * width);
            }
          });
        });
      }
    }
  });
}

// ---------------------------------------------------------------- the image
// Channels of one pixel whose maxima are at one place.
struct Together {
  int64_t count;
  int64_t offset;
  int32_t channels[most_channels];
};

// image [R rows][V vectors] += the sum of gradients times weights of some channels.
template <int R, int V>
void add_weights(const Together& t, const float* gradients, const float* weights, int64_t row_step, int64_t lanes,
                 float* image) {
  F acc[R][V] = {};
  for (int64_t i = 0; i < t.count; ++i) {
    const int64_t c = t.channels[i];
    const F d = broadcast(gradients[c]);
    const float* from = weights + c * R * V * width;
#pragma GCC unroll 5
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) acc[r][v] = fma(d, load(from + (r * V + v) * width), acc[r][v]);
    }
  }
#pragma GCC unroll 5
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) {
      float* to = image + r * row_step + v * width;
      const int64_t count = v + 1 < V ? width : lanes;
      store_lanes(to, load_lanes(to, count) + acc[r][v], count);
    }
  }
}

// dX of one image, padded, in `places` parts that have to be added: what follows each other in one of them lies a
// pooled pixel apart in time, so that no load waits for the store before it.
void add_image(const MaximaInput& in, int64_t n, float* parts, Together* lists) {
  const Maxima& m = in.maxima;
  for (int64_t i = 0; i < m.places * in.image_floats; ++i) parts[i] = 0;
  for (int64_t p = 0; p < m.pixels; ++p) {
    const int64_t at = (n * m.pixels + p) * m.channels;
    const float* gradients = m.gradients + at;
    const int32_t* index = m.index + at;
    for (int64_t place = 0; place < m.places; ++place) lists[place].count = 0;
    for (int64_t c = 0; c < m.channels; ++c) {
      Together& list = lists[m.place[index[c]]];
      list.offset = m.offset[index[c]];
      list.channels[list.count] = (int32_t)c;
      list.count += gradients[c] != 0.f;
    }
    for (int64_t place = 0; place < m.places; ++place) {
      const Together& list = lists[place];
      if (list.count == 0) continue;
      float* image = parts + place * in.image_floats + list.offset;
      for_blocks(in.patch, m.channels, [&](const Block& b) {
        with_size(b, [&](auto rows, auto vectors) {
          add_weights<decltype(rows)::value, decltype(vectors)::value>(list, gradients, in.weights + b.at,
                                                                       in.patch.row_step, b.lanes,
                                                                       image + b.row * in.patch.row_step + b.column);
        });
      });
    }
  }
}

void input(const MaximaInput& in) {
  const Maxima& m = in.maxima;
  const int64_t parts_bytes = m.places * in.image_floats * (int64_t)sizeof(float);
  parallel_for(m.images, 1, [&](int64_t begin, int64_t end) {
    float* parts = (float*)thread_scratch(parts_bytes + m.places * (int64_t)sizeof(Together));
    Together* lists = (Together*)((char*)parts + parts_bytes);
    for (int64_t n = begin; n < end; ++n) {
      add_image(in, n, parts, lists);
      const int64_t floats = in.width * in.channels;
      for (int64_t y = 0; y < in.height; ++y) {
        const float* from = parts + (y + in.top) * in.row + in.left * in.channels;
        float* to = in.dx + (n * in.height + y) * floats;
        for_vectors(floats, [&](int64_t i, int64_t lanes) {
          F sum = load_lanes(from + i, lanes);
          for (int64_t place = 1; place < m.places; ++place)
            sum += load_lanes(from + place * in.image_floats + i, lanes);
          store_lanes(to + i, sum, lanes);
        });
      }
    }
  });
}

void relu(float* x, int64_t n) {
  parallel_for(n, grain, [&](int64_t begin, int64_t end) {
    for_vectors(end - begin, [&](int64_t i, int64_t lanes) {
      const F v = load_lanes(x + begin + i, lanes);
      store_lanes(x + begin + i, v < 0.f ? F{} : v, lanes);
    });
  });
}

}  // namespace

constinit const MaximaKernels maxima_kernels = {weight_floats, to_blocks, from_blocks, weight, input, relu};

}  // namespace nonet::NONET_NS
