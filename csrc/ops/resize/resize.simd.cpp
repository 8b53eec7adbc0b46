#include "ops/resize/resize.h"

#include "simd/vec.h"

namespace nonet::NONET_NS {

namespace {

constexpr int64_t task_floats = 32768;  // of the result, per task

NONET_INLINE int64_t least(int64_t a, int64_t b) {
  return a < b ? a : b;
}

// y[0, n) = the sum over N taps of weight times a line of x, `line` floats apart.
template <int N>
NONET_INLINE void sum_lines(const float* x, int64_t line, const int32_t* index, const float* weight, int64_t n,
                            float* y) {
  for_vectors(n, [&](int64_t i, int64_t lanes) {
    F sum{};
#pragma GCC unroll 4
    for (int k = 0; k < N; ++k) sum = fma(broadcast(weight[k]), load_lanes(x + index[k] * line + i, lanes), sum);
    store_lanes(y + i, sum, lanes);
  });
}

void combine(const float* x, int64_t line, const ResizeTaps& taps, int64_t o, int64_t n, float* y) {
  const int32_t* index = taps.index + taps.first[o];
  const float* weight = taps.weight + taps.first[o];
  const int64_t count = taps.first[o + 1] - taps.first[o];
  switch (count) {
    case 1:
      return sum_lines<1>(x, line, index, weight, n, y);
    case 2:
      return sum_lines<2>(x, line, index, weight, n, y);
    case 4:
      return sum_lines<4>(x, line, index, weight, n, y);
    default:
      for_vectors(n, [&](int64_t i, int64_t lanes) {
        F sum{};
        for (int64_t k = 0; k < count; ++k)
          sum = fma(broadcast(weight[k]), load_lanes(x + index[k] * line + i, lanes), sum);
        store_lanes(y + i, sum, lanes);
      });
  }
}

// One row of columns of single elements: y[o] = sum_k weight[k][o] x[index[k][o]]. The loops gather, lane by lane or by
// the machine's own instruction, as the compiler finds best.
template <int N>
void gather_taps(const float* x, const ResizeGeometry& g, float* __restrict y) {
  const int64_t m = g.columns.m;
  const int32_t* index = g.padded_index;
  const float* weight = g.padded_weight;
  for (int64_t o = 0; o < m; ++o) {
    float sum = weight[o] * x[index[o]];
#pragma GCC unroll 4
    for (int k = 1; k < N; ++k) sum += weight[k * m + o] * x[index[k * m + o]];
    y[o] = sum;
  }
}

void gather_row(const float* x, const ResizeGeometry& g, float* __restrict y) {
  const int64_t m = g.columns.m;
  if (g.copies_columns) {
    for (int64_t o = 0; o < m; ++o) y[o] = x[g.padded_index[o]];
    return;
  }
  switch (g.most) {
    case 1:
      return gather_taps<1>(x, g, y);
    case 2:
      return gather_taps<2>(x, g, y);
    case 4:
      return gather_taps<4>(x, g, y);
    default:
      for (int64_t o = 0; o < m; ++o) y[o] = 0;
      for (int64_t k = 0; k < g.most; ++k) {
        const int32_t* index = g.padded_index + k * m;
        const float* weight = g.padded_weight + k * m;
        for (int64_t o = 0; o < m; ++o) y[o] += weight[o] * x[index[o]];
      }
  }
}

// A row of the source with the 0 that shorter rows of taps refer to.
const float* with_zero(const float* x, const ResizeGeometry& g, float* copy) {
  if (g.copies_columns) return x;
  __builtin_memcpy(copy, x, g.columns.n * sizeof(float));
  copy[g.columns.n] = 0;
  return copy;
}

bool same_taps(const ResizeTaps& t, int64_t a, int64_t b) {
  const int64_t count = t.first[a + 1] - t.first[a];
  if (count != t.first[b + 1] - t.first[b]) return false;
  for (int64_t k = 0; k < count; ++k) {
    if (t.index[t.first[a] + k] != t.index[t.first[b] + k]) return false;
    if (t.weight[t.first[a] + k] != t.weight[t.first[b] + k]) return false;
  }
  return true;
}

// Rows [begin, end) of one plain image. More rows than before: columns first, so that the slower part, the gathers,
// runs on fewer.
void plain_rows(const float* x, float* y, int64_t begin, int64_t end, const ResizeGeometry& g) {
  const ResizeTaps& rows = g.rows;
  const int64_t n = g.columns.n;
  const int64_t m = g.columns.m;
  int32_t low = 0;
  int32_t high = 0;
  bool any = false;
  for (int64_t k = rows.first[begin]; k < rows.first[end]; ++k) {
    low = any && low < rows.index[k] ? low : rows.index[k];
    high = any && high > rows.index[k] ? high : rows.index[k];
    any = true;
  }
  const int64_t source_rows = any ? high - low + 1 : 0;
  float* copy = (float*)thread_scratch((n + 1 + source_rows * m) * (int64_t)sizeof(float));
  float* gathered = copy + n + 1;
  if (g.copies_rows || source_rows > end - begin) {
    for (int64_t o = begin; o < end; ++o, y += m) {
      if (o > begin && same_taps(rows, o, o - 1)) {
        __builtin_memcpy(y, y - m, m * sizeof(float));
      } else if (g.copies_rows) {
        gather_row(with_zero(x + rows.index[rows.first[o]] * n, g, copy), g, y);
      } else {
        combine(x, n, rows, o, n, copy);
        copy[n] = 0;
        gather_row(copy, g, y);
      }
    }
    return;
  }
  for (int64_t r = 0; r < source_rows; ++r) gather_row(with_zero(x + (low + r) * n, g, copy), g, gathered + r * m);
  for (int64_t o = begin; o < end; ++o, y += m) combine(gathered - low * m, m, rows, o, m, y);
}

// One row of an nhwc image.
void nhwc_row(const float* x, float* y, int64_t o, const ResizeGeometry& g) {
  const ResizeTaps& columns = g.columns;
  const int64_t c = g.inner;
  const int64_t line = columns.n * c;
  const float* row = x;
  if (g.copies_rows) {
    row += g.rows.index[g.rows.first[o]] * line;
  } else {
    float* sum = g.copies_columns && columns.n == columns.m ? y : (float*)thread_scratch(line * (int64_t)sizeof(float));
    combine(x, line, g.rows, o, line, sum);
    if (sum == y) return;
    row = sum;
  }
  if (g.copies_columns) {
    for (int64_t q = 0; q < columns.m; ++q)
      __builtin_memcpy(y + q * c, row + columns.index[columns.first[q]] * c, c * sizeof(float));
    return;
  }
  for (int64_t q = 0; q < columns.m; ++q) combine(row, c, columns, q, c, y + q * c);
}

void resize(const float* x, float* y, const ResizeGeometry& g) {
  const int64_t m = g.rows.m;
  const int64_t in = g.rows.n * g.columns.n * g.inner;
  const int64_t row = g.columns.m * g.inner;
  const int64_t most = row > g.columns.n * g.inner ? row : g.columns.n * g.inner;
  const int64_t rows = least(m, 1 + task_floats / most);
  const int64_t blocks = (m + rows - 1) / rows;
  parallel_for(g.outer * blocks, 1 + task_floats / (rows * most), [&](int64_t first, int64_t last) {
    for (int64_t t = first; t < last; ++t) {
      const int64_t image = t / blocks;
      const int64_t begin = t % blocks * rows;
      const int64_t end = least(begin + rows, m);
      float* to = y + (image * m + begin) * row;
      if (g.inner == 1) {
        plain_rows(x + image * in, to, begin, end, g);
      } else {
        for (int64_t o = begin; o < end; ++o) nhwc_row(x + image * in, to + (o - begin) * row, o, g);
      }
    }
  });
}

}  // namespace

constinit const ResizeKernels resize_kernels = {resize};

}  // namespace nonet::NONET_NS
