// Attention on products of bfloat16 pairs with float32 sums: for operands that are stored as bfloat16, and for float32
// ones that are rounded to it. An Engine multiplies. *.avx512_bf16.cpp and *.amx.cpp only.
//
// The left operand of a product lies in rows of bfloat16, zeros behind them up to a multiple of 32; the right one in
// strips of 32 columns as terms.h packs them, [k / 32][2][16 pairs][16 columns][2]. Probabilities and gradients of
// scores are rounded to bfloat16; sums, maxima and what they are computed from are float32.
//
//   struct Engine {
//     static constexpr int64_t query_block;
//     static void begin(), end();                                  around the products of a thread
//     // C[rows, cols] (+)= factor A[rows, k] B, whose strips are `strip` bytes long.
//     static void multiply(rows, cols, k, const bfloat16* a, int64_t lda, const char* b, int64_t strip, float factor,
//                          float* c, int64_t ldc, bool accumulate);
//   };
#pragma once

#include "ops/attention/decode.h"
#include "ops/attention/forward.h"
#include "ops/attention/gradient.h"
#include "ops/matmul/terms.h"

namespace nonet::NONET_NS {

namespace {

constexpr int64_t in_steps(int64_t n) {
  return (n + step_k - 1) / step_k * step_k;
}
// Of a strip over k.
constexpr int64_t strip_bytes(int64_t k) {
  return in_steps(k) / step_k * step_bytes(1);
}

// Floats that so many halves take.
constexpr int64_t floats_of(int64_t halves) {
  return (halves + 1) / 2;
}
// Floats of packed strips of `lines` columns over k.
constexpr int64_t strip_floats(int64_t lines, int64_t k) {
  return in_steps(lines) / strip_lines * strip_bytes(k) / (int64_t)sizeof(float);
}

// bfloat16 in the lower halves, rounded to nearest even; NaN stays NaN.
NONET_INLINE U halves(F v) {
#if defined(__AVX512BF16__)
  const __m256bh rounded = _mm512_cvtneps_pbh(v);
  U16 out;
  __builtin_memcpy(&out, &rounded, sizeof out);
  return widened(out);
#else
  const U bits = (U)v;
  return v != v ? ((bits >> 16) | 0x40) : (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
#endif
}
NONET_INLINE void store_halves(bfloat16* to, F v) {
#if defined(__AVX512BF16__)
  const __m256bh out = _mm512_cvtneps_pbh(v);
  __builtin_memcpy(to, &out, sizeof out);
#else
  store(to, v);
#endif
}

// Rows as bfloat16, `distance` apart, zeros behind them.
template <class T>
void load_rows(const T* x, int64_t row, int64_t rows, int64_t n, bfloat16* to, int64_t distance) {
  for (int64_t r = 0; r < rows; ++r, x += row, to += distance) {
    for (int64_t e = 0; e < distance; e += width) {
      const int64_t lanes = minimum(width, n - e);
      store_halves(to + e, lanes <= 0 ? F{} : load_lanes(x + e, lanes));
    }
  }
}

// The block of 16 x 16 at x, of which rows and lanes exist, transposed.
template <class T>
NONET_INLINE void load_transposed(const T* x, int64_t row, int64_t rows, int64_t lanes, F (&v)[16]) {
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) v[i] = i < rows ? load_lanes(x + i * row, lanes) : F{};
  transpose(v);
}

// to [n, rows] of bfloat16, its rows `distance` apart: the transpose of rows [rows, n], zeros beyond it up to distance.
template <class T>
void load_columns(const T* x, int64_t row, int64_t rows, int64_t n, bfloat16* to, int64_t distance) {
  for (int64_t r = 0; r < distance; r += 16) {
    for (int64_t e = 0; e < n; e += 16) {
      const int64_t lanes = minimum(16, n - e);
      F v[16];
      load_transposed(x + r * row + e, row, rows - r, lanes, v);
      for (int64_t i = 0; i < lanes; ++i) store_halves(to + (e + i) * distance + r, v[i]);
    }
  }
}

// Rows [rows, n] = factor times the transpose of x [n, rows], whose rows are `distance` apart.
template <class T>
void write_columns(const float* x, int64_t distance, int64_t rows, int64_t n, float factor, T* to, int64_t row) {
  for (int64_t r = 0; r < rows; r += 16) {
    for (int64_t e = 0; e < n; e += 16) {
      const int64_t lanes = minimum(16, n - e);
      F v[16];
      load_transposed(x + e * distance + r, distance, lanes, 16, v);
      for (int64_t i = 0; i < minimum(16, rows - r); ++i) store_lanes(to + (r + i) * row + e, v[i] * factor, lanes);
    }
  }
}

// Strips, `strip` bytes long, of the lines of x over k: keys over their elements (along 1), or elements over keys.
template <class T>
void pack_strips(const T* x, int64_t line, int64_t along, int64_t lines, int64_t k, int64_t strip, char* to) {
  for (int64_t l = 0; l < lines; l += strip_lines, to += strip)
    pack_strip<1, false>(Lines<T>{x + l * line, line, along}, minimum(strip_lines, lines - l), k, (uint16_t*)to);
}

template <class Engine>
struct Rounded {
  using Operand = bfloat16;
  static constexpr int64_t query_block = Engine::query_block;
  static constexpr bool in_place = false;

  static void begin() { Engine::begin(); }
  static void end() { Engine::end(); }

  static int64_t row(int64_t n) { return in_steps(n); }
  // An engine may read a few rows more than there are.
  static int64_t floats(int64_t operands) { return floats_of(operands) + strip_lines * 256 / 2; }
  static int64_t key_floats(int64_t size) { return strip_floats(key_block, size); }
  static int64_t value_floats(int64_t size) { return strip_floats(size, key_block); }

  template <class T>
  static void load(const T* x, int64_t row, int64_t rows, int64_t n, float, bfloat16* to) {
    load_rows(x, row, rows, n, to, in_steps(n));
  }
  template <class T>
  static void pack_keys(const T* k, int64_t row, int64_t cols, int64_t size, float* to) {
    pack_strips(k, row, 1, cols, size, strip_bytes(size), (char*)to);
  }
  template <class T>
  static void pack_values(const T* v, int64_t row, int64_t cols, int64_t size, float* to) {
    pack_strips(v, 1, row, size, cols, strip_bytes(key_block), (char*)to);
  }
  static void score(int64_t rows, int64_t cols, int64_t size, const bfloat16* q, const float* k, float factor,
                    float* scores) {
    Engine::multiply(rows, cols, size, q, in_steps(size), (const char*)k, strip_bytes(size), factor, scores, key_block,
                     false);
  }
  static void set(float* p, int64_t cols, bfloat16* to) {
    zero_rest(p, cols, in_steps(cols));
    for (int64_t j = 0; j < in_steps(cols); j += width) store_halves(to + j, nonet::NONET_NS::load(p + j));
  }
  static void mix(int64_t rows, int64_t size, int64_t cols, const bfloat16* p, const float* v, float* out) {
    Engine::multiply(rows, size, cols, p, key_block, (const char*)v, strip_bytes(key_block), 1.f, out, size, true);
  }
};

// ---------------------------------------------------------------- backward
template <class Engine>
class Backward {
  static constexpr int64_t query_block = 128;
  static constexpr int64_t block_strip = query_block / step_k * step_bytes(1);

  // Scratch memory of a task. dK and dV gather transposed, block of keys by block of keys: their left operands are then
  // the transposes of Q and dO, made once for a head.
  struct Memory {
    bfloat16* q;             // [queries, size]
    bfloat16* q_columns;     // [size, queries]
    bfloat16* dout;          // [queries, value_size]
    bfloat16* dout_columns;  // [value_size, queries]
    float* delta;            // [queries]: dO . O
    float* dq;               // [queries, size] sums so far
    float* dk;               // [keys / key_block][size, key_block]
    float* dv;               // [keys / key_block][value_size, key_block]
    char* k;                 // strips of keys over elements
    char* k_columns;         // strips of elements over keys
    char* v;                 // strips of keys over elements
    float* p;                // [query_block, key_block], and ds
    float* ds;
    bfloat16* ds_rows;  // [query_block, key_block]
    char* p_strips;     // strips of keys over queries
    char* ds_strips;
  };

  // keys: of the range.
  static Memory memory_of(const Attention& a, int64_t keys, Pieces& pieces) {
    constexpr int64_t spare = strip_lines * 256 / 2;  // rows that an engine may read beyond the last
    const int64_t blocks = divide_up(keys, key_block);
    Memory m;
    m.q = (bfloat16*)take(pieces, floats_of(a.queries * in_steps(a.size)) + spare);
    m.q_columns = (bfloat16*)take(pieces, floats_of((in_steps(a.size)) * columns_row(a)));
    m.dout = (bfloat16*)take(pieces, floats_of(a.queries * in_steps(a.value_size)) + spare);
    m.dout_columns = (bfloat16*)take(pieces, floats_of(in_steps(a.value_size) * columns_row(a)));
    m.delta = take(pieces, a.queries);
    m.dq = take(pieces, a.queries * a.size);
    m.dk = take(pieces, blocks * a.size * key_block);
    m.dv = take(pieces, blocks * a.value_size * key_block);
    m.k = (char*)take(pieces, strip_floats(key_block, a.size));
    m.k_columns = (char*)take(pieces, strip_floats(a.size, key_block));
    m.v = (char*)take(pieces, strip_floats(key_block, a.value_size));
    m.p = take(pieces, query_block * key_block);
    m.ds = take(pieces, query_block * key_block);
    m.ds_rows = (bfloat16*)take(pieces, floats_of(query_block * key_block));
    m.p_strips = (char*)take(pieces, strip_floats(key_block, query_block));
    m.ds_strips = (char*)take(pieces, strip_floats(key_block, query_block));
    return m;
  }

  // From row to row of the columns of a head; not a power of two, of which the sets of a cache are few.
  static int64_t columns_row(const Attention& a) { return in_steps(a.queries) + 32; }

  static void clear(float* x, int64_t n) { __builtin_memset(x, 0, n * sizeof(float)); }

  template <class T>
  static void load_head(const Attention& a, const AttentionGradient& g, int64_t b, int64_t head, const Memory& m) {
    const T* q = row_of<T>(a.q, a.q_view, b, head, 0);
    load_rows(q, a.q_view.row, a.queries, a.size, m.q, in_steps(a.size));
    load_columns(q, a.q_view.row, a.queries, a.size, m.q_columns, columns_row(a));
    const T* dout = row_of<T>(g.dout, a.out_view, b, head, 0);
    load_rows(dout, a.out_view.row, a.queries, a.value_size, m.dout, in_steps(a.value_size));
    load_columns(dout, a.out_view.row, a.queries, a.value_size, m.dout_columns, columns_row(a));
    dot_gradients<T>(a, g, b, head, m.delta);
    clear(m.dq, a.queries * a.size);
  }

  // Two rows of p and of ds as halves: pairs of queries, and the rows of ds themselves.
  static void round_rows(const Memory& m, int64_t r, int64_t cols) {
    const float* p = m.p + r * key_block;
    const float* ds = m.ds + r * key_block;
    bfloat16* rows = m.ds_rows + r * key_block;
    const int64_t at = r / step_k * step_bytes(1) + r % step_k / 2 * 64;
    for (int64_t j = 0; j < cols; j += width) {
      const int64_t to = j / strip_lines * block_strip + at + j / 16 % 2 * tile_bytes;
      const U first = halves(load(ds + j));
      const U second = halves(load(ds + key_block + j));
      store_line((uint16_t*)(m.p_strips + to), halves(load(p + j)) | halves(load(p + key_block + j)) << 16);
      store_line((uint16_t*)(m.ds_strips + to), first | second << 16);
      store_halves(rows + j, load(ds + j));
      store_halves(rows + key_block + j, load(ds + key_block + j));
    }
  }

  // Queries [i, i + rows) of a head and keys [first, first + cols), which are packed.
  static void block(const Attention& a, const AttentionGradient& g, const Range& t, int64_t head, int64_t i,
                    int64_t rows, int64_t first, int64_t cols, const Memory& m) {
    const Planes planes = planes_of(a, t.b, head, i, first);
    if (all_hidden(planes, rows, cols)) return;
    const int64_t size = in_steps(a.size);
    const int64_t value_size = in_steps(a.value_size);
    const int64_t wide = in_steps(cols);
    const int64_t high = in_steps(rows);
    Engine::multiply(rows, cols, a.size, m.q + i * size, size, m.k, strip_bytes(a.size), a.scale * log2_e, m.p,
                     key_block, false);
    Engine::multiply(rows, cols, a.value_size, m.dout + i * value_size, value_size, m.v, strip_bytes(a.value_size),
                     kept_factor(a), m.ds, key_block, false);
    for (int64_t r = 0; r < high; ++r) {
      float* p = m.p + r * key_block;
      float* ds = m.ds + r * key_block;
      if (r < rows) {
        differentiate(a, g, t.b, head, i, r, first, cols, wide, planes, m.delta[i + r], p, ds);
      } else {
        clear(p, wide);
        clear(ds, wide);
      }
      if (r % 2 == 1) round_rows(m, r - 1, wide);
    }
    const int64_t row = columns_row(a);
    Engine::multiply(a.value_size, cols, rows, m.dout_columns + i, row, m.p_strips, block_strip, 1.f,
                     m.dv + (first - t.begin) * a.value_size, key_block, true);
    Engine::multiply(a.size, cols, rows, m.q_columns + i, row, m.ds_strips, block_strip, 1.f,
                     m.dk + (first - t.begin) * a.size, key_block, true);
    Engine::multiply(rows, a.size, cols, m.ds_rows, key_block, m.k_columns, strip_bytes(key_block), 1.f,
                     m.dq + i * a.size, a.size, true);
  }

  template <class T>
  static void run_head(const Attention& a, const AttentionGradient& g, const Range& t, int64_t head, const Memory& m) {
    load_head<T>(a, g, t.b, head, m);
    for (int64_t first = t.begin; first < t.end; first += key_block) {
      const int64_t cols = visible(a, a.queries - 1, first, minimum(key_block, t.end - first));
      if (cols == 0) break;
      const T* k = row_of<T>(a.k, a.k_view, t.b, t.head, first);
      pack_strips(k, a.k_view.row, 1, cols, a.size, strip_bytes(a.size), m.k);
      pack_strips(k, 1, a.k_view.row, a.size, cols, strip_bytes(key_block), m.k_columns);
      pack_strips(row_of<T>(a.v, a.v_view, t.b, t.head, first), a.v_view.row, 1, cols, a.value_size,
                  strip_bytes(a.value_size), m.v);
      for (int64_t i = 0; i < a.queries; i += query_block) {
        const int64_t rows = minimum(query_block, a.queries - i);
        const int64_t n = visible(a, i + rows - 1, first, cols);
        if (n > 0) block(a, g, t, head, i, rows, first, n, m);
      }
    }
  }

  template <class T>
  static void run_task(const Attention& a, const AttentionGradient& g, const Ranges& r, const Range& t,
                       float* workspace) {
    Memory m;
    const int64_t keys = t.end - t.begin;
    with_scratch([&](Pieces& pieces) { m = memory_of(a, keys, pieces); });
    const int64_t blocks = divide_up(keys, key_block);
    clear(m.dk, blocks * a.size * key_block);
    clear(m.dv, blocks * a.value_size * key_block);
    const int64_t group = a.heads / a.kv_heads;
    float* const own = m.dq;
    Engine::begin();
    for (int64_t head = t.head * group; head < (t.head + 1) * group; ++head) {
      m.dq = query_sums(a, r, t, head, own, workspace);
      run_head<T>(a, g, t, head, m);
      if (r.count == 1) write_queries<T>(a, g, t.b, head, 0, a.queries, m.dq, 0, 1);
    }
    Engine::end();
    for (int64_t first = 0; first < keys; first += key_block) {
      const int64_t cols = minimum(key_block, keys - first);
      write_columns(m.dk + first * a.size, key_block, cols, a.size, a.scale,
                    row_of<T>(g.dk, a.k_view, t.b, t.head, t.begin + first), a.k_view.row);
      write_columns(m.dv + first * a.value_size, key_block, cols, a.value_size, kept_factor(a),
                    row_of<T>(g.dv, a.v_view, t.b, t.head, t.begin + first), a.v_view.row);
    }
  }

  template <class T>
  static void run(const Attention& a, const AttentionGradient& g, float* workspace) {
    for_ranges<T>(a, g, workspace, [&](const Ranges& r, const Range& t) { run_task<T>(a, g, r, t, workspace); });
  }

 public:
  static void pass(const Attention& a, const AttentionGradient& g, float* workspace) {
    (a.bfloat16 ? run<bfloat16> : run<float>)(a, g, workspace);
  }
};

int64_t pairs_workspace(const Attention& a) {
  return wants_decode(a) ? decode_workspace(a) : 0;
}

// One query on many keys is bound by memory, and has a kernel of its own.
template <class Engine>
void pairs_forward(const Attention& a, void* out, float* lse, float* workspace) {
  if (wants_decode(a)) return decode(a, out, lse, workspace);
  Forward<Rounded<Engine>>::pass(a, out, lse);
}

template <class Engine>
constexpr AttentionKernels kernels_of = {pairs_workspace, pairs_forward<Engine>, gradient_workspace,
                                         Backward<Engine>::pass};

}  // namespace

}  // namespace nonet::NONET_NS
