#include "ops/matmul/pack.h"
#include "ops/recurrent/recurrent.h"

namespace nonet::NONET_NS {

namespace {

static_assert(panel_columns == recurrent_panel_columns);

constexpr int64_t grain = 32768;  // floats of a task

// panel_of(block, gate, cols, to) for every panel.
template <class Pack>
void for_panels(int64_t gates, int64_t columns, int64_t k, float* panels, const Pack& pack) {
  const int64_t floats = k * panel_columns;
  parallel_for(divide_up(columns, panel_columns) * gates, 1 + grain / (floats + 1), [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      const int64_t column = p / gates * panel_columns;
      pack(column, p % gates, minimum(panel_columns, columns - column), panels + p * floats);
    }
  });
}

template <class W>
void rows_of(const W* w, int64_t gates, int64_t columns, int64_t k, float* panels) {
  for_panels(gates, columns, k, panels, [&](int64_t column, int64_t gate, int64_t cols, float* to) {
    pack_panel_transposed(w + (gate * columns + column) * k, k, k, cols, to);
  });
}

template <class W>
void columns_of(const W* w, int64_t k, int64_t columns, float* panels) {
  for_panels(1, columns, k, panels,
             [&](int64_t column, int64_t, int64_t cols, float* to) { pack_panel(w + column, columns, k, cols, to); });
}

void from_rows(const void* w, bool is_bfloat16, int64_t gates, int64_t columns, int64_t k, float* panels) {
  is_bfloat16 ? rows_of((const bfloat16*)w, gates, columns, k, panels)
              : rows_of((const float*)w, gates, columns, k, panels);
}

void from_columns(const void* w, bool is_bfloat16, int64_t k, int64_t columns, float* panels) {
  is_bfloat16 ? columns_of((const bfloat16*)w, k, columns, panels) : columns_of((const float*)w, k, columns, panels);
}

}  // namespace

constinit const RecurrentPanelKernels recurrent_panel_kernels = {from_rows, from_columns};

}  // namespace nonet::NONET_NS
