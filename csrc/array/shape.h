// Shapes: up to 8 sizes, kept in place.
#pragma once

#include <array>
#include <initializer_list>
#include <ostream>

#include "base/check.h"

namespace nonet {

class Shape {
 public:
  static constexpr int max_rank = 8;

  Shape() = default;
  Shape(std::initializer_list<int64_t> sizes) {
    for (const int64_t size : sizes) push_back(size);
  }
  template <class Iterator>
  Shape(Iterator begin, Iterator end) {
    for (; begin != end; ++begin) push_back(*begin);
  }

  int rank() const { return rank_; }
  int64_t operator[](int axis) const { return sizes_[axis]; }
  int64_t& operator[](int axis) { return sizes_[axis]; }
  int64_t back() const { return sizes_[rank_ - 1]; }
  const int64_t* begin() const { return sizes_.data(); }
  const int64_t* end() const { return sizes_.data() + rank_; }

  void push_back(int64_t size) {
    check(rank_ < max_rank, "shape: at most ", max_rank, " axes");
    sizes_[rank_++] = size;
  }

  // Product of the sizes of axes [from, to); 1 for none.
  int64_t product(int from, int to) const {
    int64_t out = 1;
    for (int axis = from; axis < to; ++axis) out *= sizes_[axis];
    return out;
  }
  int64_t numel() const { return product(0, rank_); }

  // Axes [from, to) as a shape.
  Shape slice(int from, int to) const { return Shape(begin() + from, begin() + to); }
  Shape with(int axis, int64_t size) const {
    Shape out = *this;
    out[axis] = size;
    return out;
  }

  bool operator==(const Shape& other) const {
    if (rank_ != other.rank_) return false;
    for (int axis = 0; axis < rank_; ++axis) {
      if (sizes_[axis] != other.sizes_[axis]) return false;
    }
    return true;
  }

 private:
  std::array<int64_t, max_rank> sizes_;
  int rank_ = 0;
};

inline std::ostream& operator<<(std::ostream& out, const Shape& shape) {
  out << '[';
  for (int axis = 0; axis < shape.rank(); ++axis) out << (axis > 0 ? ", " : "") << shape[axis];
  return out << ']';
}

// A Python axis (negative counts from the end) as 0 <= axis < rank. Errors: IndexError naming op.
inline int normal_axis(int64_t axis, int rank, const char* op) {
  check<IndexError>(axis >= -rank && axis < rank, op, ": axis must be in [", -rank, ", ", rank - 1, "], got ", axis);
  return static_cast<int>(axis < 0 ? axis + rank : axis);
}

// NumPy's broadcasting of two shapes. Errors: ValueError naming op and both shapes.
Shape broadcast_shapes(const Shape& a, const Shape& b, const char* op);

}  // namespace nonet
