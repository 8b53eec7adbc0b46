#include "ops/index/rows.h"

#include <algorithm>
#include <utility>

namespace nonet {

namespace {

Shape position(const Shape& shape, int64_t flat) {
  Shape out = shape;
  for (int axis = shape.rank(); axis-- > 0;) {
    out[axis] = flat % shape[axis];
    flat /= shape[axis];
  }
  return out;
}

template <class T>
void take_items(const void* x, const int64_t* rows, void* y, int64_t outer, int64_t n, int64_t count) {
  const T* from = static_cast<const T*>(x);
  T* to = static_cast<T*>(y);
  parallel_for(outer * count, 16384, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) to[i] = from[i / count * n + rows[i % count]];
  });
}

}  // namespace

Grouping group_rows(const int64_t* rows, int64_t count, int64_t n) {
  Grouping out;
  if (n <= 4 * count + 1024) {  // counting sort
    std::vector<int64_t> begin(n + 1, 0);
    int64_t kept = 0;
    for (int64_t j = 0; j < count; ++j) {
      if (rows[j] < 0) continue;
      ++begin[rows[j] + 1];
      ++kept;
    }
    for (int64_t row = 0; row < n; ++row) {
      if (begin[row + 1] > 0) out.groups.push_back({row, begin[row], begin[row] + begin[row + 1]});
      begin[row + 1] += begin[row];
    }
    out.order.resize(kept);
    for (int64_t j = 0; j < count; ++j) {
      if (rows[j] >= 0) out.order[begin[rows[j]]++] = j;
    }
    return out;
  }
  std::vector<std::pair<int64_t, int64_t>> pairs;  // row, position: no two are equal, so the order is unique
  pairs.reserve(count);
  for (int64_t j = 0; j < count; ++j) {
    if (rows[j] >= 0) pairs.emplace_back(rows[j], j);
  }
  std::sort(pairs.begin(), pairs.end());
  out.order.reserve(pairs.size());
  for (const auto& [row, j] : pairs) {
    const int64_t at = static_cast<int64_t>(out.order.size());
    if (out.groups.empty() || out.groups.back().row != row) out.groups.push_back({row, at, at});
    out.order.push_back(j);
    out.groups.back().end = at + 1;
  }
  return out;
}

Array checked_index(const Array& index, int64_t n, bool wrap, const char* op, int axis) {
  check<TypeError>(index.dtype() == DType::int64 || index.dtype() == DType::int32, op,
                   ": index must be int64 or int32, got ", index.dtype());
  const Array plain = index.plain().to(DType::int64);
  if (index.device() != Device::cpu) return plain;
  const int64_t* p = plain.data<int64_t>();
  int64_t low = 0;
  int64_t high = -1;
  for (int64_t j = 0; j < plain.numel(); ++j) {
    low = std::min(low, p[j]);
    high = std::max(high, p[j]);
  }
  if (high >= n || low < (wrap ? -n : 0)) {
    const int64_t j = std::find_if(p, p + plain.numel(), [&](int64_t i) { return i >= n || i < (wrap ? -n : 0); }) - p;
    check<IndexError>(axis < 0, op, ": index ", p[j], " is out of range for axis ", axis, " of size ", n);
    fail<IndexError>(op, ": index ", p[j], " at position ", position(index.shape(), j), " is out of range for ", n,
                     " rows");
  }
  if (low >= 0) return plain;
  const Array out(plain.shape(), DType::int64);
  int64_t* q = out.data<int64_t>();
  for (int64_t j = 0; j < plain.numel(); ++j) q[j] = p[j] < 0 ? p[j] + n : p[j];
  return out;
}

void take_rows(const void* x, const int64_t* rows, void* y, int64_t outer, int64_t n, int64_t count, int64_t bytes) {
  if (count == 0 || bytes == 0) return;
  if (bytes == 4) return take_items<uint32_t>(x, rows, y, outer, n, count);
  if (bytes == 8) return take_items<uint64_t>(x, rows, y, outer, n, count);
  const char* from = static_cast<const char*>(x);
  char* to = static_cast<char*>(y);
  parallel_for(outer * count, 1 + 65536 / bytes, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      std::memcpy(to + i * bytes, from + (i / count * n + rows[i % count]) * bytes, bytes);
    }
  });
}

void add_rows(const Grouping& grouping, const AddRows& job) {
  const int64_t groups = static_cast<int64_t>(grouping.groups.size());
  if (groups == 0 || job.inner == 0) return;
  // What the kernel reads per position, in grouped order.
  const int64_t kept = static_cast<int64_t>(grouping.order.size());
  std::vector<int64_t> rows(grouping.order);
  std::vector<float> scale;
  if (job.scale != nullptr) {
    scale.resize(kept);
    for (int64_t j = 0; j < kept; ++j) scale[j] = job.scale[grouping.order[j]];
  }
  if (job.source != nullptr) {
    for (int64_t& row : rows) row = job.source[row];
  }
  const auto sum_rows = index_kernels().sum_rows;
  parallel_for(job.outer * groups, 1 + 16384 * groups / (kept * job.inner), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t o = i / groups;
      const RowGroup& group = grouping.groups[i % groups];
      sum_rows(job.from + o * job.count * job.inner, rows.data() + group.begin,
               scale.empty() ? nullptr : scale.data() + group.begin, group.end - group.begin,
               job.out + (o * job.n + group.row) * job.inner, job.inner, job.add);
    }
  });
}

}  // namespace nonet
