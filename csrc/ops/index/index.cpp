#include "ops/index/index.h"

#include <algorithm>

#include "array/axis.h"
#include "array/strided.h"
#include "ops/index/device.h"
#include "ops/index/rows.h"

namespace nonet {

namespace {

// The indexed axes as one: [outer, n, inner]; `order` brings them to the front where they are not neighbours.
struct Layout {
  int first = 0;
  int count = 0;
  Shape order;  // empty: the axes stay
  Shape shape;  // after reordering
  AxisView view = {};
};

Layout layout(const Shape& shape, const std::vector<bool>& indexed) {
  Layout out;
  int last = -1;
  for (int axis = 0; axis < shape.rank(); ++axis) {
    if (!indexed[axis]) continue;
    if (out.count++ == 0) out.first = axis;
    last = axis;
  }
  out.shape = shape;
  if (last - out.first + 1 != out.count) {
    for (const bool wanted : {true, false}) {
      for (int axis = 0; axis < shape.rank(); ++axis) {
        if (indexed[axis] == wanted) out.order.push_back(axis);
      }
    }
    out.first = 0;
    for (int i = 0; i < shape.rank(); ++i) out.shape[i] = shape[static_cast<int>(out.order[i])];
  }
  const int end = out.first + out.count;
  out.view = {out.shape.product(0, out.first), out.shape.product(out.first, end), out.shape.product(end, shape.rank())};
  return out;
}

template <class T>
void add_rows_of(const Array& out, const Array& from, const int64_t* rows, const AxisView& view, int64_t count,
                 T scale) {
  T* y = out.data<T>();
  const T* x = from.data<T>();
  for (int64_t o = 0; o < view.outer; ++o) {
    for (int64_t j = 0; j < count; ++j) {
      T* to = y + (o * view.n + rows[j]) * view.inner;
      const T* source = x + (o * count + j) * view.inner;
      for (int64_t i = 0; i < view.inner; ++i) to[i] = static_cast<T>(to[i] + source[i] * scale);
    }
  }
}

// x narrowed to the sizes of `shape` off the axis.
Strided region(const Shape& x, const Shape& shape, int axis, const char* op, const char* what) {
  check(x.rank() == shape.rank(), op, ": index must have the ", x.rank(), " axes of ", what, ", got ", shape);
  Strided out = strided(x);
  for (int i = 0; i < x.rank(); ++i) {
    if (i == axis) continue;
    check(shape[i] <= x[i], op, ": index must not exceed ", what, " ", x, " off axis ", axis, ", got ", shape);
    out = out.sliced(i, 0, shape[i]);
  }
  return out;
}

// out[o, index, i] = or += source[o, k, i]; a column (o, i) belongs to one thread.
template <class T, class Put>
void put_columns(const Array& out, const Array& index, const Array& source, int axis, const Put& put) {
  const auto [outer, count, inner] = around(index.shape(), axis);
  const int64_t n = out.dim(axis);
  T* y = out.raw<T>();
  const T* x = source.raw<T>();
  const int64_t* p = index.data<int64_t>();
  const int64_t part = 64;
  const int64_t parts = (inner + part - 1) / part;
  parallel_for(outer * parts, 1 + 16384 / (1 + count * std::min(part, inner)), [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      const int64_t o = block / parts;
      const int64_t i0 = block % parts * part;
      const int64_t i1 = std::min(i0 + part, inner);
      for (int64_t k = 0; k < count; ++k) {
        const int64_t row = (o * count + k) * inner;
        for (int64_t i = i0; i < i1; ++i) put(y[(o * n + p[row + i]) * inner + i], x[row + i]);
      }
    }
  });
}

template <class T>
void gather_elements(const Array& x, const Array& index, const Array& y, int axis) {
  const auto [outer, count, inner] = around(index.shape(), axis);
  const int64_t n = x.dim(axis);
  const T* from = x.raw<T>();
  T* to = y.raw<T>();
  const int64_t* p = index.data<int64_t>();
  parallel_for(outer * count, 1 + 16384 / (inner + 1), [&, inner = inner, count = count](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const T* table = from + row / count * n * inner;
      for (int64_t i = 0; i < inner; ++i) to[row * inner + i] = table[p[row * inner + i] * inner + i];
    }
  });
}

void put(const Array& out, const Array& index, const Array& source, int axis, Scatter mode) {
  if (mode == Scatter::set) {
    const auto set = [](auto& y, auto x) { y = x; };
    switch (item_size(out.dtype())) {
      case 8:
        return put_columns<uint64_t>(out, index, source, axis, set);
      case 4:
        return put_columns<uint32_t>(out, index, source, axis, set);
      case 2:
        return put_columns<uint16_t>(out, index, source, axis, set);
      default:
        return put_columns<uint8_t>(out, index, source, axis, set);
    }
  }
  switch (out.dtype()) {
    case DType::int64:
      return put_columns<int64_t>(out, index, source, axis, [](int64_t& y, int64_t x) { y += x; });
    case DType::int32:
      return put_columns<int32_t>(out, index, source, axis, [](int32_t& y, int32_t x) { y += x; });
    case DType::uint8:
      return put_columns<uint8_t>(out, index, source, axis, [](uint8_t& y, uint8_t x) { y += x; });
    case DType::boolean:
      return put_columns<uint8_t>(out, index, source, axis, [](uint8_t& y, uint8_t x) { y |= x; });
    default:
      return put_columns<float>(out, index, source, axis, [](float& y, float x) { y += x; });
  }
}

}  // namespace

Indexed index_forward(const Array& x, const std::vector<Array>& indices) {
  const int rank = x.rank();
  check<IndexError>(static_cast<int>(indices.size()) <= rank, "index: ", indices.size(), " indices for shape ",
                    x.shape());
  std::vector<bool> indexed(rank, false);
  Shape shape;
  for (size_t axis = 0; axis < indices.size(); ++axis) {
    if (!indices[axis].defined()) continue;
    indexed[axis] = true;
    shape = broadcast_shapes(shape, indices[axis].shape(), "index");
  }
  const bool on_cpu = x.device() == Device::cpu;
  const Array places = zeros(shape, DType::int64, x.device());
  for (size_t axis = 0; axis < indices.size(); ++axis) {
    if (!indices[axis].defined()) continue;
    const int64_t n = x.dim(static_cast<int>(axis));
    const Array index = checked_index(indices[axis], n, true, "index", static_cast<int>(axis));
    Strided view = {shape, shape, 0};
    const Strided source = strided(index);
    for (int i = 0; i < shape.rank(); ++i) {
      const int j = i - (shape.rank() - index.rank());
      view.strides[i] = j < 0 || index.dim(j) == 1 ? 0 : source.strides[j];
    }
    const Array all = read_strided(index, view);
    if (!on_cpu) {
      device_combine(all, n, places);
      continue;
    }
    check_same_device(x, all, "index");
    int64_t* p = places.data<int64_t>();
    const int64_t* q = all.data<int64_t>();
    for (int64_t j = 0; j < places.numel(); ++j) p[j] = p[j] * n + q[j];
  }
  const Layout at = layout(x.shape(), indexed);
  const Array source = at.order.rank() > 0 ? read_strided(x, strided(x).permuted(at.order)) : x.plain();
  Shape out(at.shape.begin(), at.shape.begin() + at.first);
  for (const int64_t size : shape) out.push_back(size);
  for (int axis = at.first + at.count; axis < rank; ++axis) out.push_back(at.shape[axis]);
  const Array y(out, x.dtype(), Format::plain, x.device());
  if (!on_cpu) {
    device_take(source, places, y, at.view, "index");
    return {y, places};
  }
  take_rows(source.raw<char>(), places.data<int64_t>(), y.raw<char>(), at.view.outer, at.view.n, places.numel(),
            at.view.inner * item_size(x.dtype()));
  return {y, places};
}

Array index_backward(const Array& dy, const Array& places, const Shape& shape, const std::vector<bool>& indexed) {
  const Layout at = layout(shape, indexed);
  const auto [outer, n, inner] = at.view;
  const bool on_cpu = dy.device() == Device::cpu;
  const Array from = on_cpu ? dy.plain().to(DType::float32) : dy.plain();
  const Array dx = zeros(at.shape, from.dtype(), dy.device());
  if (on_cpu) {
    add_rows(group_rows(places.data<int64_t>(), places.numel(), n), {.from = from.data<float>(),
                                                                     .out = dx.data<float>(),
                                                                     .outer = outer,
                                                                     .count = places.numel(),
                                                                     .n = n,
                                                                     .inner = inner,
                                                                     .add = false});
  } else {
    const RowSums sums = {.outer = outer, .count = places.numel(), .n = n, .inner = inner};
    device_add_rows(from, dx, order(places, n, -1, "index"), sums, nullptr, nullptr, "index");
  }
  if (at.order.rank() == 0) return dx.to(dy.dtype());
  Shape back = at.order;
  for (int i = 0; i < at.order.rank(); ++i) back[static_cast<int>(at.order[i])] = i;
  return read_strided(dx, strided(dx).permuted(back)).to(dy.dtype());
}

Array gather(const Array& x, int64_t axis, const Array& index) {
  if (x.rank() == 0) return gather(x.reshape({1}), axis, index.reshape({index.numel()})).reshape(index.shape());
  const int a = normal_axis(axis, x.rank(), "gather");
  const Array source = read_strided(x.plain(), region(x.shape(), index.shape(), a, "gather", "input"));
  const Array p = checked_index(index, x.dim(a), false, "gather", a);
  if (x.device() != Device::cpu) return device_gather(source, p, a);
  check_same_device(x, p, "gather");
  const Array y(index.shape(), x.dtype());
  switch (item_size(x.dtype())) {
    case 8:
      gather_elements<uint64_t>(source, p, y, a);
      break;
    case 4:
      gather_elements<uint32_t>(source, p, y, a);
      break;
    case 2:
      gather_elements<uint16_t>(source, p, y, a);
      break;
    default:
      gather_elements<uint8_t>(source, p, y, a);
  }
  return y;
}

Array scatter(const Array& x, int64_t axis, const Array& index, const Array& source, Scatter mode) {
  const char* op = mode == Scatter::add ? "scatter_add" : "scatter";
  if (x.rank() == 0) {
    const Shape one = {index.numel()};
    return scatter(x.reshape({1}), axis, index.reshape(one), source.reshape(one), mode).reshape({});
  }
  const bool on_cpu = x.device() == Device::cpu;
  if (on_cpu && x.dtype() == DType::bfloat16 && mode == Scatter::add) {
    return scatter(x.to(DType::float32), axis, index, source.to(DType::float32), mode).to(x.dtype());
  }
  check<TypeError>(x.dtype() == source.dtype(), op, ": src must have the dtype of input, ", x.dtype(), ", got ",
                   source.dtype());
  const int a = normal_axis(axis, x.rank(), op);
  const Array out = x.plain().clone();
  const Strided target = region(x.shape(), index.shape(), a, op, "input");
  Strided given = region(source.shape(), index.shape(), a, op, "src");
  check(index.dim(a) <= source.dim(a), op, ": index must not exceed src ", source.shape(), ", got ", index.shape());
  given = given.sliced(a, 0, index.dim(a));
  const Array p = checked_index(index, x.dim(a), false, op, a);
  if (index.numel() == 0) return out;
  const Array part = target.shape == x.shape() ? out : read_strided(out, target).clone();
  const Array from = read_strided(source.plain(), given);
  if (on_cpu) {
    check_same_device(x, from, op);
    check_same_device(x, p, op);
    put(part, p, from, a, mode);
  } else {
    device_scatter(part, p, from, a, mode, op);
  }
  if (!(target.shape == x.shape())) write_strided(out, target, part);
  return out;
}

Array index_add(const Array& x, int64_t axis, const Array& index, const Array& source, double scale) {
  const bool on_cpu = x.device() == Device::cpu;
  if (on_cpu && x.dtype() == DType::bfloat16) {
    return index_add(x.to(DType::float32), axis, index, source.to(DType::float32), scale).to(x.dtype());
  }
  const int a = normal_axis(axis, x.rank(), "index_add");
  check_dtype(source, x.dtype(), "index_add", "source");
  check(index.rank() <= 1, "index_add: index must have shape [count], got ", index.shape());
  check_shape(source, x.shape().with(a, index.numel()), "index_add", "source", "[input, with count rows]");
  check<TypeError>(x.dtype() != DType::boolean, "index_add: input must hold numbers, got bool");
  const Array p = checked_index(index, x.dim(a), false, "index_add", a);
  const Array out = x.plain().clone();
  const AxisView view = around(x.shape(), a);
  const Array from = source.plain();
  if (!on_cpu) {
    device_index_add(out, p, from, a, scale);
    return out;
  }
  check_same_device(x, from, "index_add");
  check_same_device(x, p, "index_add");
  const int64_t* rows = p.data<int64_t>();
  switch (x.dtype()) {
    case DType::int64:
      add_rows_of<int64_t>(out, from, rows, view, p.numel(), static_cast<int64_t>(scale));
      return out;
    case DType::int32:
      add_rows_of<int32_t>(out, from, rows, view, p.numel(), static_cast<int32_t>(scale));
      return out;
    case DType::uint8:
      add_rows_of<uint8_t>(out, from, rows, view, p.numel(), static_cast<uint8_t>(scale));
      return out;
    default:
      break;
  }
  const std::vector<float> scales(scale == 1 ? 0 : p.numel(), static_cast<float>(scale));
  add_rows(group_rows(rows, p.numel(), view.n), {.from = from.data<float>(),
                                                 .out = out.data<float>(),
                                                 .outer = view.outer,
                                                 .count = p.numel(),
                                                 .n = view.n,
                                                 .inner = view.inner,
                                                 .scale = scales.empty() ? nullptr : scales.data()});
  return out;
}

Array nonzero(const Array& x) {
  const Array mask = x.plain().to(DType::boolean);
  if (x.device() != Device::cpu) return device_nonzero(mask);
  const bool* m = mask.data<bool>();
  const int64_t count = std::count(m, m + mask.numel(), true);
  const int rank = x.rank();
  const Array out({count, rank}, DType::int64);
  int64_t* p = out.data<int64_t>();
  for (int64_t flat = 0; flat < mask.numel(); ++flat) {
    if (!m[flat]) continue;
    int64_t rest = flat;
    for (int axis = rank; axis-- > 0;) {
      p[axis] = rest % x.dim(axis);
      rest /= x.dim(axis);
    }
    p += rank;
  }
  return out;
}

Array one_hot(const Array& index, int64_t classes) {
  check<TypeError>(index.dtype() == DType::int64 || index.dtype() == DType::int32,
                   "one_hot: input must be int64 or int32, got ", index.dtype());
  const Array plain = index.plain().to(DType::int64);
  if (classes == -1) {
    check(plain.numel() > 0, "one_hot: num_classes is needed for an empty input");
    const Array here = plain.to(Device::cpu);
    const int64_t* p = here.data<int64_t>();
    classes = std::max<int64_t>(*std::max_element(p, p + here.numel()), 0) + 1;
  }
  check(classes > 0, "one_hot: num_classes must be > 0 (or -1: the largest index + 1), got ", classes);
  checked_index(plain, classes, false, "one_hot", -1);
  Shape shape = index.shape();
  shape.push_back(classes);
  if (index.device() != Device::cpu) return device_one_hot(plain, classes, shape);
  const Array out = zeros(shape, DType::int64);
  const int64_t* p = plain.data<int64_t>();
  int64_t* y = out.data<int64_t>();
  for (int64_t j = 0; j < plain.numel(); ++j) y[j * classes + p[j]] = 1;
  return out;
}

}  // namespace nonet
