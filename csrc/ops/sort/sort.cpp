#include "ops/sort/sort.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "array/axis.h"
#include "array/launch.h"
#include "ops/sort/plan.h"
#include "ops/sort/sorting.h"

namespace nonet {

namespace {

// An unsigned integer that orders like the element: for floats the sign is moved out of the way, NaN goes last and the
// two zeros are one.
template <class T>
uint64_t key(T x) {
  if constexpr (std::is_same_v<T, bfloat16>) {
    return key(to_float(x));
  } else if constexpr (std::is_same_v<T, float>) {
    if (x != x) return 0xffffffffu;
    const float canonical = x == 0.f ? 0.f : x;
    uint32_t bits;
    std::memcpy(&bits, &canonical, 4);
    return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
  } else if constexpr (std::is_same_v<T, int64_t>) {
    return static_cast<uint64_t>(x) ^ (uint64_t{1} << 63);
  } else {
    return static_cast<uint32_t>(static_cast<int64_t>(x) + (int64_t{1} << 31));
  }
}

// Orders the first k of the items; an item holds its position, so no two are equal and any algorithm is stable.
template <class Item>
void order(std::vector<Item>& items, int64_t k) {
  const auto n = static_cast<int64_t>(items.size());
  if (k < n) std::nth_element(items.begin(), items.begin() + k, items.end());
  std::sort(items.begin(), items.begin() + k);
}

template <class T>
void sort_row(const T* x, T* values, int64_t* positions, int64_t n, int64_t k, bool descending) {
  if (sizeof(T) <= 4 && n <= std::numeric_limits<uint32_t>::max()) {
    std::vector<uint64_t> items(n);  // key in the upper half, position in the lower
    for (int64_t i = 0; i < n; ++i) {
      const uint64_t up = key(x[i]);
      items[i] = (descending ? up ^ 0xffffffffu : up) << 32 | static_cast<uint64_t>(i);
    }
    order(items, k);
    for (int64_t i = 0; i < k; ++i) positions[i] = static_cast<int64_t>(items[i] & 0xffffffffu);
  } else {
    std::vector<std::pair<uint64_t, int64_t>> items(n);
    for (int64_t i = 0; i < n; ++i) items[i] = {descending ? ~key(x[i]) : key(x[i]), i};
    order(items, k);
    for (int64_t i = 0; i < k; ++i) positions[i] = items[i].second;
  }
  for (int64_t i = 0; i < k; ++i) values[i] = x[positions[i]];
}

}  // namespace

Sorted sort(const Array& x, int64_t axis, int64_t k, bool descending, const char* op) {
  const Shape shape = x.rank() == 0 ? Shape{1} : x.shape();
  const int a = normal_axis(axis, shape.rank(), op);
  if (k < 0) k = shape[a];
  check(k <= shape[a], op, ": k must be in [0, ", shape[a], "], got ", k);
  const Array rows = axis_last(x.plain().reshape(shape), a);
  const int64_t count = rows.dim(0);
  const int64_t n = rows.dim(1);
  const Array values({count, k}, x.dtype(), Format::plain, x.device());
  const Array positions({count, k}, DType::int64, Format::plain, x.device());
  const Shape out = x.rank() == 0 && k == 1 ? Shape{} : shape.with(a, k);
  const auto shaped = [&](const Array& y) { return axis_back(y, shape.with(a, k), a).reshape(out); };
  if (x.device() != Device::cpu) {
    check(n <= std::numeric_limits<uint32_t>::max(), op, ": a device sorts less than 2^32 elements, got ", n);
    const SortPlan plan = sort_plan(x.dtype() == DType::int64 ? 8 : 4, count, n, k);
    const Array scratch({plan.bytes}, DType::uint8, Format::plain, x.device());
    on_device(&SortDevice::sort, op, values, x.dtype(), rows, values, positions, count, n, k, descending, scratch);
    return {shaped(values), shaped(positions)};
  }
  visit(x.dtype(), [&](auto type) {
    using T = typename decltype(type)::type;
    parallel_for(count, 1 + 1024 / (n + 1), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        sort_row(rows.data<T>() + row * n, values.data<T>() + row * k, positions.data<int64_t>() + row * k, n, k,
                 descending);
      }
    });
  });
  return {shaped(values), shaped(positions)};
}

Array place_along(const Array& dy, const Array& positions, const Shape& shape, int64_t axis) {
  const Array dx = zeros(shape, dy.dtype(), dy.device());
  const auto [outer, n, inner] =
      shape.rank() == 0 ? AxisView{1, 1, 1} : around(shape, normal_axis(axis, shape.rank(), "place_along"));
  if (dy.numel() == 0) return dx;
  const int64_t k = dy.numel() / (outer * inner);
  const Array from = dy.plain();
  if (dy.device() != Device::cpu) {
    on_device(&SortDevice::place, "sort", dx, static_cast<int>(item_size(dy.dtype())), from, positions, dx, outer, k, n,
              inner);
    return dx;
  }
  const int64_t* index = positions.data<int64_t>();
  visit(dy.dtype(), [&, outer = outer, n = n, inner = inner](auto type) {
    using T = typename decltype(type)::type;
    const T* d = from.data<T>();
    T* out = dx.data<T>();
    parallel_for(outer, 1 + 16384 / (k * inner + 1), [&](int64_t begin, int64_t end) {
      for (int64_t o = begin; o < end; ++o) {
        for (int64_t j = 0; j < k * inner; ++j) {
          out[(o * n + index[o * k * inner + j]) * inner + j % inner] = d[o * k * inner + j];
        }
      }
    });
  });
  return dx;
}

Ordered order(const Array& numbers, int64_t bound, int64_t skip, const char* op) {
  const int64_t n = numbers.numel();
  check(n <= std::numeric_limits<uint32_t>::max(), op, ": a device takes less than 2^32 indices, got ", n);
  const Device device = numbers.device();
  const Ordered out = {Array({n}, DType::int64, Format::plain, device),
                       Array({n}, DType::int64, Format::plain, device)};
  const SortPlan plan = sort_plan(bound >> 32 == 0 ? 4 : 8, 1, n, n);
  const Array scratch({plan.bytes}, DType::uint8, Format::plain, device);
  on_device(&SortDevice::order, op, out.order, numbers, n, bound, skip, out.sorted, out.order, scratch);
  return out;
}

}  // namespace nonet
