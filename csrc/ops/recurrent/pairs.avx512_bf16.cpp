#include "ops/matmul/brgemm.h"
#include "ops/recurrent/recurrent.h"
#include "simd/dot.h"

namespace nonet::NONET_NS {

namespace {

constexpr int64_t pair_row = 2 * panel_columns;  // elements of a panel per pair of k
constexpr int most_dot_rows = 11;                // 22 accumulators, and as many dots to 13 loads

// R rows times 32 columns, in several chains of sums where few rows would leave too few under way.
template <int R, int chains>
void dot_rows(const bfloat16* a, int64_t lda, int64_t pairs, const bfloat16* panel, float* z, int64_t z_row,
              const float* bias) {
  F acc[chains][R][2] = {};
  const auto add = [&](int64_t p, F(&chain)[R][2]) __attribute__((always_inline)) {
    const U low = load_pairs(panel + p * pair_row);
    const U high = load_pairs(panel + p * pair_row + panel_columns);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const U ar = broadcast_pair(a + r * lda + 2 * p);
      chain[r][0] = dot(ar, low, chain[r][0]);
      chain[r][1] = dot(ar, high, chain[r][1]);
    }
  };
  int64_t p = 0;
  for (; p + chains <= pairs; p += chains) {
#pragma GCC unroll 4
    for (int c = 0; c < chains; ++c) add(p + c, acc[c]);
  }
  for (; p < pairs; ++p) add(p, acc[0]);
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < 2; ++v) {
      F sum = acc[0][r][v];
#pragma GCC unroll 4
      for (int c = 1; c < chains; ++c) sum += acc[c][r][v];
      if (bias != nullptr) sum += load(bias + v * width);
      store(z + r * z_row + v * width, sum);
    }
  }
}

using DotRows = void (*)(const bfloat16*, int64_t, int64_t, const bfloat16*, float*, int64_t, const float*);
constexpr DotRows by_rows[most_dot_rows] = {dot_rows<1, 1>, dot_rows<2, 1>,  dot_rows<3, 1>, dot_rows<4, 1>,
                                            dot_rows<5, 1>, dot_rows<6, 1>,  dot_rows<7, 1>, dot_rows<8, 1>,
                                            dot_rows<9, 1>, dot_rows<10, 1>, dot_rows<11, 1>};
constexpr DotRows thin[3] = {dot_rows<1, 2>, dot_rows<2, 2>, dot_rows<3, 2>};

void dots(const bfloat16* a, int64_t lda, int64_t k, const bfloat16* panels, int64_t gates, int64_t rows, int64_t batch,
          const RecurrentSums& z) {
  const int64_t pairs = divide_up(k, 2);
  for (int64_t g = 0; g < gates; ++g) {
    const bfloat16* panel = panels + g * recurrent_pair_panel(k);
    const float* bias = z.bias == nullptr ? nullptr : z.bias + g * z.gate;
    for_tiles(rows, most_dot_rows, [&](int64_t row, int64_t height) {
      const DotRows one = batch == 1 ? dot_rows<1, 4> : batch <= 3 ? thin[height - 1] : by_rows[height - 1];
      one(a + row * lda, lda, pairs, panel, z.z + row * z.row + g * z.gate, z.row, bias);
    });
  }
}

// Rounded to nearest even, in the lower halves; NaN stays NaN.
NONET_INLINE U rounded(F v) {
  const U bits = (U)v;
  return v != v ? (bits >> 16) | 0x40 : (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
}

void clear(bfloat16* p, int64_t n) {
  for (int64_t i = 0; i < n; ++i) p[i].bits = 0;
}

template <class W>
void rows_of(const W* w, int64_t gates, int64_t columns, int64_t k, bfloat16* panels) {
  const int64_t elements = recurrent_pair_panel(k);
  parallel_for(divide_up(columns, panel_columns) * gates, 1, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      const int64_t column = p / gates * panel_columns;
      bfloat16* panel = panels + p * elements;
      clear(panel, elements);
      for (int64_t c = 0; c < minimum(panel_columns, columns - column); ++c) {
        const W* from = w + (p % gates * columns + column + c) * k;
        bfloat16* to = panel + 2 * c;
        for_vectors(k, [&](int64_t i, int64_t lanes) {
          bfloat16 part[width];
          store(part, load_lanes(from + i, lanes));
          for (int64_t j = 0; j < lanes; ++j) to[(i + j) / 2 * pair_row + (i + j) % 2] = part[j];
        });
      }
    }
  });
}

template <class W>
void columns_of(const W* w, int64_t k, int64_t columns, bfloat16* panels) {
  const int64_t elements = recurrent_pair_panel(k);
  parallel_for(divide_up(columns, panel_columns), 1, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      const int64_t column = p * panel_columns;
      bfloat16* panel = panels + p * elements;
      for (int64_t i = 0; i < k; i += 2, panel += pair_row) {
        for (int64_t c = 0; c < panel_columns; c += width) {
          const int64_t lanes = minimum(width, columns - column - c);
          U pair{};
          if (lanes > 0) {
            const W* from = w + i * columns + column + c;
            pair = rounded(load_lanes(from, lanes));
            if (i + 1 < k) pair |= rounded(load_lanes(from + columns, lanes)) << 16;
          }
          __builtin_memcpy(panel + 2 * c, &pair, sizeof pair);
        }
      }
    }
  });
}

void from_rows(const void* w, bool is_bfloat16, int64_t gates, int64_t columns, int64_t k, bfloat16* panels) {
  is_bfloat16 ? rows_of((const bfloat16*)w, gates, columns, k, panels)
              : rows_of((const float*)w, gates, columns, k, panels);
}

void from_columns(const void* w, bool is_bfloat16, int64_t k, int64_t columns, bfloat16* panels) {
  is_bfloat16 ? columns_of((const bfloat16*)w, k, columns, panels) : columns_of((const float*)w, k, columns, panels);
}

}  // namespace

constinit const RecurrentPairKernels recurrent_pair_kernels = {dots, from_rows, from_columns};

}  // namespace nonet::NONET_NS
