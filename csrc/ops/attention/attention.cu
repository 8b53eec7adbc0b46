#include <cmath>

#include "cuda/table.cuh"
#include "ops/attention/tile.cuh"

namespace nonet::NONET_CUDA_NS {

namespace {

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
