#include "ops/shape/shape.h"

#include <algorithm>

#include "array/axis.h"
#include "array/launch.h"
#include "ops/shape/triangle.h"

namespace nonet {

namespace {

// Elements of x's storage order, repeated: one new axis of stride 0 in front of `axis`.
Array repeat_axis(const Array& x, int axis, int64_t count) {
  if (count == 1) return x;
  const auto [outer, n, inner] = around(x.shape(), axis);
  const Strided view = {{outer, count, n * inner}, {n * inner, 0, 1}, 0};
  return read_strided(x, view).reshape(x.shape().with(axis, n * count));
}

Shape unit_axes(const Shape& shape, int rank) {
  Shape out;
  for (int axis = shape.rank(); axis < rank; ++axis) out.push_back(1);
  for (const int64_t size : shape) out.push_back(size);
  return out;
}

// The one format of all arrays, else plain.
Format common_format(const std::vector<Array>& xs) {
  for (const Array& x : xs) {
    if (x.format() != xs[0].format()) return Format::plain;
  }
  return xs[0].format();
}

}  // namespace

Array reshape(const Array& x, Shape shape, const char* op) {
  int unknown = -1;
  int64_t known = 1;
  for (int axis = 0; axis < shape.rank(); ++axis) {
    if (shape[axis] != -1) {
      check(shape[axis] >= 0, op, ": sizes must be >= 0, or one of them -1, got ", shape);
      known *= shape[axis];
      continue;
    }
    check(unknown < 0, op, ": at most one size may be -1, got ", shape);
    unknown = axis;
  }
  if (unknown >= 0) {
    check(known > 0 && x.numel() % known == 0, op, ": shape ", shape, " does not hold the ", x.numel(), " elements of ",
          x.shape());
    shape[unknown] = x.numel() / known;
  }
  check(shape.numel() == x.numel(), op, ": shape ", shape, " does not hold the ", x.numel(), " elements of ",
        x.shape());
  return x.reshape(shape);
}

Array permute(const Array& x, const Shape& dims) {
  check(dims.rank() == x.rank(), "permute: dims must name each of the ", x.rank(), " axes once, got ", dims);
  Shape order;
  bool seen[Shape::max_rank] = {};
  for (const int64_t dim : dims) {
    const int axis = normal_axis(dim, x.rank(), "permute");
    check(!seen[axis], "permute: dims must name each of the ", x.rank(), " axes once, got ", dims);
    seen[axis] = true;
    order.push_back(axis);
  }
  return read_strided(x, strided(x).permuted(order));
}

Array expand(const Array& x, const Shape& shape) {
  const int extra = shape.rank() - x.rank();
  check(extra >= 0, "expand: shape must have at least ", x.rank(), " axes, got ", shape);
  const Strided source = strided(x);
  Strided view;
  for (int axis = 0; axis < shape.rank(); ++axis) {
    const int64_t n = axis < extra ? 1 : x.dim(axis - extra);
    const int64_t size = shape[axis] == -1 && axis >= extra ? n : shape[axis];
    check(size >= 0 && (size == n || n == 1), "expand: shape ", x.shape(), " does not broadcast to ", shape);
    view.shape.push_back(size);
    view.strides.push_back(n == 1 ? 0 : source.strides[axis - extra]);
  }
  return view.shape == x.shape() ? x : read_strided(x, view);
}

Array repeat(const Array& x, const Shape& counts) {
  check(counts.rank() >= x.rank(), "repeat: expected at least ", x.rank(), " counts, one per axis, got ", counts);
  Array out = x.reshape(unit_axes(x.shape(), counts.rank()));
  for (int axis = counts.rank(); axis-- > 0;) {
    check(counts[axis] >= 0, "repeat: counts must be >= 0, got ", counts);
    out = repeat_axis(out, axis, counts[axis]);
  }
  return out;
}

Array cat(const std::vector<Array>& xs, int64_t axis) {
  check(!xs.empty(), "cat: expected at least one tensor");
  const Shape& first = xs[0].shape();
  const int a = normal_axis(axis, first.rank(), "cat");
  int64_t total = 0;
  for (size_t i = 0; i < xs.size(); ++i) {
    const Shape& shape = xs[i].shape();
    check(shape.rank() == first.rank() && shape.with(a, 0) == first.with(a, 0), "cat: tensors must agree off axis ", a,
          ", tensor ", i, " has shape ", shape, ", the first ", first);
    check<TypeError>(xs[i].dtype() == xs[0].dtype(), "cat: tensors must have one dtype, got ", xs[0].dtype(), " and ",
                     xs[i].dtype());
    check_same_device(xs[0], xs[i], "cat");
    total += shape[a];
  }
  if (xs.size() == 1) return xs[0];
  const Array out(first.with(a, total), xs[0].dtype(), common_format(xs), xs[0].device());
  int64_t begin = 0;
  for (const Array& x : xs) {
    const Array same = x.to_format(out.format());
    const int s = stored_axis(out.format(), a);
    write_strided(as_stored(out), strided(as_stored(out)).sliced(s, begin, x.dim(a)), as_stored(same));
    begin += x.dim(a);
  }
  return out;
}

std::vector<Array> split(const Array& x, const std::vector<int64_t>& sizes, int64_t axis) {
  const int a = normal_axis(axis, x.rank(), "split");
  int64_t total = 0;
  for (const int64_t size : sizes) {
    check(size >= 0, "split: sizes must be >= 0, got ", size);
    total += size;
  }
  check(total == x.dim(a), "split: sizes must add up to ", x.dim(a), ", the size of axis ", a, ", got ", total);
  std::vector<Array> out;
  out.reserve(sizes.size());
  int64_t begin = 0;
  for (const int64_t size : sizes) {
    out.push_back(narrow(x, a, begin, size));
    begin += size;
  }
  return out;
}

Array split_backward(const std::vector<Array>& pieces, const std::vector<int64_t>& sizes, int64_t axis,
                     const Shape& shape, DType dtype) {
  const int a = normal_axis(axis, shape.rank(), "split");
  Device device = Device::cpu;
  for (const Array& piece : pieces) {
    if (piece.defined()) device = piece.device();
  }
  std::vector<Array> all;
  for (size_t i = 0; i < sizes.size(); ++i) {
    const bool given = i < pieces.size() && pieces[i].defined();
    all.push_back(given ? pieces[i] : zeros(shape.with(a, sizes[i]), dtype, device));
  }
  return all.empty() ? zeros(shape, dtype, device) : cat(all, a);
}

Array narrow(const Array& x, int64_t axis, int64_t start, int64_t length) {
  const int a = normal_axis(axis, x.rank(), "narrow");
  const int64_t n = x.dim(a);
  const int64_t begin = start < 0 ? start + n : start;
  check<IndexError>(begin >= 0 && length >= 0 && begin + length <= n, "narrow: start ", start, " and length ", length,
                    " leave axis ", a, " of size ", n);
  if (length == n) return x;
  const Array stored = as_stored(x);
  const Strided view = strided(stored).sliced(stored_axis(x.format(), a), begin, length);
  return from_stored(read_strided(stored, view), x.format());
}

Array slice_backward(const Array& dy, const Shape& shape, const Strided& view) {
  const Array dx = zeros(shape, dy.dtype(), dy.device());
  write_strided(dx, view, dy.reshape(view.shape));
  return dx;
}

Array flip(const Array& x, const Shape& dims) {
  Strided view = strided(x);
  bool seen[Shape::max_rank] = {};
  for (const int64_t dim : dims) {
    const int axis = normal_axis(dim, x.rank(), "flip");
    check(!seen[axis], "flip: dims must differ, got ", dims);
    seen[axis] = true;
    if (x.dim(axis) > 0) view = view.sliced(axis, x.dim(axis) - 1, x.dim(axis), -1);
  }
  return read_strided(x, view);
}

Array roll(const Array& x, const Shape& shifts, const Shape& dims) {
  if (dims.rank() == 0 && shifts.rank() == 1) return roll(x.reshape({x.numel()}), shifts, {0}).reshape(x.shape());
  check(shifts.rank() == dims.rank(), "roll: expected one shift per axis, got shifts ", shifts, " and dims ", dims);
  Array out = x;
  for (int i = 0; i < dims.rank(); ++i) {
    const int axis = normal_axis(dims[i], x.rank(), "roll");
    const int64_t n = x.dim(axis);
    const int64_t shift = n == 0 ? 0 : (shifts[i] % n + n) % n;
    if (shift == 0) continue;
    out = cat({narrow(out, axis, n - shift, shift), narrow(out, axis, 0, n - shift)}, axis);
  }
  return out;
}

Array triangle(const Array& x, int64_t k, bool lower) {
  const char* op = lower ? "tril" : "triu";
  check(x.rank() >= 2, op, ": input must have at least 2 axes, got ", x.shape());
  const Array source = x.plain();
  Array out(x.shape(), x.dtype(), Format::plain, x.device());
  const int64_t m = x.dim(x.rank() - 2);
  if (x.device() != Device::cpu) {
    const int size = static_cast<int>(item_size(x.dtype()));
    on_device(&TriangleDevice::keep, op, out, source, out, size, x.numel(), m, x.shape().back(), k, lower);
    return out;
  }
  const int64_t row_bytes = x.shape().back() * item_size(x.dtype());
  const int64_t rows = x.numel() == 0 ? 0 : x.numel() / x.shape().back();
  const char* from = source.raw<char>();
  char* to = out.raw<char>();
  parallel_for(rows, 1 + 65536 / (row_bytes + 1), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      // Columns [0, edge) are those up to the diagonal (lower) or before it.
      const int64_t edge =
          std::clamp<int64_t>(row % m + k + (lower ? 1 : 0), 0, x.shape().back()) * item_size(x.dtype());
      const int64_t first = row * row_bytes;
      const int64_t keep = lower ? 0 : edge;
      const int64_t kept = lower ? edge : row_bytes - edge;
      std::memset(to + first, 0, row_bytes);
      std::memcpy(to + first + keep, from + first + keep, kept);
    }
  });
  return out;
}

Strided diagonal_view(const Shape& shape, int64_t k, int64_t axis1, int64_t axis2) {
  const int a = normal_axis(axis1, shape.rank(), "diagonal");
  const int b = normal_axis(axis2, shape.rank(), "diagonal");
  check(a != b, "diagonal: the two axes must differ, got ", axis1, " and ", axis2);
  const int64_t rows = shape[a] + std::min<int64_t>(k, 0);
  const int64_t columns = shape[b] - std::max<int64_t>(k, 0);
  const Shape strides = strided(shape).strides;
  Strided view;
  for (int axis = 0; axis < shape.rank(); ++axis) {
    if (axis == a || axis == b) continue;
    view.shape.push_back(shape[axis]);
    view.strides.push_back(strides[axis]);
  }
  view.shape.push_back(std::max<int64_t>(std::min(rows, columns), 0));
  view.strides.push_back(strides[a] + strides[b]);
  view.offset = std::max<int64_t>(-k, 0) * strides[a] + std::max<int64_t>(k, 0) * strides[b];
  return view;
}

}  // namespace nonet
