#include "ops/pad/pad.h"

#include <algorithm>
#include <cstring>
#include <iterator>

#include "array/launch.h"
#include "array/strided.h"

namespace nonet {

namespace {

struct Axis {
  int64_t n;               // source size
  std::vector<int64_t> s;  // per output position the source position, or -1
  int64_t begin;           // s(o) = o - low for begin <= o < end
  int64_t end;
};

// The axes with their sources.
struct Plan {
  std::vector<Axis> axes;
  int64_t inner = 1;

  Plan(const PadAxes& from, PadMode mode) : inner(from.inner) {
    for (int a = 0; a < from.rank; ++a) {
      const auto [n, size, low] = from.axes[a];
      Axis axis = {n, std::vector<int64_t>(size), 0, 0};
      for (int64_t o = 0; o < size; ++o) axis.s[o] = pad_source(o - low, n, mode);
      axis.begin = std::clamp<int64_t>(low, 0, size);
      axis.end = std::clamp<int64_t>(low + n, axis.begin, size);
      axes.push_back(axis);
    }
  }
  int64_t rows() const {
    int64_t out = 1;
    for (size_t a = 0; a + 1 < axes.size(); ++a) out *= static_cast<int64_t>(axes[a].s.size());
    return out;
  }
  // The source row of an output row, or -1 where it is padding throughout.
  int64_t source_row(int64_t row) const {
    int64_t out = 0;
    int64_t stride = 1;
    for (size_t a = axes.size() - 1; a-- > 0;) {
      const int64_t size = static_cast<int64_t>(axes[a].s.size());
      const int64_t s = axes[a].s[row % size];
      if (s < 0) return -1;
      row /= size;
      out += s * stride;
      stride *= axes[a].n;
    }
    return out;
  }
};

// low and high per axis of the shape.
std::vector<int64_t> per_axis(const Shape& shape, const std::vector<int64_t>& pads, PadMode mode) {
  const int count = static_cast<int>(pads.size()) / 2;
  check(pads.size() % 2 == 0, "pad: pad must hold two numbers per axis, got ", pads.size());
  check(count <= shape.rank(), "pad: pad names ", count, " axes, input has shape ", shape);
  std::vector<int64_t> out(2 * shape.rank(), 0);
  for (int i = 0; i < count; ++i) {
    const int axis = shape.rank() - 1 - i;
    const int64_t n = shape[axis];
    const int64_t low = pads[2 * i];
    const int64_t high = pads[2 * i + 1];
    out[2 * axis] = low;
    out[2 * axis + 1] = high;
    check(n + low + high >= 0, "pad: padding ", low, " and ", high, " leaves nothing of axis ", axis, " of size ", n);
    if (mode == PadMode::constant || (low == 0 && high == 0)) continue;
    check(n + low + high > 0 && n > 0, "pad: padding ", low, " and ", high, " leaves nothing of axis ", axis,
          " of size ", n);
    check(mode != PadMode::reflect || (low < n && high < n), "pad: reflect padding must be smaller than the axis, got ",
          low, " and ", high, " for axis ", axis, " of size ", n);
    check(mode != PadMode::circular || (low <= n && high <= n), "pad: circular padding must not exceed the axis, got ",
          low, " and ", high, " for axis ", axis, " of size ", n);
  }
  return out;
}

// stored: the shape in the order of memory; pads: low and high per axis of it.
PadAxes axes_of(const Shape& stored, const std::vector<int64_t>& pads) {
  static_assert(std::size(decltype(PadAxes::axes){}) == Shape::max_rank + 1);
  PadAxes out = {};
  int64_t whole = 1;
  for (int axis = 0; axis < stored.rank(); ++axis) {
    const int64_t low = pads[2 * axis];
    const int64_t high = pads[2 * axis + 1];
    if (low == 0 && high == 0) {
      whole *= stored[axis];
      continue;
    }
    if (out.rank == 0 || whole != 1) out.axes[out.rank++] = {whole, whole, 0};
    out.axes[out.rank++] = {stored[axis], stored[axis] + low + high, low};
    whole = 1;
  }
  out.inner = whole;
  return out;
}

template <class T>
void pad_rows(const T* x, T* y, const Plan& plan, T value) {
  const Axis& last = plan.axes.back();
  const int64_t inner = plan.inner;
  const int64_t size = static_cast<int64_t>(last.s.size());
  const auto copy = [&](const T* from, T* to, int64_t o) {
    if (last.s[o] < 0) {
      std::fill_n(to + o * inner, inner, value);
    } else {
      std::copy_n(from + last.s[o] * inner, inner, to + o * inner);
    }
  };
  parallel_for(plan.rows(), 1 + 16384 / (1 + size * inner), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      T* to = y + row * size * inner;
      const int64_t source = plan.source_row(row);
      if (source < 0) {
        std::fill_n(to, size * inner, value);
        continue;
      }
      const T* from = x + source * last.n * inner;
      for (int64_t o = 0; o < last.begin; ++o) copy(from, to, o);
      if (last.begin < last.end) {
        std::copy_n(from + last.s[last.begin] * inner, (last.end - last.begin) * inner, to + last.begin * inner);
      }
      for (int64_t o = last.end; o < size; ++o) copy(from, to, o);
    }
  });
}

// The first axis is never padded: its positions are independent.
void add_rows(const float* dy, float* dx, const Plan& plan) {
  const Axis& last = plan.axes.back();
  const int64_t inner = plan.inner;
  const int64_t size = static_cast<int64_t>(last.s.size());
  const int64_t images = plan.axes[0].n;
  const int64_t rows = images == 0 ? 0 : plan.rows() / images;
  parallel_for(images, 1 + 16384 / (1 + rows * size * inner), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin * rows; row < end * rows; ++row) {
      const float* from = dy + row * size * inner;
      float* to = dx + plan.source_row(row) * last.n * inner;
      for (int64_t o = 0; o < size; ++o) {
        float* at = to + last.s[o] * inner;
        for (int64_t i = 0; i < inner; ++i) at[i] += from[o * inner + i];
      }
    }
  });
}

// Pads of the logical axes in the order of memory.
std::vector<int64_t> stored_pads(const std::vector<int64_t>& pads, Format format) {
  std::vector<int64_t> out = pads;
  for (int axis = 0; axis < static_cast<int>(pads.size()) / 2; ++axis) {
    const int s = stored_axis(format, axis);
    out[2 * s] = pads[2 * axis];
    out[2 * s + 1] = pads[2 * axis + 1];
  }
  return out;
}

Shape padded_shape(const Shape& shape, const std::vector<int64_t>& pads) {
  Shape out = shape;
  for (int axis = 0; axis < shape.rank(); ++axis) out[axis] += pads[2 * axis] + pads[2 * axis + 1];
  return out;
}

Array zero(const Shape& shape, Format format) {
  const Array out(shape, DType::float32, format);
  std::fill_n(out.raw<float>(), out.numel(), 0.f);
  return out;
}

}  // namespace

PadMode pad_mode(const std::string& name) {
  if (name == "reflect") return PadMode::reflect;
  if (name == "replicate") return PadMode::replicate;
  if (name == "circular") return PadMode::circular;
  check(name == "constant", "pad: mode must be constant, reflect, replicate or circular, got ", name);
  return PadMode::constant;
}

Array pad_forward(const Array& x, const std::vector<int64_t>& pads, PadMode mode, double value) {
  const std::vector<int64_t> logical = per_axis(x.shape(), pads, mode);
  const PadAxes axes = axes_of(as_stored(x).shape(), stored_pads(logical, x.format()));
  if (axes.rank == 0) return x;
  const Array y(padded_shape(x.shape(), logical), x.dtype(), x.format(), x.device());
  if (y.numel() == 0) return y;
  const Array element({1}, x.dtype());
  fill(element, value);
  if (x.device() != Device::cpu) {
    uint64_t bits = 0;
    std::memcpy(&bits, element.raw<char>(), item_size(x.dtype()));
    on_device(&PadDevice::forward, "pad", y, mode, x, y, static_cast<int>(item_size(x.dtype())), bits, axes);
    return y;
  }
  const Plan plan(axes, mode);
  switch (item_size(x.dtype())) {
    case 8:
      pad_rows(x.raw<uint64_t>(), y.raw<uint64_t>(), plan, *element.raw<uint64_t>());
      break;
    case 4:
      pad_rows(x.raw<uint32_t>(), y.raw<uint32_t>(), plan, *element.raw<uint32_t>());
      break;
    case 2:
      pad_rows(x.raw<uint16_t>(), y.raw<uint16_t>(), plan, *element.raw<uint16_t>());
      break;
    default:
      pad_rows(x.raw<uint8_t>(), y.raw<uint8_t>(), plan, *element.raw<uint8_t>());
  }
  return y;
}

Array pad_backward(const Array& dy, const Shape& shape, const std::vector<int64_t>& pads, PadMode mode) {
  if (mode == PadMode::constant) {
    std::vector<int64_t> opposite = pads;
    for (int64_t& size : opposite) size = -size;
    return pad_forward(dy, opposite, mode, 0);
  }
  const std::vector<int64_t> logical = per_axis(shape, pads, mode);
  check_shape(dy, padded_shape(shape, logical), "pad", "gradient", "[like the output]");
  const auto axes_in = [&](const Array& dx) {
    return axes_of(as_stored(dx).shape(), stored_pads(logical, dx.format()));
  };
  if (dy.device() != Device::cpu) {
    const Array dx(shape, dy.dtype(), dy.format(), dy.device());
    const PadAxes axes = axes_in(dx);
    if (axes.rank == 0) return dy;
    on_device(&PadDevice::backward, "pad", dx, mode, dy.dtype(), dy, dx, axes);
    return dx;
  }
  const Array dx = zero(shape, dy.format());
  const PadAxes axes = axes_in(dx);
  if (axes.rank == 0) return dy;
  add_rows(dy.to(DType::float32).raw<float>(), dx.raw<float>(), Plan(axes, mode));
  return dx.to(dy.dtype());
}

}  // namespace nonet
