// Where the steps of a batch of sequences lie in its arrays.
#pragma once

#include <vector>

#include "array/array.h"
#include "ops/recurrent/recurrent.h"

namespace nonet {

// Sequences of one length [T, B, ...], [B, T, ...] or [T, ...]; of several, packed [N, ...] as torch packs them, step
// by step with the longest sequences first; or padded to [T, B, ...] or [B, T, ...] with their lengths, which are
// packed here.
class StepLayout {
 public:
  // x: [T, B, I], [B, T, I] if batch_first, or [T, I].
  // Errors, here and below: ValueError that names op.
  static StepLayout dense(const Array& x, bool batch_first, const char* op);
  // One step: [B, I] or [I].
  static StepLayout cell(const Array& x, const char* op);
  // batch_sizes: int64 [T], live sequences at each step. order: int64 [B], the place of the i-th longest sequence in
  // the batch, or undefined for the order of packing.
  static StepLayout packed(const Array& x, const Array& batch_sizes, const Array& order, const char* op);
  // lengths: int64 [B], from 0 to T, in any order.
  static StepLayout padded(const Array& x, bool batch_first, const Array& lengths, const char* op);

  Steps at(bool reverse) const;
  int64_t steps() const { return steps_; }
  int64_t batch() const { return batch_; }
  int64_t rows() const { return rows_; }
  // Of states of so many layers and directions: [states, B, size], [states, size] without a batch axis; of a cell
  // without the first axis.
  Shape state_shape(int64_t states, int64_t size) const;
  // Sequences without a step, whose states pass unchanged: their places in the batch.
  std::vector<int64_t> empty() const;

  // at() then says where the tables lie in the memory of a device.
  void move_to(Device device);

  // x as rows [N, size], and rows as an array whose last axis has their size: themselves where nothing is padded. Else
  // the rows of steps that exist, and back with zeros at those that do not.
  Array to_rows(const Array& x) const;
  Array from_rows(const Array& rows) const;

 private:
  int64_t steps_ = 0;
  int64_t batch_ = 0;
  int64_t rows_ = 0;
  int64_t step_ = 0;
  int64_t stride_ = 1;
  bool batched_ = true;
  bool cell_ = false;
  Shape leading_;  // of x without its last axis
  std::vector<int64_t> first_, live_, number_;
  std::vector<int64_t> source_;  // padded: where a row is in x
  Array tables_;                 // the four, one behind the other, on a device
};

}  // namespace nonet
