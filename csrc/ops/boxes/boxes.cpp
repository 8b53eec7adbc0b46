#include "ops/boxes/boxes.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "array/array.h"
#include "array/launch.h"
#include "array/strided.h"
#include "ops/sort/sorting.h"

namespace nonet {

namespace {

void check_boxes(const Array& a, const char* name, const char* op) {
  check_floating(a, op, name);
  check(a.rank() > 0 && a.shape().back() == 4, op, ": ", name, " must have shape [..., 4], got ", a.shape());
}

void check_both(const Array& a, const Array& b, const char* op) {
  check_boxes(a, "boxes1", op);
  check_boxes(b, "boxes2", op);
  check<TypeError>(a.dtype() == b.dtype(), op, ": boxes2 must be ", a.dtype(), " like boxes1, got ", b.dtype());
  check_same_device(a, b, op);
}

void check_pairs(const Array& a, const Array& b) {
  check_both(a, b, "box_overlap");
  check(a.shape() == b.shape(), "box_overlap: boxes2 must have the shape of boxes1, ", a.shape(), ", got ", b.shape());
}

void check_sides(const Array& a, const Array& b) {
  check_both(a, b, "box_overlap_matrix");
  check(a.rank() == 2 && b.rank() == 2, "box_overlap_matrix: boxes must have shape [N, 4], got ", a.shape(), " and ",
        b.shape());
}

// [..., 4] as [n, 4] in float32.
Array flat(const Array& boxes) {
  return boxes.plain().to(DType::float32).reshape({boxes.numel() / 4, 4});
}
// [n, 4] as [4, n] and back.
Array turned(const Array& x) {
  return read_strided(x, strided(x.shape()).permuted({1, 0}));
}
BoxRows rows_of(const Array& turned_boxes) {
  return {turned_boxes.data<float>(), turned_boxes.dim(1)};
}

Array floats(const Shape& shape, Device device) {
  return Array(shape, DType::float32, Format::plain, device);
}

// Gradients [4, n] or, from a device, [n, 4] as their tensor's.
void deliver(const Array& gradient, const Array& of, Array* out) {
  if (out == nullptr) return;
  const Array g = of.device() == Device::cpu ? turned(gradient) : gradient;
  *out = g.reshape(of.shape()).to(of.dtype());
}

}  // namespace

Array box_overlap(const Array& a, const Array& b, Overlap kind, double e) {
  check_pairs(a, b);
  const int64_t n = a.numel() / 4;
  const Array y = floats(a.shape().slice(0, a.rank() - 1), a.device());
  const auto eps = static_cast<float>(e);
  if (n == 0) return y.to(a.dtype());
  if (a.device() != Device::cpu) {
    on_device(&BoxDevice::pairs, "box_overlap", y, kind, eps, flat(a), flat(b), y, n);
  } else {
    const Array left = turned(flat(a));
    const Array right = turned(flat(b));
    box_kernels().pairs(kind, eps, rows_of(left), rows_of(right), y.data<float>(), n);
  }
  return y.to(a.dtype());
}

void box_overlap_backward(const Array& dy, const Array& a, const Array& b, Overlap kind, double e, Array* da,
                          Array* db) {
  check_pairs(a, b);
  const int64_t n = a.numel() / 4;
  const auto eps = static_cast<float>(e);
  const Array g = dy.plain().to(DType::float32);
  const Shape shape = a.device() == Device::cpu ? Shape{4, n} : Shape{n, 4};
  const Array left = floats(shape, a.device());
  const Array right = floats(shape, a.device());
  if (n > 0) {
    if (a.device() != Device::cpu) {
      on_device(&BoxDevice::pairs_backward, "box_overlap", left, kind, eps, flat(a), flat(b), g, left, right, n);
    } else {
      const Array x = turned(flat(a));
      const Array z = turned(flat(b));
      box_kernels().pairs_backward(kind, eps, rows_of(x), rows_of(z), g.data<float>(), left.data<float>(),
                                   right.data<float>(), n);
    }
  }
  deliver(left, a, da);
  deliver(right, b, db);
}

Array box_overlap_matrix(const Array& a, const Array& b, Overlap kind, double e) {
  check_sides(a, b);
  const int64_t n = a.dim(0);
  const int64_t m = b.dim(0);
  const auto eps = static_cast<float>(e);
  const Array y = floats({n, m}, a.device());
  if (y.numel() == 0) return y.to(a.dtype());
  if (a.device() != Device::cpu) {
    on_device(&BoxDevice::matrix, "box_overlap_matrix", y, kind, eps, flat(a), flat(b), y, n, m);
  } else {
    const Array left = turned(flat(a));
    const Array right = turned(flat(b));
    box_kernels().matrix(kind, eps, rows_of(left), rows_of(right), y.data<float>(), n, m);
  }
  return y.to(a.dtype());
}

void box_overlap_matrix_backward(const Array& dy, const Array& a, const Array& b, Overlap kind, double e, Array* da,
                                 Array* db) {
  check_sides(a, b);
  const int64_t n = a.dim(0);
  const int64_t m = b.dim(0);
  check_shape(dy, {n, m}, "box_overlap_matrix", "gradient", "[N, M]");
  const auto eps = static_cast<float>(e);
  const Array g = dy.plain().to(DType::float32);
  const bool on_cpu = a.device() == Device::cpu;
  const Array left = floats(on_cpu ? Shape{4, n} : Shape{n, 4}, a.device());
  const Array right = floats(on_cpu ? Shape{4, m} : Shape{m, 4}, a.device());
  if (!on_cpu) {
    on_device(&BoxDevice::matrix_backward, "box_overlap_matrix", left, kind, eps, flat(a), flat(b), g, left, right, n,
              m);
  } else {
    const Array x = turned(flat(a));
    const Array z = turned(flat(b));
    box_kernels().matrix_backward(kind, eps, rows_of(x), rows_of(z), g.data<float>(), left.data<float>(),
                                  right.data<float>(), n, m);
  }
  deliver(left, a, da);
  deliver(right, b, db);
}

namespace {

// The boxes of a list in the order of `positions`.
Array in_order(const Array& list, const Array& positions) {
  const Array from = list.to(Device::cpu).plain();
  const int64_t n = positions.numel();
  const Array out(from.shape(), from.dtype());
  const int64_t bytes = n == 0 ? 0 : from.bytes() / n;
  const int64_t* at = positions.data<int64_t>();
  for (int64_t i = 0; i < n; ++i) std::copy_n(from.raw<char>() + at[i] * bytes, bytes, out.raw<char>() + i * bytes);
  return out;
}

}  // namespace

Array nms(const Array& boxes, const Array& scores, const Array& classes, double threshold) {
  check_boxes(boxes, "boxes", "nms");
  check_floating(scores, "nms", "scores");
  check(boxes.rank() == 2, "nms: boxes must have shape [N, 4], got ", boxes.shape());
  const int64_t n = boxes.dim(0);
  check_shape(scores, {n}, "nms", "scores", "[N]");
  check_same_device(boxes, scores, "nms");
  if (classes.defined()) {
    check_dtype(classes, DType::int64, "nms", "classes");
    check_shape(classes, {n}, "nms", "classes", "[N]");
    check_same_device(boxes, classes, "nms");
  }
  check(n < std::numeric_limits<int32_t>::max(), "nms: expected less than 2^31 boxes, got ", n);
  // How many are kept decides the size of the result, so the host has to know them in any case: it also sorts.
  const Array order = sort(scores.to(Device::cpu).plain(), 0, n, true, "nms").positions;
  const Array sorted = in_order(boxes.to(DType::float32), order);
  const Array of = classes.defined() ? in_order(classes.to(DType::int32), order) : classes;
  Array kept({n}, DType::int32);
  if (n > 0 && boxes.device() != Device::cpu) {
    const Device device = boxes.device();
    const Array there({n}, DType::int32, Format::plain, device);
    const Array masks({n, (n + 63) / 64}, DType::int64, Format::plain, device);
    const Array moved = sorted.to(device);
    const Array moved_classes = of.defined() ? of.to(device) : of;
    on_device(&BoxDevice::nms, "nms", there, moved, moved_classes, static_cast<float>(threshold), there, masks, n);
    kept = there.to(Device::cpu);
  } else if (n > 0) {
    const Array rows = turned(sorted);
    box_kernels().nms(rows_of(rows), of.defined() ? of.data<int32_t>() : nullptr, static_cast<float>(threshold),
                      kept.data<int32_t>(), n);
  }
  std::vector<int64_t> chosen;
  for (int64_t i = 0; i < n; ++i) {
    if (kept.data<int32_t>()[i] != 0) chosen.push_back(order.data<int64_t>()[i]);
  }
  const Array out({static_cast<int64_t>(chosen.size())}, DType::int64);
  std::copy(chosen.begin(), chosen.end(), out.data<int64_t>());
  return out.to(boxes.device());
}

}  // namespace nonet
