#include "ops/index/device.h"

#include <algorithm>
#include <limits>

#include "array/launch.h"

namespace nonet {

namespace {

Array like(const Shape& shape, DType dtype, const Array& beside) {
  return Array(shape, dtype, Format::plain, beside.device());
}

Array targets_of(const Array& index, int64_t n, int axis, const char* op) {
  const auto [outer, count, inner] = around(index.shape(), axis);
  const Array out = like(index.shape(), DType::int64, index);
  on_device(&IndexDevice::targets, op, out, index, out, outer, n, count, inner);
  return out;
}

// out += factor source at targets, out of any dtype of integers or bool.
void add_integers(const Array& out, const Array& targets, const Array& source, int64_t factor, const char* op) {
  if (out.dtype() != DType::int64 && out.dtype() != DType::int32) {  // no atomic addition: in 32 bits, and back
    const Array wide = out.to(DType::int32);
    add_integers(wide, targets, source.to(DType::int32), factor, op);
    return copy_into(out, wide, op);
  }
  on_device(&IndexDevice::add_integers, op, out, out.dtype(), source, targets, out, factor, source.numel());
}

}  // namespace

void device_add_rows(const Array& from, const Array& out, const Ordered& grouping, const RowSums& sums,
                     const Array* source, const Array* scale, const char* op) {
  const int64_t spans = (sums.count + RowSumsDevice::span - 1) / RowSumsDevice::span;
  if (sums.outer * spans * sums.inner == 0) return;
  const Array partial = like({2 * sums.outer * spans * sums.inner}, DType::float32, out);
  for (const Array* array : {source, scale}) {
    if (array != nullptr) check_same_device(*array, out, op);
  }
  const RowOrder rows = {static_cast<const int64_t*>(grouping.sorted.address()),
                         static_cast<const int64_t*>(grouping.order.address()),
                         source == nullptr ? nullptr : static_cast<const int64_t*>(source->address()),
                         scale == nullptr ? nullptr : static_cast<const float*>(scale->address())};
  on_device(&RowSumsDevice::add_rows, op, out, out.dtype(), from, out, rows, partial, sums);
}

void device_take(const Array& x, const Array& rows, const Array& y, const AxisView& view, const char* op) {
  on_device(&IndexDevice::take, op, y, x, rows, y, view.outer, view.n, rows.numel(), view.inner * item_size(x.dtype()));
}

Array device_gather(const Array& x, const Array& index, int axis) {
  const auto [outer, count, inner] = around(index.shape(), axis);
  const Array y = like(index.shape(), x.dtype(), x);
  on_device(&IndexDevice::gather, "gather", y, x, index, y, static_cast<int>(item_size(x.dtype())), outer, x.dim(axis),
            count, inner);
  return y;
}

void device_scatter(const Array& out, const Array& index, const Array& source, int axis, Scatter mode, const char* op) {
  const auto [outer, count, inner] = around(index.shape(), axis);
  const Array targets = targets_of(index, out.dim(axis), axis, op);
  if (mode == Scatter::set) {
    check(count <= std::numeric_limits<int32_t>::max(), op, ": a device takes less than 2^31 indices along an axis");
    const Array last = like(out.shape(), DType::int32, out);
    fill(last, -1);
    on_device(&IndexDevice::put, op, out, source, targets, last, out, static_cast<int>(item_size(out.dtype())), outer,
              count, inner);
  } else if (is_floating(out.dtype())) {
    const RowSums sums = {.outer = 1, .count = index.numel(), .n = out.numel(), .inner = 1, .add = true};
    device_add_rows(source, out, order(targets, out.numel(), -1, op), sums, nullptr, nullptr, op);
  } else {
    add_integers(out, targets, source, 1, op);
  }
}

void device_index_add(const Array& out, const Array& index, const Array& source, int axis, double scale) {
  constexpr const char* op = "index_add";
  const auto [outer, n, inner] = around(out.shape(), axis);
  if (is_floating(out.dtype())) {
    const RowSums sums = {.outer = outer,
                          .count = index.numel(),
                          .n = n,
                          .inner = inner,
                          .factor = static_cast<float>(scale),
                          .add = true};
    return device_add_rows(source, out, order(index, n, -1, op), sums, nullptr, nullptr, op);
  }
  const Array all = like(source.shape(), DType::int64, out);
  on_device(&IndexDevice::all_rows, op, all, index, all, outer, index.numel(), inner);
  const int64_t factor = out.dtype() == DType::uint8 ? static_cast<uint8_t>(scale) : static_cast<int64_t>(scale);
  add_integers(out, targets_of(all, n, axis, op), source, factor, op);
}

void device_combine(const Array& index, int64_t n, const Array& places) {
  on_device(&IndexDevice::combine, "index", places, index, n, places, places.numel());
}

Array device_nonzero(const Array& mask) {
  const int64_t n = mask.numel();
  const int64_t parts = (n + IndexDevice::part - 1) / IndexDevice::part;
  const Array offsets = like({parts + 1}, DType::int64, mask);
  on_device(&IndexDevice::count, "nonzero", offsets, mask, n, offsets);
  const int64_t all = *offsets.rows(parts, parts + 1).to(Device::cpu).data<int64_t>();
  const Array out = like({all, mask.rank()}, DType::int64, mask);
  IndexShape shape = {mask.rank(), {}};
  std::copy(mask.shape().begin(), mask.shape().end(), shape.sizes);
  on_device(&IndexDevice::positions, "nonzero", out, mask, n, offsets, out, shape);
  return out;
}

Array device_one_hot(const Array& index, int64_t classes, const Shape& shape) {
  const Array y = like(shape, DType::int64, index);
  on_device(&IndexDevice::one_hot, "one_hot", y, index, y, index.numel(), classes);
  return y;
}

}  // namespace nonet
