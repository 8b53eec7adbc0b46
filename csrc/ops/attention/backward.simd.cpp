#include "ops/attention/gradient.h"

namespace nonet::NONET_NS {

namespace {

constexpr int64_t query_block = 128;

// Scratch memory of a task. Rows of q and dO lie there twice: as they are for products that read them as the left
// operand, and in panels for those that read them as the right one.
struct Memory {
  float* q;             // [queries, size], times scale log2 e
  float* q_panels;      // [size / 32][queries][32]
  float* dout;          // [queries, value_size], over 1 - dropout
  float* dout_panels;   // [value_size / 32][queries][32]
  float* delta;         // [queries]: dO . O
  float* dq;            // [queries, size] sums so far
  float* dk;            // [keys, size]
  float* dv;            // [keys, value_size]
  float* k_transposed;  // [key_block / 32][size][32]
  float* k_panels;      // [size / 32][key_block][32]
  float* v_transposed;  // [key_block / 32][value_size][32]
  float* p;             // [query_block, key_block]
  float* ds;            // [query_block, key_block]
};

// keys: of the range.
Memory memory_of(const Attention& a, int64_t keys, Pieces& pieces) {
  Memory m;
  m.q = take(pieces, a.queries * a.size);
  m.q_panels = take(pieces, a.queries * padded(a.size));
  m.dout = take(pieces, a.queries * a.value_size);
  m.dout_panels = take(pieces, a.queries * padded(a.value_size));
  m.delta = take(pieces, a.queries);
  m.dq = take(pieces, a.queries * a.size);
  m.dk = take(pieces, keys * a.size);
  m.dv = take(pieces, keys * a.value_size);
  m.k_transposed = take(pieces, key_block * a.size);
  m.k_panels = take(pieces, key_block * padded(a.size));
  m.v_transposed = take(pieces, key_block * a.value_size);
  m.p = take(pieces, query_block * key_block);
  m.ds = take(pieces, query_block * key_block);
  return m;
}

void clear(float* x, int64_t n) {
  __builtin_memset(x, 0, n * sizeof(float));
}

template <class T>
void load_head(const Attention& a, const AttentionGradient& g, int64_t b, int64_t head, const Memory& m) {
  copy_rows(row_of<T>(a.q, a.q_view, b, head, 0), a.q_view.row, a.queries, a.size, a.scale * log2_e, m.q);
  pack_rows_as_panels(m.q, a.size, a.queries, a.size, a.queries, 0, m.q_panels);
  copy_rows(row_of<T>(g.dout, a.out_view, b, head, 0), a.out_view.row, a.queries, a.value_size, kept_factor(a), m.dout);
  pack_rows_as_panels(m.dout, a.value_size, a.queries, a.value_size, a.queries, 0, m.dout_panels);
  dot_gradients<T>(a, g, b, head, m.delta);
  clear(m.dq, a.queries * a.size);
}

// Queries [i, i + rows) of a head and keys [first, first + cols), which are packed.
void block(const Attention& a, const AttentionGradient& g, const Range& t, int64_t head, int64_t i, int64_t rows,
           int64_t first, int64_t cols, const Memory& m) {
  const Planes planes = planes_of(a, t.b, head, i, first);
  if (all_hidden(planes, rows, cols)) return;
  multiply(rows, cols, a.size, m.q + i * a.size, a.size, m.k_transposed, a.size, m.p, key_block, false);
  multiply(rows, cols, a.value_size, m.dout + i * a.value_size, a.value_size, m.v_transposed, a.value_size, m.ds,
           key_block, false);
  for (int64_t r = 0; r < rows; ++r)
    differentiate(a, g, t.b, head, i, r, first, cols, cols, planes, m.delta[i + r], m.p + r * key_block,
                  m.ds + r * key_block);
  multiply<Order::columns>(cols, a.value_size, rows, m.p, key_block, m.dout_panels + i * panel_columns, a.queries,
                           m.dv + (first - t.begin) * a.value_size, a.value_size, true);
  multiply<Order::columns>(cols, a.size, rows, m.ds, key_block, m.q_panels + i * panel_columns, a.queries,
                           m.dk + (first - t.begin) * a.size, a.size, true);
  multiply(rows, a.size, cols, m.ds, key_block, m.k_panels, key_block, m.dq + i * a.size, a.size, true);
}

template <class T>
void run_head(const Attention& a, const AttentionGradient& g, const Range& t, int64_t head, const Memory& m) {
  load_head<T>(a, g, t.b, head, m);
  for (int64_t first = t.begin; first < t.end; first += key_block) {
    const int64_t cols = visible(a, a.queries - 1, first, minimum(key_block, t.end - first));
    if (cols == 0) break;
    const T* k = row_of<T>(a.k, a.k_view, t.b, t.head, first);
    pack_rows_transposed(k, a.k_view.row, cols, a.size, m.k_transposed);
    pack_rows_as_panels(k, a.k_view.row, cols, a.size, key_block, 0, m.k_panels);
    pack_rows_transposed(row_of<T>(a.v, a.v_view, t.b, t.head, first), a.v_view.row, cols, a.value_size,
                         m.v_transposed);
    for (int64_t i = 0; i < a.queries; i += query_block) {
      const int64_t rows = minimum(query_block, a.queries - i);
      const int64_t n = visible(a, i + rows - 1, first, cols);
      if (n > 0) block(a, g, t, head, i, rows, first, n, m);
    }
  }
}

template <class T>
void run_task(const Attention& a, const AttentionGradient& g, const Ranges& r, const Range& t, float* workspace) {
  Memory m;
  const int64_t keys = t.end - t.begin;
  with_scratch([&](Pieces& pieces) { m = memory_of(a, keys, pieces); });
  clear(m.dk, keys * a.size);
  clear(m.dv, keys * a.value_size);
  const int64_t group = a.heads / a.kv_heads;
  float* const own = m.dq;
  for (int64_t head = t.head * group; head < (t.head + 1) * group; ++head) {
    m.dq = query_sums(a, r, t, head, own, workspace);
    run_head<T>(a, g, t, head, m);
    if (r.count == 1) write_queries<T>(a, g, t.b, head, 0, a.queries, m.dq, 0, 1);
  }
  // q carries scale log2 e.
  write_rows(m.dk, keys, a.size, 0.693147181f, row_of<T>(g.dk, a.k_view, t.b, t.head, t.begin), a.k_view.row);
  write_rows(m.dv, keys, a.value_size, 1.f, row_of<T>(g.dv, a.v_view, t.b, t.head, t.begin), a.v_view.row);
}

template <class T>
void run(const Attention& a, const AttentionGradient& g, float* workspace) {
  for_ranges<T>(a, g, workspace, [&](const Ranges& r, const Range& t) { run_task<T>(a, g, r, t, workspace); });
}

}  // namespace

int64_t attention_backward_workspace(const Attention& a, const AttentionGradient& g) {
  return gradient_workspace(a, g);
}
void attention_backward_pass(const Attention& a, const AttentionGradient& g, float* workspace) {
  (a.bfloat16 ? run<bfloat16> : run<float>)(a, g, workspace);
}

}  // namespace nonet::NONET_NS
