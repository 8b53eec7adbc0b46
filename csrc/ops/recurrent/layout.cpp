#include "ops/recurrent/layout.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "array/launch.h"

namespace nonet {

namespace {

int64_t count(const std::vector<int64_t>& table) {
  return static_cast<int64_t>(table.size());
}

}  // namespace

StepLayout StepLayout::dense(const Array& x, bool batch_first, const char* op) {
  StepLayout out;
  check(x.rank() == 2 || x.rank() == 3, op, ": input must have shape ", batch_first ? "[B, T, I]" : "[T, B, I]",
        " or [T, I], got ", x.shape());
  out.batched_ = x.rank() == 3;
  out.leading_ = x.shape().slice(0, x.rank() - 1);
  out.steps_ = out.batched_ && batch_first ? x.dim(1) : x.dim(0);
  out.batch_ = !out.batched_ ? 1 : x.dim(batch_first ? 0 : 1);
  check(out.steps_ > 0, op, ": input must have at least one step, got ", x.shape());
  out.rows_ = out.steps_ * out.batch_;
  out.step_ = out.batched_ && !batch_first ? out.batch_ : 1;
  out.stride_ = out.batched_ && batch_first ? out.steps_ : 1;
  return out;
}

StepLayout StepLayout::cell(const Array& x, const char* op) {
  StepLayout out;
  check(x.rank() == 1 || x.rank() == 2, op, ": input must have shape [B, I] or [I], got ", x.shape());
  out.cell_ = true;
  out.batched_ = x.rank() == 2;
  out.leading_ = x.shape().slice(0, x.rank() - 1);
  out.steps_ = 1;
  out.batch_ = out.rows_ = out.batched_ ? x.dim(0) : 1;
  return out;
}

StepLayout StepLayout::packed(const Array& x, const Array& batch_sizes, const Array& order, const char* op) {
  StepLayout out;
  check(x.rank() == 2, op, ": packed input must have shape [N, I], got ", x.shape());
  check_dtype(batch_sizes, DType::int64, op, "batch_sizes");
  check(batch_sizes.rank() == 1 && batch_sizes.dim(0) > 0, op, ": batch_sizes must have shape [T], T > 0, got ",
        batch_sizes.shape());
  out.leading_ = {x.dim(0)};
  out.steps_ = batch_sizes.dim(0);
  out.live_.assign(batch_sizes.data<int64_t>(), batch_sizes.data<int64_t>() + out.steps_);
  out.batch_ = out.live_[0];
  for (const int64_t live : out.live_) {
    out.first_.push_back(out.rows_);
    const int64_t most = out.first_.size() > 1 ? out.live_[out.first_.size() - 2] : live;
    check(live > 0 && live <= most, op, ": batch_sizes must be positive and not increase");
    out.rows_ += live;
  }
  check(out.rows_ == x.dim(0), op, ": packed input must have one row per step, ", out.rows_, ", got ", x.shape());
  if (order.defined()) {
    check_dtype(order, DType::int64, op, "sorted_indices");
    check_shape(order, {out.batch_}, op, "sorted_indices", "[B]");
    out.number_.assign(order.data<int64_t>(), order.data<int64_t>() + out.batch_);
    std::vector<bool> seen(out.batch_, false);
    for (const int64_t i : out.number_) {
      check(i >= 0 && i < out.batch_ && !seen[i], op, ": sorted_indices must be a permutation of the batch");
      seen[i] = true;
    }
  }
  return out;
}

StepLayout StepLayout::padded(const Array& x, bool batch_first, const Array& lengths, const char* op) {
  StepLayout out = dense(x, batch_first, op);
  check(out.batched_, op, ": lengths are for a batch, got an input of shape ", x.shape());
  check_dtype(lengths, DType::int64, op, "lengths");
  check_shape(lengths, {out.batch_}, op, "lengths", "[B]");
  const int64_t* length = lengths.data<int64_t>();
  for (int64_t i = 0; i < out.batch_; ++i)
    check(length[i] >= 0 && length[i] <= out.steps_, op, ": lengths must be in [0, ", out.steps_, "], got ", length[i],
          " for sequence ", i);
  if (std::all_of(length, length + out.batch_, [&](int64_t n) { return n == out.steps_; })) return out;
  out.number_.resize(out.batch_);
  std::iota(out.number_.begin(), out.number_.end(), 0);
  std::stable_sort(out.number_.begin(), out.number_.end(), [&](int64_t a, int64_t b) { return length[a] > length[b]; });
  const int64_t longest = out.batch_ == 0 ? 0 : length[out.number_[0]];
  out.rows_ = 0;
  int64_t live = out.batch_;
  for (int64_t t = 0; t < longest; ++t) {
    while (length[out.number_[live - 1]] <= t) --live;
    out.live_.push_back(live);
    out.first_.push_back(out.rows_);
    for (int64_t i = 0; i < live; ++i) out.source_.push_back(t * out.step_ + out.number_[i] * out.stride_);
    out.rows_ += live;
  }
  out.steps_ = longest;
  out.step_ = 0;
  out.stride_ = 1;
  return out;
}

Shape StepLayout::state_shape(int64_t states, int64_t size) const {
  Shape out;
  if (!cell_) out.push_back(states);
  if (batched_) out.push_back(batch_);
  out.push_back(size);
  return out;
}

void StepLayout::move_to(Device device) {
  if (device == Device::cpu || (first_.empty() && number_.empty())) return;
  Array host(Shape{count(first_) + count(live_) + count(number_) + count(source_)}, DType::int64);
  int64_t* to = host.data<int64_t>();
  for (const auto* table : {&first_, &live_, &number_, &source_}) to = std::copy(table->begin(), table->end(), to);
  tables_ = host.to(device);
}

Steps StepLayout::at(bool reverse) const {
  const auto* on_device = tables_.defined() ? static_cast<const int64_t*>(tables_.address()) : nullptr;
  const auto place = [&](const std::vector<int64_t>& table, int64_t before) -> const int64_t* {
    if (table.empty()) return nullptr;
    return on_device == nullptr ? table.data() : on_device + before;
  };
  return {steps_,
          batch_,
          rows_,
          step_,
          stride_,
          place(first_, 0),
          place(live_, count(first_)),
          place(number_, count(first_) + count(live_)),
          reverse};
}

std::vector<int64_t> StepLayout::empty() const {
  const int64_t live = steps_ == 0 ? 0 : live_.empty() ? batch_ : live_[0];
  if (number_.empty()) return {};
  return {number_.begin() + live, number_.end()};
}

namespace {

// Rows from[source[i]] to to[i], or the other way round.
void move_rows(const Array& from, const Array& to, const std::vector<int64_t>& source, const Array& tables,
               bool gather) {
  const int64_t size = from.shape().back();
  if (from.device() != Device::cpu) {
    const Array places = tables.view(tables.numel() - count(source), {count(source)});
    return on_device(&RecurrentForwardDevice::move_rows, "rnn", to, from.dtype(), from, to, places, count(source), size,
                     gather);
  }
  const int64_t bytes = size * item_size(from.dtype());
  const char* in = static_cast<const char*>(from.address());
  char* out = static_cast<char*>(to.address());
  parallel_for(count(source), 1 + 65536 / (bytes + 1), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      std::memcpy(out + (gather ? i : source[i]) * bytes, in + (gather ? source[i] : i) * bytes, bytes);
  });
}

}  // namespace

Array StepLayout::to_rows(const Array& x) const {
  const int64_t size = x.shape().back();
  if (source_.empty() && rows_ > 0) return x.reshape({rows_, size});
  const Array out(Shape{rows_, size}, x.dtype(), Format::plain, x.device());
  move_rows(x, out, source_, tables_, true);
  return out;
}

Array StepLayout::from_rows(const Array& rows) const {
  Shape shape = leading_;
  shape.push_back(rows.dim(1));
  if (source_.empty() && rows_ == shape.product(0, leading_.rank())) return rows.reshape(shape);
  const Array out = zeros(shape, rows.dtype(), rows.device());
  move_rows(rows, out, source_, tables_, false);
  return out;
}

}  // namespace nonet
