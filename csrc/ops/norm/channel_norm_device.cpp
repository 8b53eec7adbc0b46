#include "array/launch.h"
#include "ops/norm/channel_norm_arrays.h"
#include "ops/reduce/device.h"

namespace nonet {

namespace {

Array on(Device device, const Shape& shape) {
  return Array(shape, DType::float32, Format::plain, device);
}
Array as_float(const Array& x) {
  return x.defined() ? x.plain().to(DType::float32) : x;
}

// A batch with channels side by side is one image, whose positions are those of all.
CellLayout layout_of(const Array& x, int64_t groups) {
  const int64_t n = x.dim(0);
  const int64_t s = x.shape().product(2, x.rank());
  const bool last = x.format() == Format::nhwc || s == 1;
  if (last && groups == 0) return {1, x.dim(1), n * s, 0, true};
  return {n, x.dim(1), s, groups, last};
}

int64_t cells_of(const CellLayout& l) {
  return l.images * l.channels;
}

// The positions as the middle axis.
ReducePlan plan_of(const CellLayout& l) {
  return l.last ? reduce_plan(l.images, l.positions, l.channels) : reduce_plan(cells_of(l), l.positions, 1);
}

void statistics(const Array& x, const CellLayout& layout, const Array& mean, const Array& variance, const char* op) {
  const Array cells({cells_of(layout) * 2 * static_cast<int64_t>(sizeof(double))}, DType::uint8, Format::plain,
                    x.device());
  const ReducePlan plan = plan_of(layout);
  on_device(&ChannelNormDevice::moments, op, cells, x.dtype(), x, cells, plan, reduce_parts(plan, x.device()));
  on_device(&ChannelNormDevice::statistics, op, mean, cells, mean, variance, layout);
}

void update(const Array& running, const Array& statistics, double momentum, double scale, const char* op) {
  const int64_t c = running.numel();
  const Array now = as_float(running);
  running.begin_write(op);
  on_device(&ChannelNormDevice::update, op, now, statistics, now, momentum, scale, statistics.numel() / c, c);
  if (running.dtype() != DType::float32) copy_into(running, now, op);
}

Array maps_of(const Array& mean, const Array& variance, const ChannelNormInputs& in, const Array& rstd,
              const CellLayout& layout, const ChannelNormOptions& o) {
  const Array maps = on(mean.device(), {cells_of(layout) * 4});
  on_device(&ChannelNormDevice::maps, o.op, maps, mean, variance, o.eps, as_float(in.gamma), as_float(in.beta), rstd,
            maps, layout);
  return maps;
}

}  // namespace

ChannelNormOutput device_channel_norm_forward(const ChannelNormInputs& in, const RunningStatistics& running,
                                              const ChannelNormOptions& o) {
  const Array& x = in.x;
  const CellLayout layout = layout_of(x, o.groups);
  const int64_t slices = o.groups == 0 ? layout.channels : layout.images * o.groups;
  const Array y = empty_like(x);
  const Array mean = o.given ? as_float(running.mean).clone() : on(x.device(), {slices});
  const Array variance = o.given ? as_float(running.variance) : on(x.device(), {slices});
  const Array rstd = on(x.device(), {slices});
  if (!o.given) statistics(x, layout, mean, variance, o.op);
  const Array maps = maps_of(mean, variance, in, rstd, layout, o);
  on_device(&ChannelNormDevice::apply, o.op, y, x.dtype(), x, in.residual, y, maps, o.relu, layout);
  if (running.mean.defined() && !o.given) {
    const auto n = static_cast<double>(x.numel() / slices);
    update(running.mean, mean, running.momentum, 1, o.op);
    update(running.variance, variance, running.momentum, n / (n - 1), o.op);
  }
  return {y, mean, rstd};
}

ChannelNormGradients device_channel_norm_backward(const Array& dy, const ChannelNormInputs& in, const Array& y,
                                                  const Array& mean, const Array& rstd, const ChannelNormOptions& o,
                                                  const ChannelNormWants& wants) {
  const Array& x = in.x;
  const CellLayout layout = layout_of(x, o.groups);
  const Shape channels{layout.channels};
  ChannelNormGradients out;
  if (wants.x) out.dx = empty_like(x);
  if (wants.residual && o.relu) out.dresidual = empty_like(x);
  const Array maps = maps_of(mean, {}, in, rstd, layout, o);
  Array slopes;
  if (wants.gamma || wants.beta || out.dresidual.defined() || (wants.x && !o.given)) {
    const ReducePlan plan = plan_of(layout);
    const Array sums = on(x.device(), {cells_of(layout) * 2});
    on_device(&ChannelNormDevice::sums, o.op, sums, x.dtype(), dy, x, y, maps, o.relu, out.dresidual, sums, plan,
              reduce_parts(plan, x.device()));
    if (wants.gamma || wants.beta) {
      out.dgamma = on(x.device(), channels);
      out.dbeta = on(x.device(), channels);
      on_device(&ChannelNormDevice::parameters, o.op, sums, sums, rstd, out.dgamma, out.dbeta, layout);
    }
    if (wants.x && !o.given) {
      slopes = on(x.device(), {cells_of(layout) * 2});
      on_device(&ChannelNormDevice::slopes, o.op, slopes, sums, rstd, as_float(in.gamma), slopes, layout);
    }
  }
  if (wants.x) {
    const bool masked = o.relu && !out.dresidual.defined();
    on_device(&ChannelNormDevice::gradient, o.op, out.dx, x.dtype(), out.dresidual.defined() ? out.dresidual : dy, x, y,
              maps, masked, slopes, out.dx, layout);
  }
  return out;
}

}  // namespace nonet
