#include "ops/loss/pair.h"

#include <cstring>
#include <limits>
#include <vector>

#include "array/launch.h"
#include "ops/loss/common.h"

namespace nonet {

namespace {

constexpr struct {
  const char* name;
  PairLoss kind;
} names[] = {
    {"l1_loss", PairLoss::l1},
    {"mse_loss", PairLoss::mse},
    {"smooth_l1_loss", PairLoss::smooth_l1},
    {"huber_loss", PairLoss::huber},
    {"kl_div", PairLoss::kl_div},
    {"kl_div (log_target)", PairLoss::kl_div_log},
    {"binary_cross_entropy", PairLoss::bce},
    {"binary_cross_entropy_with_logits", PairLoss::bce_logits},
    {"poisson_nll_loss", PairLoss::poisson},
    {"poisson_nll_loss (log_input)", PairLoss::poisson_log},
    {"gaussian_nll_loss", PairLoss::gaussian},
    {"soft_margin_loss", PairLoss::soft_margin},
    {"hinge_embedding_loss", PairLoss::hinge_embedding},
    {"margin_ranking_loss", PairLoss::margin_ranking},
};

const char* name_of(PairLoss kind) {
  for (const auto& entry : names) {
    if (entry.kind == kind) return entry.name;
  }
  return "loss";
}

// The operands in one storage order, as float32; keeps them alive beside the pointers, which are for the CPU.
struct Prepared {
  Array x, y, a, b;
  PairOperands pointers;
};

Prepared prepare(const PairArguments& arguments, const Array& x, const Array& y, const Array* a, const Array* b) {
  const char* op = name_of(arguments.kind);
  check_floating(x, op, "input");
  check_shape(y, x.shape(), op, "target", "[like the input]");
  const auto same = [&](const Array& operand) {
    check_shape(operand, x.shape(), op, "operand", "[like the input]");
    check_same_device(x, operand, op);
    return operand.to_format(x.format()).to(DType::float32);
  };
  Prepared out{x.to(DType::float32), same(y), {}, {}, {}};
  if (a != nullptr) out.a = same(*a);
  if (b != nullptr) out.b = same(*b);
  if (x.device() != Device::cpu) return out;
  out.pointers = {out.x.raw<float>(),
                  out.y.raw<float>(),
                  a == nullptr ? nullptr : out.a.raw<float>(),
                  b == nullptr ? nullptr : out.b.raw<float>(),
                  static_cast<float>(arguments.c),
                  arguments.full};
  return out;
}

double divisor(const PairArguments& arguments, int64_t n) {
  if (arguments.reduction != Reduction::mean) return 1.;
  return static_cast<double>(arguments.count < 0 ? n : arguments.count);
}

void check_values(const PairArguments& arguments, const Prepared& in, int64_t n) {
  const char* op = name_of(arguments.kind);
  const float infinity = std::numeric_limits<float>::infinity();
  if (arguments.kind == PairLoss::bce) {
    check(pair_loss_kernels().inside(in.pointers.x, n, 0.f, 1.f), op,
          ": input must be probabilities in [0, 1]; for logits use binary_cross_entropy_with_logits");
  } else if (arguments.kind == PairLoss::gaussian && in.pointers.a != nullptr) {
    check(pair_loss_kernels().inside(in.pointers.a, n, 0.f, infinity), op, ": var must not be negative");
  }
}

}  // namespace

PairLoss pair_loss_from_name(const char* name) {
  for (const auto& entry : names) {
    if (std::strcmp(entry.name, name) == 0) return entry.kind;
  }
  fail<ValueError>("loss: unknown kind ", name);
}

Array pair_loss_forward(const PairArguments& arguments, const Array& x, const Array& y, const Array* a,
                        const Array* b) {
  const Prepared in = prepare(arguments, x, y, a, b);
  const int64_t n = x.numel();
  if (x.device() != Device::cpu) {
    const bool each = arguments.reduction == Reduction::none;
    const Array loss = each ? empty_like(in.x) : Array(Shape{}, DType::float32, Format::plain, x.device());
    on_device(&PairLossDevice::forward, name_of(arguments.kind), loss, arguments.kind, in.x, in.y, in.a, in.b,
              static_cast<float>(arguments.c), arguments.full, loss, each ? Array() : loss_parts(n, x.device()),
              divisor(arguments, n), n);
    return loss.to(x.dtype());
  }
  check_values(arguments, in, n);
  if (arguments.reduction == Reduction::none) {
    Array loss = empty_like(in.x);
    pair_loss_kernels().forward(arguments.kind, in.pointers, loss.raw<float>(), nullptr, n);
    return loss.to(x.dtype());
  }
  std::vector<double> sums((n + pair_block - 1) / pair_block);
  pair_loss_kernels().forward(arguments.kind, in.pointers, nullptr, sums.data(), n);
  double total = 0;
  for (const double sum : sums) total += sum;
  Array loss(Shape{});
  *loss.data<float>() = static_cast<float>(total / divisor(arguments, n));
  return loss.to(x.dtype());
}

PairArrays pair_loss_backward(const PairArguments& arguments, const Array& dloss, const Array& x, const Array& y,
                              const Array* a, const Array* b, const bool (&want)[3]) {
  const Prepared in = prepare(arguments, x, y, a, b);
  const bool uniform = arguments.reduction != Reduction::none;
  check_shape(dloss, uniform ? Shape{} : x.shape(), name_of(arguments.kind), "gradient", "[like the output]");
  const Array g = dloss.to_format(uniform ? Format::plain : x.format()).to(DType::float32);
  PairArrays out;
  if (want[0]) out.x = empty_like(in.x);
  if (want[1]) out.y = empty_like(in.x);
  if (want[2]) out.a = empty_like(in.x);
  const float scale = static_cast<float>(1. / divisor(arguments, x.numel()));
  if (x.device() != Device::cpu) {
    on_device(&PairLossDevice::backward, name_of(arguments.kind), in.x, arguments.kind, in.x, in.y, in.a, in.b,
              static_cast<float>(arguments.c), arguments.full, g, uniform, scale, out.x, out.y, out.a, x.numel());
  } else {
    pair_loss_kernels().backward(arguments.kind, in.pointers, g.raw<float>(), uniform, scale,
                                 {want[0] ? out.x.raw<float>() : nullptr, want[1] ? out.y.raw<float>() : nullptr,
                                  want[2] ? out.a.raw<float>() : nullptr},
                                 x.numel());
  }
  if (want[0]) out.x = out.x.to(x.dtype());
  if (want[1]) out.y = out.y.to(y.dtype());
  if (want[2]) out.a = out.a.to(a->dtype());
  return out;
}

}  // namespace nonet
