// Sums over equal rows: positions come ordered by their row, and are cut into spans of equal length, so that a row that
// occurs often is shared by many threads.
#include "base/dtype.h"
#include "cuda/elements.cuh"
#include "cuda/table.cuh"
#include "ops/index/index.h"

namespace nonet::NONET_CUDA_NS {

namespace {

constexpr int64_t span = RowSumsDevice::span;

// The sums of a span of sorted positions for some columns. A group that lies in the span is written; of one that began
// before it, the part is left as its head, of one that goes on behind it, as its tail (as its head, if both).
template <class T>
struct SumSpans {
  NONET_DEVICE void operator()(const T* from, T* out, const RowOrder& rows, float* partial, const RowSums& g,
                               int64_t spans) const {
    constexpr int pack = 4;
    const bool packed = g.inner % pack == 0 && is_aligned<pack>(from) && is_aligned<pack>(out);
    for_packs<pack>(g.outer * spans * g.inner, packed, [&](int64_t i, auto count) {
      constexpr int size = decltype(count)::value;
      const int64_t part = i / g.inner;  // o * spans + s
      sum_span<size>(from + part / spans * g.count * g.inner, out + part / spans * g.n * g.inner, rows,
                     partial + 2 * part * g.inner, g, part % spans * span, i % g.inner);
    });
  }

  template <int size>
  NONET_DEVICE void sum_span(const T* from, T* out, const RowOrder& rows, float* partial, const RowSums& g,
                             int64_t begin, int64_t column) const {
    const int64_t end = begin + span < g.count ? begin + span : g.count;
    bool open = begin > 0 && rows.sorted[begin - 1] == rows.sorted[begin];
    int64_t first = begin;  // of the group
    float sum[size] = {};
    bool rest = false;
    for (int64_t p = begin; p < end; ++p) {
      const int64_t row = rows.sorted[p];
      if (row >= g.n) return;  // the last ones
      const int64_t j = rows.order[p];
      const float factor = (rows.scale == nullptr ? 1.f : rows.scale[j]) * g.factor;
      const auto v = load_pack<size>(from + (rows.source == nullptr ? j : rows.source[j]) * g.inner + column);
      NONET_UNROLL
      for (int k = 0; k < size; ++k) sum[k] = fmaf(as_float(v[k]), factor, sum[k]);
      rest = p + 1 < g.count && rows.sorted[p + 1] == row;
      if (rest) continue;
      if (open) {
        put<size>(partial + column, sum);
      } else {
        finish<size>(out + row * g.inner + column, sum, g, p + 1 - first);
      }
      open = false;
      first = p + 1;
      NONET_UNROLL
      for (int k = 0; k < size; ++k) sum[k] = 0;
    }
    if (rest) put<size>(partial + (open ? 0 : g.inner) + column, sum);
  }

  template <int size>
  static NONET_DEVICE void put(float* to, const float (&sum)[size]) {
    NONET_UNROLL
    for (int k = 0; k < size; ++k) to[k] = sum[k];
  }
  template <int size>
  static NONET_DEVICE void finish(T* to, const float (&sum)[size], const RowSums& g, int64_t positions) {
    Pack<T, size> out = {};
    if (g.add) out = load_pack<size>(to);
    NONET_UNROLL
    for (int k = 0; k < size; ++k) {
      const float v = g.by_count ? sum[k] / static_cast<float>(positions) : sum[k];
      out[k] = from_float<T>(g.add ? as_float(out[k]) + v : v);
    }
    store_pack(to, out);
  }
};

// The first of sorted[low … high) that is not below `row`.
NONET_DEVICE int64_t lower_bound(const int64_t* sorted, int64_t low, int64_t high, int64_t row) {
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (sorted[middle] < row) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

constexpr int join_threads = 128;

// Adds up the groups that lie in several spans: a block per span in which one begins, and tile of columns.
template <class T>
struct JoinSpans {
  NONET_DEVICE void operator()(T* out, const RowOrder& rows, const float* partial, const RowSums& g, int64_t spans,
                               int columns, int64_t tiles) const {
    const int64_t part = block_index().x / tiles;
    const int64_t s = part % spans;
    const int64_t begin = s * span;
    const int64_t end = begin + span;
    if (end >= g.count) return;
    const int64_t row = rows.sorted[end - 1];
    if (row >= g.n || rows.sorted[end] != row || (begin > 0 && rows.sorted[begin - 1] == row)) return;
    const int64_t last = lower_bound(rows.sorted, end, g.count, row + 1);
    const int64_t column = block_index().x % tiles * columns + thread_rank() % columns;
    const int own = thread_rank() / columns;
    const float* heads = partial + 2 * (part - s) * g.inner + column;
    float sum = 0;
    if (column < g.inner) {
      if (own == 0) sum = heads[(2 * s + 1) * g.inner];
      for (int64_t t = s + 1 + own; t <= (last - 1) / span; t += join_threads / columns) sum += heads[2 * t * g.inner];
    }
    float* parts = shared_memory<float>();
    parts[thread_rank()] = sum;
    block_sync();
    if (own > 0 || column >= g.inner) return;
    float total[1] = {sum};
    for (int r = columns; r < join_threads; r += columns) total[0] += parts[r + thread_rank()];
    const int64_t first = g.by_count ? lower_bound(rows.sorted, begin, end, row) : 0;
    SumSpans<T>::template finish<1>(out + (part / spans * g.n + row) * g.inner + column, total, g, last - first);
  }
};

void add_rows(Stream stream, DType dtype, const void* from, void* out, const RowOrder& rows, float* partial,
              const RowSums& g) {
  visit_floating(dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const int64_t spans = (g.count + span - 1) / span;
    const int64_t sums = g.outer * spans * g.inner;
    run_elements(stream, g.inner % 4 == 0 ? sums / 4 : sums, SumSpans<T>{}, static_cast<const T*>(from),
                 static_cast<T*>(out), rows, partial, g, spans);
    if (spans <= 1) return;
    int columns = 1;
    while (columns < 32 && columns < g.inner) columns *= 2;
    const int64_t tiles = (g.inner + columns - 1) / columns;
    run(stream, g.outer * spans * tiles, join_threads, join_threads * static_cast<int>(sizeof(float)), JoinSpans<T>{},
        static_cast<T*>(out), rows, static_cast<const float*>(partial), g, spans, columns, tiles);
  });
}

}  // namespace

NONET_DEVICE_TABLE(RowSumsDevice, simt, {add_rows});

}  // namespace nonet::NONET_CUDA_NS
