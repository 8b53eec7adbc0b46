#include "ops/loss/common.h"

#include <algorithm>
#include <atomic>
#include <vector>

#include "array/launch.h"

namespace nonet {

namespace {

constexpr int64_t block = 16384;

// body(begin, end) -> double over fixed blocks, added in their order.
template <class Body>
double blockwise_sum(int64_t n, const Body& body) {
  if (n <= block) return body(0, n);
  std::vector<double> partial((n + block - 1) / block);
  parallel_for(n, block, [&](int64_t begin, int64_t end) { partial[begin / block] = body(begin, end); });
  double out = 0;
  for (const double p : partial) out += p;
  return out;
}

}  // namespace

Reduction reduction_from_name(std::string_view name, const char* op) {
  if (name == "mean") return Reduction::mean;
  if (name == "sum") return Reduction::sum;
  check(name == "none", op, ": reduction must be none, mean or sum, got ", name);
  return Reduction::none;
}

ClassAxis class_axis(const Shape& x, const char* op) {
  check(x.rank() > 0, op, ": input must have shape [C] or [N, C, ...], got []");
  const int axis = class_axis_of(x);
  return {x.product(0, axis), x[axis], x.product(axis + 1, x.rank())};
}

Shape position_shape(const Shape& x) {
  Shape out;
  for (int axis = 0; axis < x.rank(); ++axis) {
    if (axis != class_axis_of(x)) out.push_back(x[axis]);
  }
  return out;
}

Array class_weights(const Array* weight, int64_t classes, const char* op) {
  if (weight == nullptr) return {};
  check_floating(*weight, op, "weight");
  check_shape(*weight, {classes}, op, "weight", "[C]");
  return weight->to(DType::float32);
}

Array class_indices(const Array& target, const Shape& x, int64_t ignore, const char* op) {
  check<TypeError>(is_integer(target.dtype()), op, ": target must hold class indices (integers), got ", target.dtype());
  const Shape positions = position_shape(x);
  check(target.rank() != positions.rank() || positions.rank() == 0 || target.dim(0) == positions[0], op,
        ": target must have the batch size of the input, ", x[0], ", got shape ", target.shape());
  check_shape(target, positions, op, "target", "[input without its class axis]");
  const Array out = target.plain().to(DType::int64);
  if (out.device() != Device::cpu) return out;
  const int64_t* t = out.data<int64_t>();
  const int64_t classes = x[class_axis_of(x)];
  std::atomic<int64_t> wrong = -1;
  parallel_for(out.numel(), block, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      if ((t[i] < 0 || t[i] >= classes) && t[i] != ignore) wrong = i;
    }
  });
  if (wrong >= 0) {
    for (int64_t i = 0; i < out.numel(); ++i) {
      check<IndexError>((t[i] >= 0 && t[i] < classes) || t[i] == ignore, op, ": target must lie in [0, ", classes,
                        "), got ", t[i]);
    }
  }
  return out;
}

double target_weight(const Array& target, const Array& weight, int64_t ignore) {
  const int64_t* t = target.data<int64_t>();
  const float* w = weight.defined() ? weight.data<float>() : nullptr;
  return blockwise_sum(target.numel(), [&](int64_t begin, int64_t end) {
    double out = 0;
    for (int64_t i = begin; i < end; ++i) {
      if (t[i] != ignore) out += w == nullptr ? 1. : w[t[i]];
    }
    return out;
  });
}

Array device_target_weight(const Array& target, const Array& weight, int64_t ignore, int64_t classes, const char* op) {
  const Array out({2}, DType::float32, Format::plain, target.device());  // float64 is no dtype
  const int64_t n = target.numel();
  on_device(&LossDevice::target_weight, op, out, target, weight, ignore, classes, n, loss_parts(n, target.device()),
            out);
  return out;
}

Array loss_parts(int64_t n, Device device) {
  const int64_t parts = std::clamp<int64_t>((n + loss_block - 1) / loss_block, 1, most_loss_parts);
  return Array({2 * parts}, DType::float32, Format::plain, device);
}

double total(const float* values, int64_t n) {
  return blockwise_sum(n, [&](int64_t begin, int64_t end) {
    double lane[4] = {};
    int64_t i = begin;
    for (; i + 4 <= end; i += 4) {
      for (int k = 0; k < 4; ++k) lane[k] += values[i + k];
    }
    for (; i < end; ++i) lane[0] += values[i];
    return (lane[0] + lane[1]) + (lane[2] + lane[3]);
  });
}

Array device_reduce_losses(const Array& losses, Reduction reduction, double divisor, const Array& device_divisor,
                           DType dtype, const char* op) {
  if (reduction == Reduction::none) return losses.to(dtype);
  const Array out(Shape{}, DType::float32, Format::plain, losses.device());
  const int64_t n = losses.numel();
  on_device(&LossDevice::total, op, out, losses, n, divisor, device_divisor, loss_parts(n, losses.device()), out);
  return out.to(dtype);
}

Array reduce_losses(const Array& losses, Reduction reduction, double divisor, DType dtype) {
  if (reduction == Reduction::none) return losses.to(dtype);
  Array out(Shape{});
  *out.data<float>() = static_cast<float>(total(losses.data<float>(), losses.numel()) / divisor);
  return out.to(dtype);
}

}  // namespace nonet
