// The loops of a broadcast op: which runs of elements of the operands belong to which run of the output.
//
// Arrays are contiguous, so along the last axis that survives merging an operand either steps with the output or
// repeats one element; kernels need no other stride than 1 and 0.
#pragma once

#include "array/shape.h"

namespace nonet {

template <int operands>
class Broadcast {
 public:
  // Each shape broadcasts to `out`.
  Broadcast(const Shape& out, const std::array<const Shape*, operands>& shapes) {
    int64_t step[operands];
    for (int64_t& s : step) s = 1;
    for (int axis = out.rank() - 1; axis >= 0; --axis) {  // from the last axis, which becomes level 0
      if (out[axis] == 1) continue;
      int64_t stride[operands];
      for (int k = 0; k < operands; ++k) {
        const int own = axis - (out.rank() - shapes[k]->rank());
        const int64_t size = own < 0 ? 1 : (*shapes[k])[own];
        stride[k] = size == 1 ? 0 : step[k];
        step[k] *= size;
      }
      push(out[axis], stride);
    }
    if (levels_ == 0) {  // one element
      for (int k = 0; k < operands; ++k) stride_[0][k] = 1;
      size_[0] = 1;
      levels_ = 1;
    }
  }

  // Step of an operand within a run: 1 or 0.
  int64_t step(int operand) const { return stride_[0][operand]; }

  // body(out offset, length, operand offsets) for every run in the elements [begin, end) of the output.
  template <class Body>
  void runs(int64_t begin, int64_t end, const Body& body) const {
    const int64_t n = size_[0];
    int64_t index[Shape::max_rank] = {};
    int64_t offset[operands] = {};
    int64_t rest = begin;
    for (int level = 0; level < levels_; ++level) {
      index[level] = rest % size_[level];
      rest /= size_[level];
      for (int k = 0; k < operands; ++k) offset[k] += index[level] * stride_[level][k];
    }
    while (begin < end) {
      const int64_t length = n - index[0] < end - begin ? n - index[0] : end - begin;
      body(begin, length, offset);
      begin += length;
      for (int k = 0; k < operands; ++k) offset[k] -= index[0] * stride_[0][k];
      index[0] = 0;
      for (int level = 1; level < levels_; ++level) {
        for (int k = 0; k < operands; ++k) offset[k] += stride_[level][k];
        if (++index[level] < size_[level]) break;
        for (int k = 0; k < operands; ++k) offset[k] -= index[level] * stride_[level][k];
        index[level] = 0;
      }
    }
  }

 private:
  void push(int64_t size, const int64_t (&stride)[operands]) {
    if (levels_ > 0) {  // one loop for two axes that every operand walks like one
      bool merge = true;
      for (int k = 0; k < operands; ++k) merge &= stride[k] == stride_[levels_ - 1][k] * size_[levels_ - 1];
      if (merge) {
        size_[levels_ - 1] *= size;
        return;
      }
    }
    for (int k = 0; k < operands; ++k) stride_[levels_][k] = stride[k];
    size_[levels_++] = size;
  }

  int levels_ = 0;
  int64_t size_[Shape::max_rank];
  int64_t stride_[Shape::max_rank][operands];
};

}  // namespace nonet
