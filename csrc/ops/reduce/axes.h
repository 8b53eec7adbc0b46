// Which axes of a shape are reduced, and the array seen as [outer, n, inner] with them in the middle.
#pragma once

#include <optional>
#include <vector>

#include "array/array.h"

namespace nonet {

struct Axes {
  Shape shape;  // of the array that is reduced
  std::array<bool, Shape::max_rank> reduced{};

  // No list, or an empty one, means all axes. Errors: IndexError for an axis, ValueError for one named twice.
  Axes(const Shape& shape, const std::optional<std::vector<int64_t>>& axes, const char* op);

  // None of the axes.
  explicit Axes(const Shape& shape) : shape(shape) {}

  Shape result(bool keepdim) const;
  int64_t count() const;  // elements per result
};

struct Moments {
  Array var, mean;
};
struct Extreme {
  Array values, positions;
};

// The reduced axes of `axes` in groups of neighbours, from the last group to the first, each as axes of a shape in
// which those dealt with have size 1: body(group). Sizes of 1 belong to either side.
template <class Body>
void for_groups(const Axes& axes, const Body& body) {
  Axes group(axes.shape);
  for (int axis = axes.shape.rank() - 1; axis >= 0;) {
    group.reduced.fill(false);
    for (; axis >= 0 && (axes.reduced[axis] || axes.shape[axis] == 1); --axis) group.reduced[axis] = true;
    if (group.count() != 1) body(group);
    group.shape = group.result(true);
    while (axis >= 0 && !axes.reduced[axis]) --axis;
  }
}

// Reduced axes that do not lie side by side are brought together by a copy.
class Gathered {
 public:
  // What may lie behind them: nothing (rows [outer, n, 1]), enough to fill most lanes of a vector, anything. The rest
  // is copied away.
  enum class Inner { none, wide, any };
  explicit Gathered(const Axes& axes, Inner inner = Inner::wide);

  int64_t outer() const { return outer_; }
  int64_t n() const { return n_; }
  int64_t inner() const { return inner_; }
  int64_t results() const { return outer_ * inner_; }

  // shape -> [outer, n, inner], and back.
  Array gather(const Array& x) const;
  Array restore(const Array& x) const;

 private:
  Shape shape_;
  int64_t outer_ = 1, n_ = 1, inner_ = 1;
  std::vector<Shape> moves_;  // each a view [a, b, c] whose middle goes last
};

}  // namespace nonet
