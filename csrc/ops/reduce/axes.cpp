#include "ops/reduce/axes.h"

#include <algorithm>

#include "array/axis.h"

namespace nonet {

namespace {

// Neighbouring axes of one kind.
struct Segment {
  int64_t size;
  bool reduced;
};

int64_t product(const Segment* begin, const Segment* end) {
  int64_t out = 1;
  for (; begin != end; ++begin) out *= begin->size;
  return out;
}

}  // namespace

Axes::Axes(const Shape& shape, const std::optional<std::vector<int64_t>>& axes, const char* op) : shape(shape) {
  if (!axes || axes->empty()) {
    reduced.fill(true);
    return;
  }
  for (const int64_t axis : *axes) {
    const int a = normal_axis(axis, std::max(shape.rank(), 1), op);
    check(!reduced[a], op, ": axis ", a, " is named twice");
    reduced[a] = true;
  }
}

Shape Axes::result(bool keepdim) const {
  Shape out;
  for (int axis = 0; axis < shape.rank(); ++axis) {
    if (!reduced[axis]) {
      out.push_back(shape[axis]);
    } else if (keepdim) {
      out.push_back(1);
    }
  }
  return out;
}

int64_t Axes::count() const {
  int64_t out = 1;
  for (int axis = 0; axis < shape.rank(); ++axis) out *= reduced[axis] ? shape[axis] : 1;
  return out;
}

Gathered::Gathered(const Axes& axes, Inner inner) : shape_(axes.shape) {
  Segment segments[Shape::max_rank];
  Segment* end = segments;
  for (int axis = 0; axis < shape_.rank(); ++axis) {
    if (shape_[axis] == 1) continue;  // on either side
    if (end == segments || end[-1].reduced != axes.reduced[axis]) *end++ = {1, axes.reduced[axis]};
    end[-1].size *= shape_[axis];
  }
  const auto is_reduced = [](const Segment& s) { return s.reduced; };
  const auto runs = std::count_if(segments, end, is_reduced);
  Segment* first = std::find_if(segments, end, is_reduced);
  const bool narrow = inner == Inner::wide && runs == 1 && product(first + 1, end) < 8;
  if (runs > 1 || inner == Inner::none || narrow) {
    for (; !std::all_of(first, end, is_reduced); first = std::find_if(segments, end, is_reduced)) {
      moves_.push_back({product(segments, first), first->size, product(first + 1, end)});
      std::rotate(first, first + 1, end);
    }
  }
  const Segment* last = std::find_if_not(first, end, is_reduced);
  outer_ = product(segments, first);
  n_ = product(first, last);
  inner_ = product(last, end);
}

Array Gathered::gather(const Array& x) const {
  Array out = x.plain();
  for (const Shape& move : moves_) out = axis_last(out.reshape(move), 1);
  return out.reshape({outer_, n_, inner_});
}

Array Gathered::restore(const Array& x) const {
  Array out = x;
  for (size_t i = moves_.size(); i-- > 0;) {
    const Shape& move = moves_[i];
    out = axis_back(out.reshape({move[0] * move[2], move[1]}), move, 1);
  }
  return out.reshape(shape_);
}

}  // namespace nonet
