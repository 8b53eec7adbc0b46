// The forward pass, on products of one kind:
//
//   struct Products {
//     using Operand = …;                                what queries and probabilities are multiplied as
//     static constexpr int64_t query_block;             rows of a block
//     static constexpr bool in_place;                   scores become probabilities where they are
//     static void begin(), end();                       around the products of a thread
//     static int64_t row(int64_t n);                    elements from row to row of n operands
//     static int64_t floats(int64_t operands);          that they take
//     static int64_t key_floats(int64_t size), value_floats(int64_t size);   of a packed block
//     template <class T> static void load(const T* x, int64_t row, int64_t rows, int64_t n, float factor, Operand* to);
//     template <class T> static void pack_keys(const T* k, int64_t row, int64_t cols, int64_t size, float* to);
//     template <class T> static void pack_values(const T* v, int64_t row, int64_t cols, int64_t size, float* to);
//     static void score(rows, cols, size, const Operand* q, const float* k, float factor, float* scores);
//     static void set(const float* p, int64_t cols, Operand* to);            a row of probabilities
//     static void mix(rows, size, cols, const Operand* p, const float* v, float* out);
//   };
//
// factor is multiplied into the queries or into the scores. Included by kernels only.
#pragma once

#include "ops/attention/tiles.h"

namespace nonet::NONET_NS {

namespace {

constexpr int64_t task_rows = 512;        // of all query heads of a key head together: their sums stay in L2
constexpr int64_t block_flops = 400'000;  // less is not worth a second thread

// A task: the query heads of one key head, and a range of queries.
struct Split {
  int64_t group;    // query heads per key head
  int64_t queries;  // of a task
  int64_t ranges;
};
Split split(const Attention& a, int64_t query_block) {
  Split s;
  s.group = a.heads / a.kv_heads;
  int64_t ranges = maximum(1, divide_up(a.queries * s.group, task_rows));
  while (a.batch * a.kv_heads * ranges < 8 && a.queries / ranges > 2 * query_block) ranges *= 2;
  s.queries = divide_up(divide_up(a.queries, ranges), query_block) * query_block;
  s.ranges = divide_up(a.queries, s.queries);
  return s;
}

struct Task {
  int64_t b, head, begin, queries;  // the key head; the first query and their number
};

template <class Products>
class Forward {
  using Operand = typename Products::Operand;
  static constexpr int64_t query_block = Products::query_block;

  // Scratch memory of a task: rows are those of the first query head, then those of the second, and so on.
  struct Memory {
    Operand* q;       // [rows, size]
    float* out;       // [rows, value_size] sums so far
    RowState* state;  // [rows]
    float* k;         // a block of keys, and of values, packed
    float* v;
    float* scores;  // [query_block, key_block]
    Operand* p;     // the same, probabilities
  };

  static Memory memory_of(const Attention& a, int64_t rows, Pieces& pieces) {
    Memory m;
    m.q = (Operand*)take(pieces, Products::floats(rows * Products::row(a.size)));
    m.out = take(pieces, rows * a.value_size);
    m.state = (RowState*)take(pieces, rows * (int64_t)(sizeof(RowState) / sizeof(float)));
    m.k = take(pieces, Products::key_floats(a.size));
    m.v = take(pieces, Products::value_floats(a.value_size));
    m.scores = take(pieces, query_block * key_block);
    m.p = (Operand*)m.scores;
    if (!Products::in_place) m.p = (Operand*)take(pieces, Products::floats(query_block * key_block));
    return m;
  }

  static float factor_of(const Attention& a) { return a.scale * log2_e; }

  template <class T>
  static void load_queries(const Attention& a, const Task& t, int64_t group, const Memory& m) {
    for (int64_t g = 0; g < group; ++g) {
      const T* q = row_of<T>(a.q, a.q_view, t.b, t.head * group + g, t.begin);
      Products::load(q, a.q_view.row, t.queries, a.size, factor_of(a), m.q + g * t.queries * Products::row(a.size));
    }
    const int64_t rows = group * t.queries;
    for (int64_t i = 0; i < rows * a.value_size; ++i) m.out[i] = 0.f;
    for (int64_t r = 0; r < rows; ++r) m.state[r] = RowState{-__builtin_inff(), {}};
  }

  // Dropped probabilities of a row become 0. words: of the first key of the block.
  static void drop_row(PhiloxKey key, int32_t threshold, int64_t words, float* p, int64_t n) {
    for_random_words(key, words, words + n, [&](int64_t i, int64_t lanes, U word) {
      float* at = p + (i - words);
      store_lanes(at, survives(word, threshold) != 0 ? load_lanes(at, lanes) : F{}, lanes);
    });
  }

  // Queries [i, i + rows) of a head against keys [first, first + cols), which are packed. row: of the task's.
  static void attend(const Attention& a, int64_t b, int64_t head, int64_t i, int64_t rows, int64_t first, int64_t cols,
                     int64_t row, const Memory& m) {
    const Planes planes = planes_of(a, b, head, i, first);
    if (all_hidden(planes, rows, cols)) return;
    float* out = m.out + row * a.value_size;
    Products::score(rows, cols, a.size, m.q + row * Products::row(a.size), m.k, factor_of(a), m.scores);
    const int32_t threshold = drop_threshold(a.dropout);
    for (int64_t r = 0; r < rows; ++r) {
      float* s = m.scores + r * key_block;
      const int64_t n = visible(a, i + r, first, cols);
      const float factor =
          softmax_row(s, n, planes.bias == nullptr ? nullptr : planes.bias + r * planes.bias_row,
                      planes.mask == nullptr ? nullptr : planes.mask + r * planes.mask_row, m.state[row + r]);
      if (a.dropout > 0) drop_row(a.key, threshold, row_words(a, b, head, i + r) + first, s, n);
      zero_rest(s, n, cols);
      Products::set(s, cols, m.p + r * key_block);
      if (factor == 1.f) continue;
      float* o = out + r * a.value_size;
      for_vectors(a.value_size,
                  [&](int64_t e, int64_t lanes) { store_lanes(o + e, load_lanes(o + e, lanes) * factor, lanes); });
    }
    Products::mix(rows, a.value_size, cols, m.p, m.v, out);
  }

  template <class T>
  static void finish(const Attention& a, const Task& t, int64_t group, const Memory& m, void* out, float* lse) {
    const float kept = a.dropout >= 1.f ? 0.f : 1.f / (1.f - a.dropout);
    for (int64_t g = 0; g < group; ++g) {
      const int64_t head = t.head * group + g;
      for (int64_t i = 0; i < t.queries; ++i) {
        const int64_t row = g * t.queries + i;
        const float total = total_of(m.state[row]);
        lse[(t.b * a.heads + head) * a.queries + t.begin + i] = lse_of(m.state[row], total);
        write_rows(m.out + row * a.value_size, 1, a.value_size, total == 0.f ? 0.f : kept / total,
                   row_of<T>(out, a.out_view, t.b, head, t.begin + i), 0);
      }
    }
  }

  template <class T>
  static void run_task(const Attention& a, const Task& t, int64_t group, void* out, float* lse) {
    Memory m;
    with_scratch([&](Pieces& p) { m = memory_of(a, group * t.queries, p); });
    load_queries<T>(a, t, group, m);
    Products::begin();
    const int64_t last = t.begin + t.queries - 1;
    for (int64_t first = 0; first < a.keys; first += key_block) {
      const int64_t cols = visible(a, last, first, minimum(key_block, a.keys - first));
      if (cols == 0) break;  // of causal attention: later keys are not seen either
      Products::pack_keys(row_of<T>(a.k, a.k_view, t.b, t.head, first), a.k_view.row, cols, a.size, m.k);
      Products::pack_values(row_of<T>(a.v, a.v_view, t.b, t.head, first), a.v_view.row, cols, a.value_size, m.v);
      for (int64_t g = 0; g < group; ++g) {
        for (int64_t i = 0; i < t.queries; i += query_block) {
          const int64_t rows = minimum(query_block, t.queries - i);
          const int64_t n = visible(a, t.begin + i + rows - 1, first, cols);
          if (n > 0) attend(a, t.b, t.head * group + g, t.begin + i, rows, first, n, g * t.queries + i, m);
        }
      }
    }
    Products::end();
    finish<T>(a, t, group, m, out, lse);
  }

  template <class T>
  static void run(const Attention& a, void* out, float* lse) {
    const Split s = split(a, query_block);
    const int64_t heads = a.batch * a.kv_heads;
    const int64_t flops = 2 * s.group * s.queries * a.keys * (a.size + a.value_size);
    parallel_for(heads * s.ranges, maximum(1, block_flops / maximum(1, flops)), [&](int64_t from, int64_t to) {
      for (int64_t n = from; n < to; ++n) {
        const int64_t head = n / s.ranges;
        const int64_t begin = balanced(n % s.ranges, s.ranges) * s.queries;
        run_task<T>(a, Task{head / a.kv_heads, head % a.kv_heads, begin, minimum(s.queries, a.queries - begin)},
                    s.group, out, lse);
      }
    });
  }

 public:
  static void pass(const Attention& a, void* out, float* lse) {
    (a.bfloat16 ? run<bfloat16> : run<float>)(a, out, lse);
  }
};

}  // namespace

}  // namespace nonet::NONET_NS
