// The x-part of a few steps at a time, made by the thread that takes the steps, so that it is read where it was
// written: in the second cache. *.simd.cpp only.
#pragma once

#include "ops/recurrent/steps.h"
//
#include "ops/recurrent/forward_rules.h"

namespace nonet::NONET_NS::forward_pass {

inline constexpr int64_t part_rows = 128;  // of a part, or those of one step

// Of a share, the sequences that are live at a step, in the order of processing.
NONET_INLINE Range live_range(const Steps& at, const Share& share, int64_t step) {
  const int64_t n = step < at.steps ? live_at(at, at.reverse ? at.steps - 1 - step : step) : 0;
  return {share.sequences.begin, maximum(share.sequences.begin, minimum(share.sequences.end, n))};
}

template <class X, class To>
NONET_INLINE void copy_row(const X* from, int64_t n, To* to) {
  for_vectors(n, [&](int64_t i, int64_t lanes) { store_lanes(to + i, load_lanes(from + i, lanes), lanes); });
}

// Where the x-part is not given.
class InputPart {
 public:
  InputPart(const RecurrentForward& f, const Share& share) : f_(f), share_(share) {
    if (f.gates != nullptr) return;
    const int64_t rows = maximum(part_rows, share.sequences.end - share.sequences.begin);
    gates_ = gates_of(f.cell);
    units_ = divide_up(f.hidden, panel_columns) * panel_columns;
    row_ = padded(gates_ * units_);
    x_row_ = padded(f.inputs);
    const int64_t floats = rows * row_ + gates_ * units_ + rows * x_row_;
    sums_ = (float*)thread_scratch(floats * (int64_t)sizeof(float));
    bias_ = sums_ + rows * row_;
    x_ = bias_ + gates_ * units_;
    for (int64_t i = 0; i < gates_ * units_; ++i) {
      const int64_t unit = i % units_;
      bias_[i] = f.bias_of_x == nullptr || unit >= f.hidden ? 0 : f.bias_of_x[i / units_ * f.hidden + unit];
    }
  }

  // Of the step, whose first row among all is `row`. Steps come one after the other.
  XPart at(int64_t step, int64_t row) {
    if (f_.gates != nullptr) return given_part(f_, row);
    if (step >= end_) make(step);
    return {sums_ + (place_[step - first_] - share_.sequences.begin) * row_, row_, units_};
  }

 private:
  void make(int64_t step) {
    first_ = end_ = step;
    int64_t rows = 0;
    for (; end_ < f_.at.steps && end_ - first_ < part_rows; ++end_) {
      const Range live = live_range(f_.at, share_, end_);
      if (end_ > first_ && rows + live.end - live.begin > part_rows) break;
      place_[end_ - first_] = rows;
      gather(end_, live, rows);
      rows += live.end - live.begin;
    }
    const Range blocks = share_.blocks(f_.hidden);
    for (int64_t block = blocks.begin; block < blocks.end; ++block) multiply(block, rows);
  }

  // Rows of x as products read them.
  void gather(int64_t step, const Range& live, int64_t to) {
    const int64_t first = first_row(f_.at, f_.at.reverse ? f_.at.steps - 1 - step : step);
    for (int64_t i = live.begin; i < live.end; ++i, ++to) {
      const int64_t from = (first + i * f_.at.stride) * f_.inputs;
      f_.x_is_bfloat16 ? gather_row((const bfloat16*)f_.x + from, to) : gather_row((const float*)f_.x + from, to);
    }
  }
  template <class X>
  void gather_row(const X* from, int64_t to) {
    if (f_.pairs == nullptr) return copy_row(from, f_.inputs, x_ + to * x_row_);
    bfloat16* pairs = (bfloat16*)x_ + to * x_row_;
    copy_row(from, f_.inputs, pairs);
    if (f_.inputs % 2 == 1) pairs[f_.inputs].bits = 0;
  }

  void multiply(int64_t block, int64_t rows) {
    const int64_t column = block * panel_columns;
    if (f_.pairs != nullptr) {
      const auto* panels = (const bfloat16*)f_.weights_of_x + block * gates_ * recurrent_pair_panel(f_.inputs);
      return f_.pairs->dots((const bfloat16*)x_, x_row_, f_.inputs, panels, gates_, rows, f_.at.batch,
                            {sums_ + column, row_, units_, bias_ + column});
    }
    for (int64_t g = 0; g < gates_; ++g) {
      const Term term{x_, f_.weights_of_x + (block * gates_ + g) * f_.inputs * panel_columns};
      const int64_t at = g * units_ + column;
      brgemm(rows, panel_columns, {&term, 1, f_.inputs, x_row_, panel_columns, sums_ + at, row_, false, bias_ + at},
             NoEpilogue{});
    }
  }

  const RecurrentForward& f_;
  const Share& share_;
  int64_t gates_ = 0;
  int64_t units_ = 0;  // H, up to whole panels
  int64_t row_ = 0;
  int64_t x_row_ = 0;
  float* sums_ = nullptr;  // [rows, gates, units]
  float* bias_ = nullptr;  // [gates, units]
  float* x_ = nullptr;     // or pairs
  int64_t first_ = 0;      // step of the part
  int64_t end_ = 0;
  int64_t place_[part_rows];  // the first row of a step in the part
};

}  // namespace nonet::NONET_NS::forward_pass
