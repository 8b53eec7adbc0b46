#include <cmath>

#include "base/dtype.h"
#include "cuda/philox.cuh"
#include "cuda/table.cuh"
#include "cuda/warp.cuh"
#include "ops/attention/attention.h"

namespace nonet::NONET_CUDA_NS {

namespace {

// A block of 256 threads works on tiles of 64 queries by 64 keys: thread (y, x) of 16 x 16 holds rows y + 16 i and
// columns x + 16 j. Heads are read in chunks of 32 of their elements. Sums of C chunks stay in registers.
constexpr int tile = 64;
constexpr int chunk = 32;
constexpr int line = chunk + 1;  // floats from row to row of a chunk: columns fall into different banks
constexpr int tile_line = tile + 1;
constexpr float log2_e = 1.44269504f;
constexpr int left_at = 0;
constexpr int right_at = tile * line;
constexpr int pairs_at = 2 * tile * line;
constexpr int scratch_at = pairs_at + tile * tile_line;
constexpr int shared_floats = scratch_at + 8;

struct Place {
  int x = thread_rank() % 16;
  int y = thread_rank() / 16;
};

template <class T>
NONET_DEVICE const T* head_of(const void* data, const HeadView& v, int64_t b, int64_t h) {
  return static_cast<const T*>(data) + v.offset + b * v.batch + h * v.head;
}
template <class T>
NONET_DEVICE T* head_of(void* data, const HeadView& v, int64_t b, int64_t h) {
  return static_cast<T*>(data) + v.offset + b * v.batch + h * v.head;
}

// Rows [first, first + 64) below `rows` and elements [e, e + 32) below n of a head, zeros elsewhere.
template <class T>
NONET_DEVICE void load_chunk(const T* head, int64_t row, int64_t first, int64_t rows, int64_t e, int64_t n,
                             float factor, float* to) {
  const int lane = thread_rank() % chunk;
  NONET_ROLLED
  for (int r = thread_rank() / chunk; r < tile; r += 256 / chunk) {
    const bool inside = first + r < rows && e + lane < n;
    to[r * line + lane] = inside ? as_float(head[(first + r) * row + e + lane]) * factor : 0.f;
  }
}

// s += A B^T of chunks.
NONET_DEVICE void add_products(const Place& p, const float* left, const float* right, float (&s)[4][4]) {
  NONET_ROLLED
  for (int k = 0; k < chunk; ++k) {
    float a[4];
    float b[4];
    NONET_UNROLL
    for (int i = 0; i < 4; ++i) a[i] = left[(p.y + 16 * i) * line + k];
    NONET_UNROLL
    for (int j = 0; j < 4; ++j) b[j] = right[(p.x + 16 * j) * line + k];
    NONET_UNROLL
    for (int i = 0; i < 4; ++i) {
      NONET_UNROLL
      for (int j = 0; j < 4; ++j) s[i][j] = fmaf(a[i], b[j], s[i][j]);
    }
  }
}

// s = factor x_i . y_j for the tile of rows from i on of x and from j on of y.
template <class T>
NONET_DEVICE void tile_products(const Place& p, const T* x, int64_t x_row, int64_t i, int64_t rows, const T* y,
                                int64_t y_row, int64_t j, int64_t cols, int64_t n, float factor, float* shared,
                                float (&s)[4][4]) {
  NONET_UNROLL
  for (int r = 0; r < 4; ++r) {
    NONET_UNROLL
    for (int c = 0; c < 4; ++c) s[r][c] = 0.f;
  }
  NONET_ROLLED
  for (int64_t e = 0; e < n; e += chunk) {
    block_sync();  // the chunks, and what is kept in pairs, have been read
    load_chunk(x, x_row, i, rows, e, n, factor, shared + left_at);
    load_chunk(y, y_row, j, cols, e, n, 1.f, shared + right_at);
    block_sync();
    add_products(p, shared + left_at, shared + right_at, s);
  }
}

// sums[c] += W Y with weights W in pairs, [64, 64], and Y the tile of rows from j on of a head. across: W^T Y.
template <int C, bool across, class T>
NONET_DEVICE void add_weighted(const Place& p, const T* y, int64_t y_row, int64_t j, int64_t rows, int64_t n,
                               float factor, float* shared, float (&sums)[C][4][2]) {
  const float* pairs = shared + pairs_at;
  NONET_UNROLL
  for (int c = 0; c < C; ++c) {
    if (c * chunk < n) {
      block_sync();
      load_chunk(y, y_row, j, rows, c * chunk, n, factor, shared + right_at);
      block_sync();
      NONET_ROLLED
      for (int k = 0; k < tile; ++k) {
        float w[4];
        float v[2];
        NONET_UNROLL
        for (int i = 0; i < 4; ++i) {
          const int r = p.y + 16 * i;
          w[i] = across ? pairs[k * tile_line + r] : pairs[r * tile_line + k];
        }
        NONET_UNROLL
        for (int h = 0; h < 2; ++h) v[h] = shared[right_at + k * line + p.x + 16 * h];
        NONET_UNROLL
        for (int i = 0; i < 4; ++i) {
          NONET_UNROLL
          for (int h = 0; h < 2; ++h) sums[c][i][h] = fmaf(w[i], v[h], sums[c][i][h]);
        }
      }
    }
  }
}

template <int C>
NONET_DEVICE void clear(float (&sums)[C][4][2]) {
  NONET_UNROLL
  for (int c = 0; c < C; ++c) {
    NONET_UNROLL
    for (int i = 0; i < 4; ++i) sums[c][i][0] = sums[c][i][1] = 0.f;
  }
}

// Sums of rows from `first` on, times factor(i), into a head.
template <int C, class T, class Factor>
NONET_DEVICE void store_sums(const Place& p, const float (&sums)[C][4][2], T* head, int64_t row, int64_t first,
                             int64_t rows, int64_t n, const Factor& factor) {
  NONET_UNROLL
  for (int c = 0; c < C; ++c) {
    NONET_UNROLL
    for (int i = 0; i < 4; ++i) {
      NONET_UNROLL
      for (int h = 0; h < 2; ++h) {
        const int64_t r = first + p.y + 16 * i;
        const int64_t e = c * chunk + p.x + 16 * h;
        if (r < rows && e < n) head[r * row + e] = from_float<T>(sums[c][i][h] * factor(i));
      }
    }
  }
}

// What bias, mask and order of the pair (i, j) make of its score, in units of log 2.
struct Pairs {
  const Attention& a;
  int64_t b, h;

  NONET_DEVICE bool seen(int64_t i, int64_t j) const {
    if (i >= a.queries || j >= a.keys || (a.causal && j > i + a.shift)) return false;
    const PlaneView& v = a.mask_view;
    return a.mask == nullptr || a.mask[b * v.batch + h * v.head + i * v.row + j];
  }
  NONET_DEVICE float bias(int64_t i, int64_t j) const {
    const PlaneView& v = a.bias_view;
    return a.bias == nullptr ? 0.f : a.bias[b * v.batch + h * v.head + i * v.row + j];
  }
  NONET_DEVICE float score(float s, int64_t i, int64_t j) const {
    if (!seen(i, j)) return -INFINITY;
    return a.bias == nullptr ? s : fmaf(bias(i, j), log2_e, s);
  }
  NONET_DEVICE bool kept(int64_t i, int64_t j, int32_t threshold) const {
    const int64_t drawn = (a.keys + 3) / 4 * 4;
    const int64_t at = ((b * a.heads + h) * a.queries + i) * drawn + j;
    const RandomWords words = random_words(a.key, at / 4);
    const uint32_t low = at % 2 == 0 ? words.w[0] : words.w[1];
    const uint32_t high = at % 2 == 0 ? words.w[2] : words.w[3];
    return random_bits(at % 4 < 2 ? low : high) >= threshold;
  }
  // Whether no pair of a tile is seen: the same for all threads.
  NONET_DEVICE bool hidden(const Place& p, int64_t i, int64_t j, float* shared) const {
    if (a.causal && j > i + tile - 1 + a.shift) return true;
    if (a.mask == nullptr && a.bias == nullptr) return false;
    int any = 0;
    NONET_ROLLED
    for (int n = 0; n < 16; ++n) {
      const int64_t r = i + p.y + 16 * (n / 4);
      const int64_t c = j + p.x + 16 * (n % 4);
      any |= seen(r, c) && bias(r, c) != -INFINITY ? 1 : 0;
    }
    return block_sum(any, reinterpret_cast<int*>(shared + scratch_at)) == 0;
  }
};

// One block: 64 queries of a head.
template <class T, int C>
struct Forward {
  NONET_DEVICE void operator()(const Attention& a, T* out, float* lse, int32_t threshold) const {
    const Place p;
    auto* shared = shared_memory<float>();
    const int64_t tiles = (a.queries + tile - 1) / tile;
    const int64_t n = block_index().x / tiles;
    const int64_t b = n / a.heads;
    const int64_t h = n % a.heads;
    const int64_t i = block_index().x % tiles * tile;
    const int64_t kv = h / (a.heads / a.kv_heads);
    const T* q = head_of<T>(a.q, a.q_view, b, h);
    const T* k = head_of<T>(a.k, a.k_view, b, kv);
    const T* v = head_of<T>(a.v, a.v_view, b, kv);
    const Pairs pairs{a, b, h};
    float sums[C][4][2];
    float most[4];
    float total[4];
    clear(sums);
    NONET_UNROLL
    for (int r = 0; r < 4; ++r) {
      most[r] = -INFINITY;
      total[r] = 0.f;
    }
    NONET_ROLLED
    for (int64_t j = 0; j < a.keys; j += tile) {
      if (pairs.hidden(p, i, j, shared)) continue;
      float s[4][4];
      tile_products(p, q, a.q_view.row, i, a.queries, k, a.k_view.row, j, a.keys, a.size, a.scale * log2_e, shared, s);
      block_sync();
      NONET_UNROLL
      for (int r = 0; r < 4; ++r) {
        const int64_t row = i + p.y + 16 * r;
        float block = -INFINITY;
        NONET_UNROLL
        for (int c = 0; c < 4; ++c) {
          s[r][c] = pairs.score(s[r][c], row, j + p.x + 16 * c);
          block = fmaxf(block, s[r][c]);  // NaN is passed over: it shows in the sums
        }
        block = warp_reduce(block, [](float x, float y) { return fmaxf(x, y); }, 16);
        const float raised = fmaxf(block, most[r]);
        const float zero = raised == -INFINITY ? 0.f : raised;
        const float factor = raised == most[r] ? 1.f : exp2f(most[r] - zero);
        most[r] = raised;
        total[r] *= factor;
        NONET_UNROLL
        for (int c = 0; c < 4; ++c) {
          float probability = exp2f(s[r][c] - zero);
          total[r] += probability;
          if (threshold > 0 && row < a.queries && !pairs.kept(row, j + p.x + 16 * c, threshold)) probability = 0.f;
          shared[pairs_at + (p.y + 16 * r) * tile_line + p.x + 16 * c] = probability;
        }
        NONET_UNROLL
        for (int c = 0; c < C; ++c) {
          sums[c][r][0] *= factor;
          sums[c][r][1] *= factor;
        }
      }
      add_weighted<C, false>(p, v, a.v_view.row, j, a.keys, a.value_size, 1.f, shared, sums);
    }
    NONET_UNROLL
    for (int r = 0; r < 4; ++r) {
      total[r] = warp_sum(total[r], 16);
      const int64_t row = i + p.y + 16 * r;
      if (p.x == 0 && row < a.queries)
        lse[(b * a.heads + h) * a.queries + row] = total[r] == 0.f ? INFINITY : most[r] + log2f(total[r]);
    }
    const float kept = a.dropout >= 1.f ? 0.f : 1.f / (1.f - a.dropout);
    store_sums(p, sums, head_of<T>(out, a.out_view, b, h), a.out_view.row, i, a.queries, a.value_size,
               [&](int r) { return total[r] == 0.f ? 0.f : kept / total[r]; });
  }
};

// delta[b, h, i] = dO . O, a warp to a row.
template <class T>
struct Delta {
  NONET_DEVICE void operator()(const Attention& a, const T* out, const T* dout, float* delta) const {
    const int64_t row = int64_t{block_index().x} * 8 + warp_index();
    if (row >= a.batch * a.heads * a.queries) return;
    const int64_t n = row / a.queries;
    const int64_t at = row % a.queries * a.out_view.row;
    const T* o = head_of<T>(out, a.out_view, n / a.heads, n % a.heads) + at;
    const T* d = head_of<T>(dout, a.out_view, n / a.heads, n % a.heads) + at;
    float sum = 0.f;
    NONET_ROLLED
    for (int64_t e = lane_index(); e < a.value_size; e += 32) sum = fmaf(as_float(o[e]), as_float(d[e]), sum);
    sum = warp_sum(sum);
    if (lane_index() == 0) delta[row] = sum;
  }
};

// Of the tile of pairs from (i, j) on: what the values' gradient weighs dO with, and ds.
template <class T>
struct Gradients {
  const Attention& a;
  const AttentionGradient& g;
  const float* delta;
  int32_t threshold;

  NONET_DEVICE void operator()(const Place& p, int64_t b, int64_t h, int64_t i, int64_t j, float* shared,
                               float (&s)[4][4], float (&ds)[4][4]) const {
    const int64_t kv = h / (a.heads / a.kv_heads);
    const float kept = a.dropout >= 1.f ? 0.f : 1.f / (1.f - a.dropout);
    tile_products(p, head_of<T>(a.q, a.q_view, b, h), a.q_view.row, i, a.queries, head_of<T>(a.k, a.k_view, b, kv),
                  a.k_view.row, j, a.keys, a.size, a.scale * log2_e, shared, s);
    tile_products(p, head_of<T>(g.dout, a.out_view, b, h), a.out_view.row, i, a.queries,
                  head_of<T>(a.v, a.v_view, b, kv), a.v_view.row, j, a.keys, a.value_size, kept, shared, ds);
    const Pairs pairs{a, b, h};
    NONET_UNROLL
    for (int r = 0; r < 4; ++r) {
      const int64_t row = i + p.y + 16 * r;
      const bool inside = row < a.queries;
      const int64_t at = (b * a.heads + h) * a.queries + row;
      const float lse = inside ? g.lse[at] : INFINITY;
      const float d = inside ? delta[at] : 0.f;
      NONET_UNROLL
      for (int c = 0; c < 4; ++c) {
        const int64_t column = j + p.x + 16 * c;
        const float probability = exp2f(pairs.score(s[r][c], row, column) - lse);
        const bool survives = threshold <= 0 || !inside || pairs.kept(row, column, threshold);
        s[r][c] = survives ? probability * kept : 0.f;
        ds[r][c] = probability * ((survives ? ds[r][c] : 0.f) - d);
      }
    }
  }
};

NONET_DEVICE void keep_pairs(const Place& p, const float (&s)[4][4], float* shared) {
  block_sync();
  NONET_UNROLL
  for (int r = 0; r < 4; ++r) {
    NONET_UNROLL
    for (int c = 0; c < 4; ++c) shared[pairs_at + (p.y + 16 * r) * tile_line + p.x + 16 * c] = s[r][c];
  }
}

// One block: 64 queries of a head. dq, and dbias.
template <class T, int C>
struct QueryGradient {
  NONET_DEVICE void operator()(const Attention& a, const AttentionGradient& g, const float* delta,
                               int32_t threshold) const {
    const Place p;
    auto* shared = shared_memory<float>();
    const int64_t tiles = (a.queries + tile - 1) / tile;
    const int64_t n = block_index().x / tiles;
    const int64_t b = n / a.heads;
    const int64_t h = n % a.heads;
    const int64_t i = block_index().x % tiles * tile;
    const T* k = head_of<T>(a.k, a.k_view, b, h / (a.heads / a.kv_heads));
    const Gradients<T> gradients{a, g, delta, threshold};
    const Pairs pairs{a, b, h};
    float sums[C][4][2];
    clear(sums);
    NONET_ROLLED
    for (int64_t j = 0; j < a.keys; j += tile) {
      if (pairs.hidden(p, i, j, shared)) continue;
      float s[4][4];
      float ds[4][4];
      gradients(p, b, h, i, j, shared, s, ds);
      keep_pairs(p, ds, shared);
      if (g.dbias != nullptr) {
        NONET_UNROLL
        for (int r = 0; r < 4; ++r) {
          NONET_UNROLL
          for (int c = 0; c < 4; ++c) {
            const int64_t row = i + p.y + 16 * r;
            const int64_t column = j + p.x + 16 * c;
            if (row < a.queries && column < a.keys)
              g.dbias[((b * a.heads + h) * a.queries + row) * a.keys + column] = ds[r][c];
          }
        }
      }
      add_weighted<C, false>(p, k, a.k_view.row, j, a.keys, a.size, a.scale, shared, sums);
    }
    store_sums(p, sums, head_of<T>(g.dq, a.q_view, b, h), a.q_view.row, i, a.queries, a.size, [](int) { return 1.f; });
  }
};

// One block: 64 keys of a key head. dk and dv, of all its query heads.
template <class T, int C>
struct KeyGradient {
  NONET_DEVICE void operator()(const Attention& a, const AttentionGradient& g, const float* delta,
                               int32_t threshold) const {
    const Place p;
    auto* shared = shared_memory<float>();
    const int64_t tiles = (a.keys + tile - 1) / tile;
    const int64_t n = block_index().x / tiles;
    const int64_t b = n / a.kv_heads;
    const int64_t kv = n % a.kv_heads;
    const int64_t j = block_index().x % tiles * tile;
    const int64_t group = a.heads / a.kv_heads;
    const Gradients<T> gradients{a, g, delta, threshold};
    float dk[C][4][2];
    float dv[C][4][2];
    clear(dk);
    clear(dv);
    NONET_ROLLED
    for (int64_t h = kv * group; h < (kv + 1) * group; ++h) {
      const Pairs pairs{a, b, h};
      NONET_ROLLED
      for (int64_t i = 0; i < a.queries; i += tile) {
        if (pairs.hidden(p, i, j, shared)) continue;
        float s[4][4];
        float ds[4][4];
        gradients(p, b, h, i, j, shared, s, ds);
        keep_pairs(p, s, shared);
        add_weighted<C, true>(p, head_of<T>(g.dout, a.out_view, b, h), a.out_view.row, i, a.queries, a.value_size, 1.f,
                              shared, dv);
        keep_pairs(p, ds, shared);
        add_weighted<C, true>(p, head_of<T>(a.q, a.q_view, b, h), a.q_view.row, i, a.queries, a.size, a.scale, shared,
                              dk);
      }
    }
    const auto one = [](int) { return 1.f; };
    store_sums(p, dk, head_of<T>(g.dk, a.k_view, b, kv), a.k_view.row, j, a.keys, a.size, one);
    store_sums(p, dv, head_of<T>(g.dv, a.v_view, b, kv), a.v_view.row, j, a.keys, a.value_size, one);
  }
};

template <class U>
struct Store {
  NONET_DEVICE void operator()(const U* x, const HeadView& view, int64_t batch, int64_t heads, int64_t rows,
                               int64_t size, U* cache, int64_t capacity, int64_t position) const {
    for_grid(batch * heads * rows * size, [&](int64_t i) {
      const int64_t e = i % size;
      const int64_t t = i / size % rows;
      const int64_t n = i / size / rows;
      cache[(n * capacity + position + t) * size + e] =
          x[view.offset + n / heads * view.batch + n % heads * view.head + t * view.row + e];
    });
  }
};

// body(type, chunks) for the element type and the chunks that hold heads of so many elements.
template <class Body>
void visit_heads(bool is_bfloat16, int64_t size, const Body& body) {
  visit_floating(is_bfloat16 ? DType::bfloat16 : DType::float32, [&](auto type) {
    using T = typename decltype(type)::type;
    if (size <= chunk) return body(T{}, std::integral_constant<int, 1>{});
    if (size <= 2 * chunk) return body(T{}, std::integral_constant<int, 2>{});
    if (size <= 4 * chunk) return body(T{}, std::integral_constant<int, 4>{});
    return body(T{}, std::integral_constant<int, 8>{});
  });
}

int64_t tiles_of(int64_t n) {
  return (n + tile - 1) / tile;
}
int32_t threshold_of(const Attention& a) {
  return static_cast<int32_t>(std::nearbyint(a.dropout * 16777216.f));
}
constexpr int shared_bytes = shared_floats * static_cast<int>(sizeof(float));

void forward(Stream stream, const Attention& a, void* out, float* lse) {
  visit_heads(a.bfloat16, a.value_size, [&](auto element, auto chunks) {
    using T = decltype(element);
    run(stream, a.batch * a.heads * tiles_of(a.queries), 256, shared_bytes, Forward<T, decltype(chunks)::value>{}, a,
        static_cast<T*>(out), lse, threshold_of(a));
  });
}

void backward(Stream stream, const Attention& a, const AttentionGradient& g, float* delta) {
  const int64_t larger = a.size > a.value_size ? a.size : a.value_size;
  visit_heads(a.bfloat16, larger, [&](auto element, auto chunks) {
    using T = decltype(element);
    constexpr int C = decltype(chunks)::value;
    const float* known = delta;
    run(stream, (a.batch * a.heads * a.queries + 7) / 8, 256, 0, Delta<T>{}, a, static_cast<const T*>(g.out),
        static_cast<const T*>(g.dout), delta);
    run(stream, a.batch * a.heads * tiles_of(a.queries), 256, shared_bytes, QueryGradient<T, C>{}, a, g, known,
        threshold_of(a));
    run(stream, a.batch * a.kv_heads * tiles_of(a.keys), 256, shared_bytes, KeyGradient<T, C>{}, a, g, known,
        threshold_of(a));
  });
}

void store_rows(Stream stream, bool is_bfloat16, const void* x, const HeadView& view, int64_t batch, int64_t heads,
                int64_t rows, int64_t size, void* cache, int64_t capacity, int64_t position) {
  const auto as = [&](auto unit) {
    using U = decltype(unit);
    run_elements(stream, batch * heads * rows * size, Store<U>{}, static_cast<const U*>(x), view, batch, heads, rows,
                 size, static_cast<U*>(cache), capacity, position);
  };
  is_bfloat16 ? as(uint16_t{}) : as(uint32_t{});
}

}  // namespace

NONET_DEVICE_TABLE(AttentionDevice, simt, {forward, backward, store_rows});

}  // namespace nonet::NONET_CUDA_NS
