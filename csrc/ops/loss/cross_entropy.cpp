#include "ops/loss/cross_entropy.h"

#include "array/axis.h"
#include "array/launch.h"
#include "ops/loss/common.h"
#include "ops/reduce/device.h"

namespace nonet {

namespace {

constexpr const char* op = "cross_entropy";

ClassTerms terms_of(const CrossEntropyTask& task, int64_t classes) {
  ClassTerms out{nullptr, static_cast<float>(classes), static_cast<float>(task.smoothing),
                 static_cast<float>(1. / task.divisor)};
  if (task.weight.defined()) {
    out.weight = task.weight.data<float>();
    out.weight_sum = static_cast<float>(total(out.weight, classes));
  }
  return out;
}

float* pointer(const Array& array) {
  return array.defined() ? array.data<float>() : nullptr;
}

ClassLoss device_losses(const CrossEntropyTask& task, const Array& x, const Array& target, bool want_dx,
                        bool want_dtarget, bool in_place) {
  const auto [outer, classes, inner] = class_axis(x.shape(), op);
  const ReducePlan plan = reduce_plan(outer, classes, inner);
  if (!columns_fit(plan)) {  // as rows, in the same order of positions
    const int a = class_axis_of(x.shape());
    const Array wanted = task.probabilities ? axis_last(target, a) : target.reshape({outer * inner});
    ClassLoss out = device_losses(task, axis_last(x, a), wanted, want_dx, want_dtarget, true);
    out.loss = out.loss.reshape(position_shape(x.shape()));
    if (want_dx) out.dx = axis_back(out.dx, x.shape(), a);
    if (out.dtarget.defined()) out.dtarget = axis_back(out.dtarget, x.shape(), a);
    return out;
  }
  const Array logits = task.probabilities ? x.to(DType::float32) : x;
  const auto smoothing = static_cast<float>(task.smoothing);
  const auto scratch = [&](int64_t registers) {
    return inner == 1 ? slice_scratch(plan, registers, x.device()) : Array();
  };
  ClassLoss out{Array(position_shape(logits.shape()), DType::float32, Format::plain, logits.device()), {}, {}};
  if (want_dx) out.dx = in_place ? logits : empty_like(logits);
  if (want_dtarget && task.probabilities) out.dtarget = empty_like(target);
  if (out.loss.numel() == 0) return out;
  if (task.probabilities) {
    on_device(&CrossEntropyDevice::probability, op, out.loss, logits, target, task.weight, smoothing,
              static_cast<float>(1. / task.divisor), out.loss, out.dx, out.dtarget, plan,
              scratch(CrossEntropyDevice::registers_probability));
    return out;
  }
  Array weight_sum;
  if (smoothing != 0.f && task.weight.defined()) {
    weight_sum = device_reduce_losses(task.weight, Reduction::sum, 1, {}, DType::float32, op);
  }
  on_device(&CrossEntropyDevice::index, op, out.loss, logits.dtype(), logits, target, task.ignore, task.weight,
            weight_sum, smoothing, task.device_divisor, out.loss, out.dx, plan, scratch(CrossEntropyDevice::registers));
  return out;
}

}  // namespace

CrossEntropyTask cross_entropy_task(const Shape& logits, const Array& target, const Array* weight, int64_t ignore,
                                    double smoothing, Reduction reduction) {
  const ClassAxis axis = class_axis(logits, op);
  check(smoothing >= 0 && smoothing <= 1, op, ": label_smoothing must be in [0, 1], got ", smoothing);
  CrossEntropyTask task;
  task.weight = class_weights(weight, axis.classes, op);
  task.ignore = ignore;
  task.smoothing = smoothing;
  task.probabilities = target.shape() == logits;
  if (task.probabilities) {
    check<TypeError>(is_floating(target.dtype()), op,
                     ": target of the input's shape must hold class probabilities (floating point), got ",
                     target.dtype());
    check(ignore < 0, op, ": ignore_index is for class indices, not for probabilities, got ", ignore);
    task.target = target.plain().to(DType::float32);
    if (reduction == Reduction::mean) task.divisor = static_cast<double>(axis.outer * axis.inner);
  } else {
    task.target = class_indices(target, logits, ignore, op);
    if (reduction == Reduction::mean && target.device() != Device::cpu) {
      task.device_divisor = device_target_weight(task.target, task.weight, ignore, axis.classes, op);
    } else if (reduction == Reduction::mean) {
      task.divisor = target_weight(task.target, task.weight, ignore);
    }
  }
  return task;
}

ClassLoss cross_entropy_losses(const CrossEntropyTask& task, const Array& logits, const Array& target, bool want_dx,
                               bool want_dtarget, const PartialSoftmax& partial, bool in_place) {
  if (logits.device() != Device::cpu) return device_losses(task, logits, target, want_dx, want_dtarget, in_place);
  const ClassAxis axis = class_axis(logits.shape(), op);
  const ClassTerms terms = terms_of(task, axis.classes);
  ClassLoss out{Array(position_shape(logits.shape())), {}, {}};
  if (!task.probabilities) {
    if (want_dx) out.dx = partial.largest != nullptr ? logits : empty_like(logits);
    cross_entropy_kernels().index(logits.data<float>(), target.data<int64_t>(), task.ignore, terms, partial,
                                  out.loss.data<float>(), pointer(out.dx), axis);
    return out;
  }
  const int a = class_axis_of(logits.shape());
  const Array x = axis_last(logits, a);
  const Array q = axis_last(target, a);
  if (want_dx) out.dx = empty_like(x);
  if (want_dtarget) out.dtarget = empty_like(x);
  cross_entropy_kernels().probability(x.data<float>(), q.data<float>(), terms, out.loss.data<float>(), pointer(out.dx),
                                      pointer(out.dtarget), {x.dim(0), axis.classes, 1});
  if (want_dx) out.dx = axis_back(out.dx, logits.shape(), a);
  if (want_dtarget) out.dtarget = axis_back(out.dtarget, logits.shape(), a);
  return out;
}

ClassLoss cross_entropy_forward(const Array& x, const Array& target, const Array* weight, int64_t ignore,
                                double smoothing, Reduction reduction, bool want_dx, bool want_dtarget) {
  check_floating(x, op, "input");
  check_same_device(x, target, op);
  const CrossEntropyTask task = cross_entropy_task(x.shape(), target, weight, ignore, smoothing, reduction);
  if (x.device() != Device::cpu) {
    ClassLoss out = cross_entropy_losses(task, x.plain(), task.target, want_dx, want_dtarget);
    out.loss = device_reduce_losses(out.loss, reduction, task.divisor, task.device_divisor, x.dtype(), op);
    return out;
  }
  ClassLoss out = cross_entropy_losses(task, x.plain().to(DType::float32), task.target, want_dx, want_dtarget);
  out.loss = reduce_losses(out.loss, reduction, task.divisor, x.dtype());
  return out;
}

Array class_loss_backward(const Array& dy, const Array& d) {
  const Array g = dy.plain().to(DType::float32);
  const bool uniform = g.rank() == 0;
  if (d.device() != Device::cpu) {
    const ClassAxis axis = class_axis(d.shape(), op);
    if (!uniform) check_shape(g, position_shape(d.shape()), op, "gradient", "[positions]");
    on_device(&ClassLossDevice::scale, op, d, d.dtype(), d, g, uniform, axis);
    return d;
  }
  if (uniform && *g.data<float>() == 1.f) return d;
  const ClassAxis axis = class_axis(d.shape(), op);
  if (!uniform) check_shape(g, position_shape(d.shape()), op, "gradient", "[positions]");
  const Array out = d.to(DType::float32);
  cross_entropy_kernels().scale(out.data<float>(), g.data<float>(), uniform, axis);
  return out.to(d.dtype());
}

Array nll_loss_forward(const Array& x, const Array& target, const Array* weight, int64_t ignore, Reduction reduction) {
  check_floating(x, "nll_loss", "input");
  const ClassAxis axis = class_axis(x.shape(), "nll_loss");
  const Array w = class_weights(weight, axis.classes, "nll_loss");
  const Array t = class_indices(target, x.shape(), ignore, "nll_loss");
  check_same_device(x, t, "nll_loss");
  if (x.device() != Device::cpu) {
    const Array losses(t.shape(), DType::float32, Format::plain, x.device());
    on_device(&ClassLossDevice::nll, "nll_loss", losses, x.dtype(), x.plain(), t, ignore, w, losses, axis);
    Array divisor;
    if (reduction == Reduction::mean) divisor = device_target_weight(t, w, ignore, axis.classes, "nll_loss");
    return device_reduce_losses(losses, reduction, 1, divisor, x.dtype(), "nll_loss");
  }
  const Array logs = x.plain().to(DType::float32);
  Array losses(t.shape());
  const float* in = logs.data<float>();
  const int64_t* index = t.data<int64_t>();
  float* out = losses.data<float>();
  parallel_for(t.numel(), 16384, [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) {
      const int64_t at = (k / axis.inner * axis.classes + index[k]) * axis.inner + k % axis.inner;
      out[k] = index[k] == ignore ? 0.f : -in[at] * (w.defined() ? w.data<float>()[index[k]] : 1.f);
    }
  });
  const double divisor = reduction == Reduction::mean ? target_weight(t, w, ignore) : 1.;
  return reduce_losses(losses, reduction, divisor, x.dtype());
}

Array nll_loss_backward(const Array& dy, const Shape& shape, const Array& target, const Array* weight, int64_t ignore,
                        Reduction reduction) {
  const ClassAxis axis = class_axis(shape, "nll_loss");
  const Array w = class_weights(weight, axis.classes, "nll_loss");
  const Array t = target.plain().to(DType::int64);
  const bool uniform = reduction != Reduction::none;
  if (t.device() != Device::cpu) {
    check_shape(dy, uniform ? Shape{} : t.shape(), "nll_loss", "gradient", "[like the output]");
    const Array dx = zeros(shape, dy.dtype(), dy.device());
    Array divisor;
    if (reduction == Reduction::mean) divisor = device_target_weight(t, w, ignore, axis.classes, "nll_loss");
    on_device(&ClassLossDevice::nll_gradient, "nll_loss", dx, dy.dtype(), dy.plain().to(DType::float32), uniform, t,
              ignore, w, divisor, dx, axis);
    return dx;
  }
  const double divisor = reduction == Reduction::mean ? target_weight(t, w, ignore) : 1.;
  const float scale = static_cast<float>(1. / divisor);
  const Array g = dy.plain().to(DType::float32);
  check_shape(g, uniform ? Shape{} : t.shape(), "nll_loss", "gradient", "[like the output]");
  const Array dx = zeros(shape);
  const int64_t* index = t.data<int64_t>();
  parallel_for(t.numel(), 16384, [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) {
      if (index[k] == ignore) continue;
      const int64_t at = (k / axis.inner * axis.classes + index[k]) * axis.inner + k % axis.inner;
      const float factor = w.defined() ? w.data<float>()[index[k]] : 1.f;
      dx.data<float>()[at] = -factor * scale * g.data<float>()[uniform ? 0 : k];
    }
  });
  return dx.to(dy.dtype());
}

}  // namespace nonet
