#include "ops/ctc/ctc.h"

#include <algorithm>
#include <vector>

#include "array/launch.h"
#include "ops/loss/common.h"

namespace nonet {

namespace {

constexpr const char* op_name = "ctc_loss";

// int64 [N], each in [0, most].
const int64_t* checked_lengths(const Array& lengths, int64_t batch, int64_t most, const char* argument) {
  check_shape(lengths, {batch}, op_name, argument, "[N]");
  const int64_t* out = lengths.data<int64_t>();
  for (int64_t n = 0; n < batch; ++n) {
    check(out[n] >= 0 && out[n] <= most, op_name, ": ", argument, " must lie in [0, ", most, "], got ", out[n]);
  }
  return out;
}

// Where the labels of each sequence begin.
std::vector<int64_t> label_starts(const Array& targets, const int64_t* lengths, int64_t batch, bool padded) {
  std::vector<int64_t> out(batch);
  int64_t sum = 0;
  for (int64_t n = 0; n < batch; ++n) {
    out[n] = padded ? n * targets.dim(1) : sum;
    sum += lengths[n];
  }
  check(padded || sum == targets.dim(0), op_name, ": targets without a batch axis must have as many labels as ",
        "target_lengths add up to, ", sum, ", got shape ", targets.shape());
  return out;
}

void check_labels(const int64_t* labels, int64_t count, int64_t classes, int64_t blank) {
  for (int64_t k = 0; k < count; ++k) {
    check<IndexError>(labels[k] >= 0 && labels[k] < classes, op_name, ": targets must lie in [0, ", classes, "), got ",
                      labels[k]);
    check(labels[k] != blank, op_name, ": targets must not be the blank, ", blank);
  }
}

// The losses are scaled already; a mean of none is NaN.
double mean_divisor(Reduction reduction, int64_t batch) {
  return reduction == Reduction::mean && batch == 0 ? 0. : 1.;
}

// What is known of a batch in main memory, [N] each.
struct HostArrays {
  const int64_t* step_lengths;
  const int64_t* label_lengths;
  const int64_t* starts;
  const float* scale;
};

ClassLoss device_loss(const Array& log_probs, const Array& labels, const HostArrays& host, CtcBatch batch,
                      Reduction reduction, bool want_dx) {
  const Device device = log_probs.device();
  const int64_t n = batch.batch;
  Array numbers(Shape{3, n}, DType::int64);
  Array scale(Shape{n});
  int64_t* to = numbers.data<int64_t>();
  for (const int64_t* from : {host.step_lengths, host.label_lengths, host.starts}) to = std::copy_n(from, n, to);
  std::copy_n(host.scale, n, scale.data<float>());
  numbers = numbers.to(device);
  scale = scale.to(device);
  const Array x = log_probs.plain().to(DType::float32);
  const Array losses(log_probs.rank() == 3 ? Shape{n} : Shape{}, DType::float32, Format::plain, device);
  ClassLoss out;
  if (want_dx) out.dx = empty_like(x);
  if (n > 0) {
    const int64_t longest = *std::max_element(host.label_lengths, host.label_lengths + n);
    const Array scratch(Shape{n * ctc_scratch(batch.steps, longest, want_dx)}, DType::float32, Format::plain, device);
    const auto* lengths = static_cast<const int64_t*>(numbers.address());
    batch.log_probs = static_cast<const float*>(x.address());
    batch.labels = static_cast<const int64_t*>(labels.address());
    batch.step_lengths = lengths;
    batch.label_lengths = lengths + n;
    batch.starts = lengths + 2 * n;
    batch.scale = static_cast<const float*>(scale.address());
    batch.loss = static_cast<float*>(losses.address());
    batch.dx = want_dx ? static_cast<float*>(out.dx.address()) : nullptr;
    on_device(&CtcDevice::run, op_name, losses, batch, longest, scratch);
  }
  out.loss = device_reduce_losses(losses, reduction, mean_divisor(reduction, n), {}, log_probs.dtype(), op_name);
  return out;
}

}  // namespace

ClassLoss ctc_loss_forward(const Array& log_probs, const Array& targets, const Array& input_lengths,
                           const Array& target_lengths, int64_t blank, Reduction reduction, bool zero_infinity,
                           bool want_dx) {
  check_floating(log_probs, op_name, "log_probs");
  check(log_probs.rank() == 2 || log_probs.rank() == 3, op_name,
        ": log_probs must have shape [T, N, C] or [T, C], got ", log_probs.shape());
  check<TypeError>(is_integer(targets.dtype()), op_name, ": targets must hold class indices (integers), got ",
                   targets.dtype());
  check_same_device(log_probs, targets, op_name);
  const bool batched = log_probs.rank() == 3;
  const int64_t steps = log_probs.dim(0);
  const int64_t batch = batched ? log_probs.dim(1) : 1;
  const int64_t classes = log_probs.shape().back();
  check(blank >= 0 && blank < classes, op_name, ": blank must lie in [0, ", classes, "), got ", blank);
  const bool padded = batched && targets.rank() == 2;
  if (padded) {
    check(targets.dim(0) == batch, op_name, ": targets must have shape [N, S] or [labels] with N = ", batch, ", got ",
          targets.shape());
  } else {
    check_rank(targets, 1, op_name, "targets", batched ? "[N, S] or [labels]" : "[S]");
  }
  const int64_t* step_lengths = checked_lengths(input_lengths, batch, steps, "input_lengths");
  const int64_t* label_lengths = checked_lengths(target_lengths, batch, targets.dim(padded ? 1 : 0), "target_lengths");
  const std::vector<int64_t> starts = label_starts(targets, label_lengths, batch, padded);
  std::vector<float> scale(batch, 1.f);
  if (reduction == Reduction::mean) {
    for (int64_t n = 0; n < batch; ++n) {
      scale[n] = 1.f / static_cast<float>(std::max<int64_t>(label_lengths[n], 1) * batch);
    }
  }
  const Array labels = targets.to(DType::int64);
  if (log_probs.device() != Device::cpu) {
    CtcBatch sizes{};
    sizes.steps = steps;
    sizes.batch = batch;
    sizes.classes = classes;
    sizes.blank = blank;
    sizes.zero_infinity = zero_infinity;
    return device_loss(log_probs, labels, {step_lengths, label_lengths, starts.data(), scale.data()}, sizes, reduction,
                       want_dx);
  }
  for (int64_t n = 0; n < batch; ++n) {
    check_labels(labels.data<int64_t>() + starts[n], label_lengths[n], classes, blank);
  }
  const Array x = log_probs.plain().to(DType::float32);
  const Array losses(batched ? Shape{batch} : Shape{});
  ClassLoss out;
  if (want_dx) out.dx = empty_like(x);
  ctc_kernels().run({.steps = steps,
                     .batch = batch,
                     .classes = classes,
                     .blank = blank,
                     .log_probs = x.data<float>(),
                     .labels = labels.data<int64_t>(),
                     .starts = starts.data(),
                     .label_lengths = label_lengths,
                     .step_lengths = step_lengths,
                     .scale = scale.data(),
                     .zero_infinity = zero_infinity,
                     .loss = losses.data<float>(),
                     .dx = want_dx ? out.dx.data<float>() : nullptr});
  out.loss = reduce_losses(losses, reduction, mean_divisor(reduction, batch), log_probs.dtype());
  return out;
}

Array ctc_loss_backward(const Array& dy, const Array& d) {
  const bool uniform = dy.rank() == 0;
  const Array g = dy.plain().to(DType::float32);
  const int64_t batch = d.rank() == 3 ? d.dim(1) : 1;
  if (!uniform) check_shape(g, {batch}, op_name, "gradient", "[N]");
  if (d.device() != Device::cpu) {
    on_device(&CtcDevice::scale, op_name, d, d, g, uniform, d.dim(0), batch, d.shape().back());
    return d;
  }
  if (uniform && *g.data<float>() == 1.f) return d;
  ctc_kernels().scale(d.data<float>(), g.data<float>(), uniform, d.dim(0), batch, d.shape().back());
  return d;
}

}  // namespace nonet
