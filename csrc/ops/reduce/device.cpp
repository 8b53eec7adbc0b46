#include "ops/reduce/device.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "array/launch.h"

namespace nonet {

// Enough blocks to fill a device, if the parts are worth one; and no part so long that its sums lose digits. The
// numbers are those of fold.cuh: 256 threads, 4 elements to a load.
ReducePlan reduce_plan(int64_t outer, int64_t n, int64_t inner) {
  constexpr int64_t blocks = 1024;
  const auto ceiling = [](int64_t a, int64_t b) { return (a + b - 1) / b; };
  int64_t threads = 256;  // that share a result
  int64_t tiles = 1;
  int64_t fewest = 16;  // elements for each of them
  if (inner > 1) {
    int64_t columns = 1;
    while (columns < 32 && 4 * columns < inner) columns *= 2;
    threads /= columns;
    tiles = ceiling(inner, 4 * columns);
    fewest = 8;
  }
  const int64_t wanted = ceiling(blocks, std::max<int64_t>(outer * tiles, 1));
  const int64_t most = ceiling(n, threads * fewest);
  const int64_t least = ceiling(n, threads * (inner > 1 ? 128 : 512));
  const int64_t parts = std::max<int64_t>({1, least, std::min(wanted, most)});
  const int64_t span = std::max<int64_t>(16, ceiling(ceiling(n, parts), 16) * 16);
  return {outer, n, inner, span, std::max<int64_t>(1, ceiling(n, span))};
}

namespace {

Array scratch(int64_t parts, Device device) {
  return Array({parts * reduce_part_bytes}, DType::uint8, Format::plain, device);
}

}  // namespace

Array reduce_parts(const ReducePlan& plan, Device device) {
  return plan.spans > 1 ? scratch(plan.outer * plan.inner * plan.spans, device) : Array();
}

namespace {
constexpr int64_t few_slices = 64;  // worth more blocks than one each if they are long
}

Array slice_scratch(const ReducePlan& plan, int64_t registers, Device device) {
  if (plan.n <= registers && (plan.n <= 4096 || plan.outer >= few_slices)) return {};
  return scratch(plan.outer * (plan.spans > 1 ? 1 + plan.spans : 1), device);
}

bool columns_fit(const ReducePlan& plan) {
  return plan.inner <= 1 || plan.n <= 256 || plan.outer * (plan.inner / 128) >= few_slices;
}

namespace {

constexpr auto any = Gathered::Inner::any;

// A reduction of a gathered array: its plan, and scratch for the parts.
struct Job {
  Job(const Array& x, const Gathered& view)
      : from(view.gather(x)),
        plan(reduce_plan(view.outer(), view.n(), view.inner())),
        parts(reduce_parts(plan, x.device())) {}
  Array from;
  ReducePlan plan;
  Array parts;
};

Array result(const Array& x, const Axes& axes, bool keepdim, DType dtype) {
  return Array(axes.result(keepdim), dtype, Format::plain, x.device());
}

const char* name(Fold op) {
  return op == Fold::sum ? "sum" : "prod";
}

}  // namespace

// Groups of axes one after the other, without a copy that brings them together; float32 between them.
Array device_fold(const Array& x, const Axes& axes, bool keepdim, Fold op, float divisor, const char* name) {
  std::vector<Axes> groups;
  for_groups(axes, [&](const Axes& group) { groups.push_back(group); });
  if (groups.empty()) return x.plain().clone().reshape(axes.result(keepdim));  // one element each
  Array from = x.plain();
  for (size_t i = 0; i < groups.size(); ++i) {
    const bool last = i + 1 == groups.size();
    const Job job(from, Gathered(groups[i], any));
    const Array to = result(x, groups[i], true, last ? x.dtype() : DType::float32);
    on_device(&ReduceDevice::fold, name, to, op, from.dtype(), job.from, to.dtype(), to, last ? divisor : 1.f, job.plan,
              job.parts);
    from = to;
  }
  return from.reshape(axes.result(keepdim));
}

Array device_exact(const Array& x, const Axes& axes, bool keepdim, ExactFold op, DType to, const char* name) {
  const Job job(x, Gathered(axes, any));
  const Array y = result(x, axes, keepdim, to);
  on_device(&ReduceDevice::exact, name, y, op, x.dtype(), job.from, y, job.plan, job.parts);
  return y;
}

Array device_sum(const Array& x, const Axes& axes, bool keepdim, Fold op) {
  if (is_floating(x.dtype())) return device_fold(x, axes, keepdim, op, 1.f, name(op));
  const ExactFold exact = op == Fold::sum ? ExactFold::sum : ExactFold::product;
  return device_exact(x, axes, keepdim, exact, DType::int64, name(op));
}

Array device_amax(const Array& x, const Axes& axes, bool keepdim, bool largest) {
  const char* op = largest ? "amax" : "amin";
  if (!is_floating(x.dtype())) {
    return device_exact(x, axes, keepdim, largest ? ExactFold::maximum : ExactFold::minimum, x.dtype(), op);
  }
  return device_fold(x, axes, keepdim, largest ? Fold::maximum : Fold::minimum, 1.f, op);
}

Array device_logsumexp(const Array& x, const Axes& axes, bool keepdim) {
  const Job job(x, Gathered(axes, any));
  const Array y = result(x, axes, keepdim, x.dtype());
  on_device(&ReduceDevice::logsumexp, "logsumexp", y, x.dtype(), job.from, y, job.plan, job.parts);
  return y;
}

Array device_norm(const Array& x, const Axes& axes, bool keepdim, double p) {
  const Job job(x, Gathered(axes, any));
  const Array y = result(x, axes, keepdim, x.dtype());
  on_device(&ReduceDevice::norm, "norm", y, x.dtype(), job.from, y, p, job.plan, job.parts);
  return y;
}

Moments device_moments(const Array& x, const Axes& axes, bool keepdim, double freedom, bool root) {
  const Job job(x, Gathered(axes, any));
  const Array var = result(x, axes, keepdim, x.dtype());
  const Array mean = empty_like(var);
  on_device(&ReduceDevice::moments, root ? "std" : "var", var, x.dtype(), job.from, var, mean, freedom, root, job.plan,
            job.parts);
  return {var, mean};
}

Extreme device_extreme(const Array& x, const Axes& axes, bool keepdim, bool largest) {
  const Job job(x, Gathered(axes, any));
  const Array values = result(x, axes, keepdim, x.dtype());
  const Array positions = result(x, axes, keepdim, DType::int64);
  on_device(&ReduceDevice::extreme, largest ? "max" : "min", values, x.dtype(), job.from, values, positions, largest,
            job.plan, job.parts);
  return {values, positions};
}

Array device_sum_gradient(const Array& dy, const Axes& axes, float scale) {
  Array dx = dy.plain().reshape(axes.result(true));
  double factor = scale;  // once is enough
  const auto spread = [&](const Axes& group) {
    Axes here(group);  // the other axes are those that have their size already
    for (int axis = 0; axis < axes.shape.rank(); ++axis) {
      here.shape[axis] = group.reduced[axis] ? axes.shape[axis] : dx.dim(axis);
    }
    const Gathered view(here, any);
    const Array out(here.shape, dy.dtype(), Format::plain, dy.device());
    const Array none{};
    on_device(&ReduceGradientDevice::run, "sum", out, ReduceGradient::sum, dy.dtype(), dx, none, none, none, none,
              factor, out, view.outer(), view.n(), view.inner());
    dx = out;
    factor = 1;
  };
  for_groups(axes, spread);
  if (factor != 1) spread(Axes(axes.shape));  // no group: every result is of one element
  return dx;
}

Array device_gradient(ReduceGradient rule, const Array& dy, const Array& x, const Array& y, const Array& mean,
                      const Axes& axes, double number) {
  const bool is_norm = rule == ReduceGradient::norm;
  const Gathered view(axes, any);
  check(dy.numel() == view.results(), "backward of a reduction: gradient must have shape ", axes.result(false),
        ", got ", dy.shape());
  const Job job(x, view);
  const Array values = y.plain().to(x.dtype());
  Array ties;
  if (rule == ReduceGradient::extreme || (is_norm && std::isinf(number))) {
    ties = Array({view.results()}, DType::float32, Format::plain, x.device());
    on_device(&ReduceDevice::ties, "ties", ties, x.dtype(), job.from, values, ties, is_norm, job.plan, job.parts);
  }
  const Array dx = empty_like(job.from);
  on_device(&ReduceGradientDevice::run, "backward of a reduction", dx, rule, x.dtype(), dy.plain().to(x.dtype()),
            job.from, values, mean, ties, number, dx, view.outer(), view.n(), view.inner());
  return view.restore(dx).to(dy.dtype());
}

namespace {

void run_along(Running rule, const Array& rows, const Array& dy, const Array& y, const char* name) {
  if (rows.numel() == 0) return;
  const int64_t n = rows.shape().back();
  const int64_t count = rows.numel() / n;
  Array parts;
  if (n > running_span) {
    const int64_t spans = (n + running_span - 1) / running_span;
    parts = Array({count * spans * running_part_bytes}, DType::uint8, Format::plain, rows.device());
  }
  on_device(&RunningDevice::run, name, y, rule, rows.dtype(), rows, dy, y, count, n, parts);
}

}  // namespace

Array device_running(Running rule, const Array& rows, DType to, const char* name) {
  const Array y(rows.shape(), to, Format::plain, rows.device());
  run_along(rule, rows, {}, y, name);
  return y;
}

Array device_products(const Array& rows, const Array& dy) {
  const Array dx = device_sum_gradient(dy, Axes(rows.shape(), std::vector<int64_t>{-1}, "prod"), 1.f).clone();
  run_along(Running::times_before, rows, {}, dx, "prod");
  run_along(Running::times_behind, rows, {}, dx, "prod");
  return dx;
}

Array device_products_so_far(const Array& rows, const Array& dy) {
  const Array dx = empty_like(rows);
  run_along(Running::suffix, rows, dy, dx, "cumprod");
  run_along(Running::times_before, rows, {}, dx, "cumprod");
  return dx;
}

}  // namespace nonet
