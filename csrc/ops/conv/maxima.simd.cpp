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

// A vector of so many floats, and half of one: rows of a patch begin anywhere, and a load across the end of a cache
// line takes twice as long, so short rows should not be read in long vectors.
#if NONET_WIDTH == 16
constexpr int64_t half = 8;
typedef float H __attribute__((vector_size(32)));
using NONET_NS::fma;
NONET_INLINE H fma(H a, H b, H c) {
  return _mm256_fmadd_ps(a, b, c);
}
NONET_INLINE void add_to(float* to, H v, int64_t lanes) {
  float part[width] = {};
  __builtin_memcpy(part, &v, sizeof v);
  store(to, load(to, lanes) + load(part), lanes);
}
#else
constexpr int64_t half = 0;
using H = F;
#endif
NONET_INLINE void add_to(float* to, F v, int64_t lanes) {
  store_lanes(to, load_lanes(to, lanes) + v, lanes);
}
template <class T>
NONET_INLINE T load_as(const float* p) {
  T v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
template <class T>
NONET_INLINE T splat(float x) {
  return x - T{};
}

NONET_INLINE int64_t unit_of(const Patch& p) {
  return p.row_floats <= half ? half : width;
}

// A block of a patch: rows [row, row + rows), vectors of `unit` floats from float `column` on; blocks of one patch lie
// side by side, [channels][rows][vectors * unit] each, from `at` floats on.
struct Block {
  int64_t row, rows, column, vectors, unit, lanes;  // lanes: of the last vector
  int64_t at;
};
template <class Body>
NONET_INLINE void for_blocks(const Patch& p, int64_t channels, const Body& body) {
  const int64_t row_parts = parts_of(p.rows, most_rows);
  const int64_t unit = unit_of(p);
  int64_t at = 0;
  for (int64_t part = 0; part < row_parts; ++part) {
    const int64_t row = p.rows * part / row_parts;
    const int64_t rows = p.rows * (part + 1) / row_parts - row;
    for (int64_t column = 0; column < p.row_floats; column += 2 * unit) {
      const int64_t left = p.row_floats - column;
      const int64_t vectors = left > unit ? 2 : 1;
      body(Block{row, rows, column, vectors, unit, least(unit, left - (vectors - 1) * unit), at});
      at += channels * rows * vectors * unit;
    }
  }
}

int64_t weight_floats(const Patch& p, int64_t channels) {
  int64_t floats = 0;
  for_blocks(p, channels, [&](const Block& b) { floats = b.at + channels * b.rows * b.vectors * b.unit; });
  return floats;
}

// body(place in the blocks, place in W [channels, depth, rows, kw], whether it is there)
template <class Body>
NONET_INLINE void for_elements(const Patch& p, int64_t channels, const Body& body) {
  const int64_t kernel_columns = p.row_floats / p.depth;
  for_blocks(p, channels, [&](const Block& b) {
    for (int64_t c = 0; c < channels; ++c) {
      for (int64_t r = 0; r < b.rows; ++r) {
        for (int64_t j = 0; j < b.vectors * b.unit; ++j) {
          const int64_t column = b.column + j;
          const int64_t row = (c * p.depth + column % p.depth) * p.rows + b.row + r;
          body(b.at + (c * b.rows + r) * b.vectors * b.unit + j, row * kernel_columns + column / p.depth,
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
// body(Count<rows>, Count<vectors>, a vector)
template <class Body>
NONET_INLINE void with_size(const Block& b, const Body& body) {
  const auto rows = [&](auto vectors, auto vector) {
    switch (b.rows) {
      case 1:
        return body(Count<1>{}, vectors, vector);
      case 2:
        return body(Count<2>{}, vectors, vector);
      case 3:
        return body(Count<3>{}, vectors, vector);
      case 4:
        return body(Count<4>{}, vectors, vector);
      default:
        return body(Count<5>{}, vectors, vector);
    }
  };
  if (b.unit == half) {
    rows(Count<1>{}, H{});
  } else if (b.vectors == 1) {
    rows(Count<1>{}, F{});
  } else {
    rows(Count<2>{}, F{});
  }
}

// ---------------------------------------------------------------- weights
// sums [R][V vectors] += the patches under pixels of one channel.
template <class T, int R, int V>
void add_patches(const Maxima& m, const float* gradients, const int32_t* index, const float* image, int64_t row_step,
                 float* sums) {
  constexpr int64_t unit = sizeof(T) / sizeof(float);
  for (int64_t first = 0; first < m.pixels; first += longest_chain) {
    T acc[R][V] = {};
    const int64_t end = least(first + longest_chain, m.pixels);
    for (int64_t p = first; p < end; ++p) {
      const float* x = image + m.offset[index[p * m.channels]];
      const T d = splat<T>(gradients[p * m.channels]);
#pragma GCC unroll 5
      for (int r = 0; r < R; ++r) {
#pragma GCC unroll 2
        for (int v = 0; v < V; ++v) acc[r][v] = fma(d, load_as<T>(x + r * row_step + v * unit), acc[r][v]);
      }
    }
#pragma GCC unroll 5
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) {
        float* to = sums + (r * V + v) * unit;
        const T sum = load_as<T>(to) + acc[r][v];
        __builtin_memcpy(to, &sum, sizeof sum);
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
          with_size(b, [&](auto rows, auto vectors, auto vector) {
            constexpr int R = decltype(rows)::value;
            constexpr int V = decltype(vectors)::value;
            for (int64_t c = 0; c < m.channels; ++c) {
              add_patches<decltype(vector), R, V>(m, m.gradients + at + c, m.index + at + c,
                                                  image + b.row * w.patch.row_step + b.column, w.patch.row_step,
                                                  partial + b.at + c * R * V * b.unit);
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
template <class T, int R, int V>
void add_weights(const Together& t, const float* gradients, const float* weights, int64_t row_step, int64_t lanes,
                 float* image) {
  constexpr int64_t unit = sizeof(T) / sizeof(float);
  T acc[R][V] = {};
  for (int64_t i = 0; i < t.count; ++i) {
    const int64_t c = t.channels[i];
    const T d = splat<T>(gradients[c]);
    const float* from = weights + c * R * V * unit;
#pragma GCC unroll 5
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) acc[r][v] = fma(d, load_as<T>(from + (r * V + v) * unit), acc[r][v]);
    }
  }
#pragma GCC unroll 5
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) add_to(image + r * row_step + v * unit, acc[r][v], v + 1 < V ? unit : lanes);
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
        with_size(b, [&](auto rows, auto vectors, auto vector) {
          add_weights<decltype(vector), decltype(rows)::value, decltype(vectors)::value>(
              list, gradients, in.weights + b.at, in.patch.row_step, b.lanes,
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
