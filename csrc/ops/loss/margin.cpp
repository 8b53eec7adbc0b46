#include "ops/loss/margin.h"

#include "array/launch.h"
#include "ops/loss/common.h"
#include "ops/reduce/device.h"

namespace nonet {

namespace {

// Positions, and what mean divides by.
struct Rows {
  Shape positions;
  int64_t rows;
  int64_t classes;
  double divisor;
};

Rows rows_of(const Array& x, Reduction reduction, const char* op) {
  check_floating(x, op, "input");
  check(x.rank() == 1 || x.rank() == 2, op, ": input must have shape [N, C] or [C], got ", x.shape());
  check(x.shape().back() > 0, op, ": input must have at least one class, got shape ", x.shape());
  const ClassAxis axis = class_axis(x.shape(), op);
  const double divisor = reduction == Reduction::mean ? static_cast<double>(axis.outer) : 1.;
  return {position_shape(x.shape()), axis.outer, axis.classes, divisor};
}

std::pair<Array, Array> device_results(const Array& x, const Rows& rows, bool want_dx) {
  const Array losses(rows.positions, DType::float32, Format::plain, x.device());
  return {losses, want_dx ? empty_like(x) : Array()};
}

}  // namespace

ClassLoss multi_margin_forward(const Array& x, const Array& target, int64_t p, double margin, const Array* weight,
                               Reduction reduction, bool want_dx) {
  const char* op = "multi_margin_loss";
  const Rows rows = rows_of(x, reduction, op);
  check(p == 1 || p == 2, op, ": p must be 1 or 2, got ", p);
  const Array w = class_weights(weight, rows.classes, op);
  const Array t = class_indices(target, x.shape(), -1, op);
  check_same_device(x, t, op);
  if (x.device() != Device::cpu) {
    const ReducePlan plan = reduce_plan(rows.rows, rows.classes, 1);
    const auto [losses, dx] = device_results(x, rows, want_dx);
    on_device(&MarginLossDevice::multi_margin, op, losses, x.dtype(), x.plain(), t, w, static_cast<float>(margin),
              static_cast<int>(p), static_cast<float>(1. / rows.divisor), losses, dx, plan,
              slice_scratch(plan, 0, x.device()));
    return {device_reduce_losses(losses, reduction, rows.divisor, {}, x.dtype(), op), dx, {}};
  }
  for (int64_t r = 0; r < rows.rows; ++r) {
    check<IndexError>(t.data<int64_t>()[r] >= 0, op, ": target must lie in [0, ", rows.classes, "), got -1");
  }
  const Array in = x.to(DType::float32);
  Array losses(rows.positions);
  Array dx;
  if (want_dx) dx = empty_like(in);
  const MarginTerms terms{w.defined() ? w.data<float>() : nullptr, static_cast<float>(margin), static_cast<int>(p),
                          static_cast<float>(1. / rows.divisor)};
  margin_loss_kernels().multi_margin(in.data<float>(), t.data<int64_t>(), terms, losses.data<float>(),
                                     want_dx ? dx.data<float>() : nullptr, rows.rows, rows.classes);
  return {reduce_losses(losses, reduction, rows.divisor, x.dtype()), dx, {}};
}

ClassLoss multilabel_margin_forward(const Array& x, const Array& target, Reduction reduction, bool want_dx) {
  const char* op = "multilabel_margin_loss";
  const Rows rows = rows_of(x, reduction, op);
  check<TypeError>(is_integer(target.dtype()), op, ": target must hold class indices (integers), got ", target.dtype());
  check_shape(target, x.shape(), op, "target", "[like the input]");
  const Array t = target.to(DType::int64);
  check_same_device(x, t, op);
  if (x.device() != Device::cpu) {
    const auto [losses, dx] = device_results(x, rows, want_dx);
    const Array inside(x.shape(), DType::uint8, Format::plain, x.device());
    on_device(&MarginLossDevice::multilabel_margin, op, losses, x.dtype(), x.plain(), t,
              static_cast<float>(1. / rows.divisor), inside, losses, dx, rows.rows, rows.classes);
    return {device_reduce_losses(losses, reduction, rows.divisor, {}, x.dtype(), op), dx, {}};
  }
  for (int64_t i = 0; i < t.numel(); ++i) {
    const int64_t value = t.data<int64_t>()[i];
    check<IndexError>(value >= -1 && value < rows.classes, op, ": target must lie in [-1, ", rows.classes, "), got ",
                      value);
  }
  const Array in = x.to(DType::float32);
  const Array inside = empty_like(in);
  Array losses(rows.positions);
  Array dx;
  if (want_dx) dx = empty_like(in);
  margin_loss_kernels().multilabel_margin(in.data<float>(), t.data<int64_t>(), static_cast<float>(1. / rows.divisor),
                                          inside.data<float>(), losses.data<float>(),
                                          want_dx ? dx.data<float>() : nullptr, rows.rows, rows.classes);
  return {reduce_losses(losses, reduction, rows.divisor, x.dtype()), dx, {}};
}

}  // namespace nonet
