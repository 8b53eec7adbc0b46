#include <algorithm>

#include "ops/norm/channel_norm_cpu.h"

namespace nonet {

namespace {

constexpr int64_t many_slices = 32;  // enough for any number of threads
constexpr int64_t cached = 1 << 18;  // elements that a cache may hold between two readings
constexpr int64_t little = 1 << 15;  // elements that are no work for several threads

Slices slices_of(const Array& x, int64_t groups) {
  const auto [n, c, s] = image_sizes(x);
  if (groups == 0) return {c, n, s, s, c * s, c, 1};
  const int64_t each = c / groups;
  return {n * groups, each, s, each * s, s, groups, each};
}

// Scratch for the parts of slices that are read twice from memory, because they are few or too long for a cache.
Array part_scratch(const Slices& s, int64_t numbers) {
  const int64_t each = s.runs * s.length;
  if ((s.slices >= many_slices && each <= cached) || s.slices * each <= little) return {};
  return Array({s.slices * slice_parts(s) * numbers});
}

// In the dtype and format of x.
Array like(const Array& a, const Array& x) {
  return a.defined() ? a.to(x.dtype()).to_format(x.format()) : a;
}

void slices_forward(const NormForward& f) {
  const Array& x = f.in.x;
  const Slices s = slices_of(x, f.o.groups);
  const SliceNorm norm{x.dtype(),         x.address(), address(f.in.residual), nullptr, floats(f.in.gamma),
                       floats(f.in.beta), f.o.relu};
  slice_norm_kernels().forward(norm, f.y.address(), floats(f.mean), floats(f.variance), floats(f.rstd), f.o.eps,
                               f.o.given, s, floats(part_scratch(s, 3)));
}

// [slices, channels of a slice, 2] -> gradients of gamma and beta, [c] each.
void add_images(const Array& sums, const Array& dgamma, const Array& dbeta) {
  const int64_t c = dgamma.numel();
  const float* from = sums.data<float>();
  for (int64_t i = 0; i < c; ++i) {
    double dots = 0;
    double totals = 0;
    for (int64_t at = i; 2 * at < sums.numel(); at += c) {
      dots += from[2 * at];
      totals += from[2 * at + 1];
    }
    dgamma.data<float>()[i] = static_cast<float>(dots);
    dbeta.data<float>()[i] = static_cast<float>(totals);
  }
}

void slices_backward(const NormBackward& b, ChannelNormGradients& out) {
  const Array& x = b.in.x;
  const Slices s = slices_of(x, b.o.groups);
  const SliceNorm norm{x.dtype(), x.address(), nullptr, address(b.y), floats(b.in.gamma), floats(b.in.beta), b.o.relu};
  const Array sums({s.slices * s.group_channels * 2});
  slice_norm_kernels().backward(norm, b.dy.address(), floats(b.mean), floats(b.rstd), b.o.given, address(out.dresidual),
                                address(out.dx), floats(sums), s, floats(part_scratch(s, 2)));
  out.dgamma = Array({x.dim(1)});
  out.dbeta = Array({x.dim(1)});
  add_images(sums, out.dgamma, out.dbeta);
}

// running = (1 - momentum) running + momentum (the average over `images` of [images, C] statistics) scale.
void update(const Array& running, const Array& statistics, double momentum, double scale, const char* op) {
  const int64_t c = running.numel();
  const int64_t images = statistics.numel() / c;
  const Array old = as_float(running);
  const Array now(old.shape());
  for (int64_t i = 0; i < c; ++i) {
    double sum = 0;
    for (int64_t n = 0; n < images; ++n) sum += statistics.data<float>()[n * c + i];
    now.data<float>()[i] = static_cast<float>((1 - momentum) * old.data<float>()[i] +
                                              momentum * scale * sum / static_cast<double>(images));
  }
  copy_into(running, now, op);
}

void update(const RunningStatistics& running, const Array& mean, const Array& variance, const ImageSizes& size,
            const ChannelNormOptions& o) {
  const auto n = static_cast<double>(o.groups == 0 ? size.n * size.s : size.s);
  update(running.mean, mean, running.momentum, 1, o.op);
  update(running.variance, variance, running.momentum, n / (n - 1), o.op);
}

// ---------------------------------------------------------------- checks
void check_inputs(const ChannelNormInputs& in, const ChannelNormOptions& o) {
  check_floating(in.x, o.op, "input");
  check(in.x.rank() >= 2, o.op, ": input must have shape [N, C, ...], got ", in.x.shape());
  const int64_t c = in.x.dim(1);
  for (const auto& [parameter, name] : {std::pair{&in.gamma, "weight"}, std::pair{&in.beta, "bias"}}) {
    if (!parameter->defined()) continue;
    check_floating(*parameter, o.op, name);
    check_shape(*parameter, {c}, o.op, name, "[C]");
    check_same_device(in.x, *parameter, o.op);
  }
  if (in.residual.defined()) {
    check_floating(in.residual, o.op, "residual");
    check_shape(in.residual, in.x.shape(), o.op, "residual", "[like input]");
    check_same_device(in.x, in.residual, o.op);
  }
  if (o.groups == 0) return;
  check(o.groups > 0 && c % o.groups == 0, o.op, ": num_groups must divide the channels, got ", o.groups, " groups of ",
        c, " channels");
}

void check_running(const ChannelNormInputs& in, const RunningStatistics& running, const ChannelNormOptions& o) {
  const Shape shape{in.x.dim(1)};
  for (const auto& [statistics, name] :
       {std::pair{&running.mean, "running_mean"}, std::pair{&running.variance, "running_var"}}) {
    check(statistics->defined() || !o.given, o.op, ": ", name, " must be given where it is not computed");
    if (!statistics->defined()) continue;
    check_floating(*statistics, o.op, name);
    check_shape(*statistics, shape, o.op, name, "[C]");
    check_same_device(in.x, *statistics, o.op);
  }
  check(running.mean.defined() == running.variance.defined(), o.op,
        ": running_mean and running_var must be given together");
}

}  // namespace

ChannelNormOutput channel_norm_forward(const ChannelNormInputs& in, const RunningStatistics& running,
                                       const ChannelNormOptions& o) {
  check_inputs(in, o);
  check_running(in, running, o);
  const Array& x = in.x;
  const ImageSizes size = image_sizes(x);
  const int64_t slices = o.groups == 0 ? size.c : size.n * o.groups;
  if (x.numel() == 0) {
    const Array none = zeros({slices}, DType::float32, x.device());
    return {empty_like(x), none, none};
  }
  const Array residual = like(in.residual, x);
  if (x.device() != Device::cpu) {
    return device_channel_norm_forward({x, residual, in.gamma, in.beta}, running, o);
  }
  const Array y = empty_like(x);
  // A copy: the buffer may have changed by the time of the backward pass.
  const Array mean = o.given ? as_float(running.mean).clone() : Array({slices});
  const Array variance = o.given ? as_float(running.variance) : Array({slices});
  const Array rstd({slices});
  const ChannelNormInputs as_read{x, residual, as_float(in.gamma), as_float(in.beta)};
  (reads_pixels(x, o.groups) ? pixels_forward : slices_forward)({as_read, o, y, mean, variance, rstd});
  if (running.mean.defined() && !o.given) update(running, mean, variance, size, o);
  return {y, mean, rstd};
}

ChannelNormGradients channel_norm_backward(const Array& dy, const ChannelNormInputs& in, const Array& y,
                                           const Array& mean, const Array& rstd, const ChannelNormOptions& o,
                                           const ChannelNormWants& wants) {
  const Array& x = in.x;
  check_shape(dy, x.shape(), o.op, "gradient", "[like the output]");
  const Array g = like(dy, x);
  const Shape channels{x.dim(1)};
  ChannelNormGradients out;
  if (x.numel() == 0) {
    out = {empty_like(x), empty_like(x), zeros(channels, DType::float32, x.device()),
           zeros(channels, DType::float32, x.device())};
  } else if (x.device() != Device::cpu) {
    out = device_channel_norm_backward(g, in, y, mean, rstd, o, wants);
  } else {
    if (wants.x) out.dx = empty_like(x);
    if (wants.residual && o.relu) out.dresidual = empty_like(x);
    const bool sums = wants.gamma || wants.beta || out.dresidual.defined() || (wants.x && !o.given);
    const ChannelNormInputs as_read{x, {}, as_float(in.gamma), as_float(in.beta)};
    const NormBackward b{as_read, o, g, y, mean, rstd, sums};
    (reads_pixels(x, o.groups) ? pixels_backward : slices_backward)(b, out);
  }
  if (wants.residual && !o.relu) out.dresidual = g;
  if (!wants.x) out.dx = Array();
  if (!wants.residual) out.dresidual = Array();
  if (!wants.gamma) out.dgamma = Array();
  if (!wants.beta) out.dbeta = Array();
  return out;
}

}  // namespace nonet
