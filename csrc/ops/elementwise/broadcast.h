// The loops of a broadcast op: which runs of elements of the operands belong to which run of the output.
//
// Arrays are contiguous, so along the last axis that survives merging an operand either steps with the output or
// repeats one element; kernels need no other stride than 1 and 0.
#pragma once

#include "array/shape.h"
#include "ops/elementwise/elementwise.h"

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
    if (loops_.levels == 0) {  // one element
      for (int k = 0; k < operands; ++k) loops_.stride[0][k] = 1;
      loops_.size[0] = 1;
      loops_.levels = 1;
    }
  }

  const Loops<operands>& loops() const { return loops_; }
  // Step of an operand within a run: 1 or 0.
  int64_t step(int operand) const { return loops_.stride[0][operand]; }

  // body(out offset, length, operand offsets) for every run in the elements [begin, end) of the output.
  template <class Body>
  void runs(int64_t begin, int64_t end, const Body& body) const {
    const int64_t n = loops_.size[0];
    int64_t index[Shape::max_rank] = {};
    int64_t offset[operands] = {};
    int64_t rest = begin;
    for (int level = 0; level < loops_.levels; ++level) {
      index[level] = rest % loops_.size[level];
      rest /= loops_.size[level];
      for (int k = 0; k < operands; ++k) offset[k] += index[level] * loops_.stride[level][k];
    }
    while (begin < end) {
      const int64_t length = n - index[0] < end - begin ? n - index[0] : end - begin;
      body(begin, length, offset);
      begin += length;
      for (int k = 0; k < operands; ++k) offset[k] -= index[0] * loops_.stride[0][k];
      index[0] = 0;
      for (int level = 1; level < loops_.levels; ++level) {
        for (int k = 0; k < operands; ++k) offset[k] += loops_.stride[level][k];
        if (++index[level] < loops_.size[level]) break;
        for (int k = 0; k < operands; ++k) offset[k] -= index[level] * loops_.stride[level][k];
        index[level] = 0;
      }
    }
  }

 private:
  void push(int64_t size, const int64_t (&stride)[operands]) {
    if (loops_.levels > 0) {  // one loop for two axes that every operand walks like one
      bool merge = true;
      for (int k = 0; k < operands; ++k)
        merge &= stride[k] == loops_.stride[loops_.levels - 1][k] * loops_.size[loops_.levels - 1];
      if (merge) {
        loops_.size[loops_.levels - 1] *= size;
        return;
      }
    }
    for (int k = 0; k < operands; ++k) loops_.stride[loops_.levels][k] = stride[k];
    loops_.size[loops_.levels++] = size;
  }

  Loops<operands> loops_ = {};
};

}  // namespace nonet
