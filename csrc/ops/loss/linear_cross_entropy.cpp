#include "ops/loss/linear_cross_entropy.h"

#include <algorithm>
#include <bit>

#include "ops/elementwise/elementwise.h"
#include "ops/loss/common.h"
#include "ops/matmul/linear.h"
#include "ops/reduce/axes.h"
#include "ops/reduce/reduce.h"

namespace nonet {

namespace {

constexpr const char* op = "linear_cross_entropy";

// Small problems in one chunk; large ones in chunks whose logits take about the memory of x, and at least as many rows
// as a matrix product needs to run well.
int64_t default_chunk(int64_t rows, int64_t features, int64_t columns, Device device) {
  constexpr int64_t small = int64_t{1} << 18;
  const int64_t fewest = device == Device::cpu ? 128 : 1024;
  if (rows * columns <= small) return rows;
  const int64_t even = rows * features / columns;
  return std::max(fewest, static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(std::max<int64_t>(even, 1)))));
}

struct Problem {
  Array x;       // [N, F], as it is stored
  Array weight;  // [C * K, F], the same
  Array bias;    // [C * K] or undefined
  Shape logits;  // [N, C, k…]
  Shape given;   // the same for the caller: [C] for a single x
  int64_t chunk;
  Precision precision;

  Device device() const { return x.device(); }
};

bool is_bfloat16(const Array& x) {
  return x.dtype() == DType::bfloat16;
}

Problem prepare(const LinearCrossEntropy& options, const Array& x, const Array& weight, const Array& bias) {
  check_floating(x, op, "input");
  const bool mixed = options.numerics.mixed;
  check<TypeError>(mixed ? is_floating(weight.dtype()) : weight.dtype() == x.dtype(), op, ": linear_weight must be ",
                   x.dtype(), " like input, got ", weight.dtype());
  check(x.rank() == 1 || x.rank() == 2, op, ": input must have shape [N, F] or [F], got ", x.shape());
  check(weight.rank() >= 2, op, ": linear_weight must have shape [C, ..., F], got ", weight.shape());
  const int64_t features = x.shape().back();
  check(weight.shape().back() == features, op, ": linear_weight must have shape [C, ..., F] with F = ", features,
        ", got ", weight.shape());
  check(x.rank() == 2 || weight.rank() == 2, op, ": a loss of several dimensions needs an input [N, F], got ",
        x.shape());
  const Shape outputs = weight.shape().slice(0, weight.rank() - 1);
  if (bias.defined()) {
    check<TypeError>(mixed ? is_floating(bias.dtype()) : bias.dtype() == x.dtype(), op, ": linear_bias must be ",
                     x.dtype(), " like input, got ", bias.dtype());
    check_shape(bias, outputs, op, "linear_bias", "[C, ...]");
  }
  const int64_t rows = x.rank() == 2 ? x.dim(0) : 1;
  const int64_t columns = outputs.numel();
  check_same_device(x, weight, op);
  if (bias.defined()) check_same_device(x, bias, op);
  Problem out{x.plain().reshape({rows, features}),
              weight.plain().reshape({columns, features}),
              bias.defined() ? bias.plain().to(DType::float32).reshape({columns}) : Array(),
              {rows},
              {},
              options.chunk > 0 ? options.chunk : default_chunk(rows, features, columns, x.device()),
              options.numerics.precision};
  for (const int64_t size : outputs) out.logits.push_back(size);
  out.given = x.rank() == 2 ? out.logits : outputs;
  return out;
}

// Rows [begin, end) of the target, as a target of logits [N, C, k…].
Array target_rows(const Problem& p, const CrossEntropyTask& task, int64_t begin, int64_t end) {
  const Shape whole = task.probabilities ? p.logits : position_shape(p.logits);
  return task.target.reshape(whole).rows(begin, end);
}

struct Logits {
  Array values;
  Array largest, sum;  // of parts of each row, or undefined
  int64_t parts = 0;

  PartialSoftmax partial() const {
    if (!largest.defined()) return {};
    return {largest.data<float>(), sum.data<float>(), parts};
  }
};

// partial: the product finds what softmax starts from.
Logits logits_of(const Problem& p, int64_t begin, int64_t end, bool partial) {
  const Array x = p.x.rows(begin, end);
  Logits out{Array(p.logits.with(0, end - begin)), {}, {}};
  const int64_t features = p.x.dim(1);
  Gemm g{.m = end - begin,
         .n = p.weight.dim(0),
         .k = features,
         .a = x.raw<void>(),
         .lda = features,
         .transpose_a = false,
         .b = p.weight.raw<void>(),
         .ldb = features,
         .transpose_b = true,
         .c = out.values.raw<void>(),
         .a_is_bfloat16 = is_bfloat16(x),
         .b_is_bfloat16 = is_bfloat16(p.weight),
         .precision = p.precision};
  if (p.bias.defined()) g.bias = p.bias.data<float>();
  if (partial) {
    out.parts = (g.n + 31) / 32;
    out.largest = Array({g.m, out.parts});
    out.sum = Array({g.m, out.parts});
    g.row_max = out.largest.data<float>();
    g.row_sum = out.sum.data<float>();
  }
  run_gemm(g, &p.weight);
  return out;
}

// What a device does with the products of arrays. They want operands of one dtype; that the logits are float32 is worth
// wider operands, which medium then multiplies as the bfloat16 numbers that they are.
Array device_logits(const Problem& p, int64_t begin, int64_t end) {
  const Array x = p.x.rows(begin, end);
  const bool narrow = is_bfloat16(x) && is_bfloat16(p.weight);
  const Array logits = linear_forward(x.to(DType::float32), p.weight.to(DType::float32), p.bias, {},
                                      FusedActivation::none, {narrow ? Precision::medium : p.precision}, nullptr);
  return logits.reshape(p.logits.with(0, end - begin));
}

ClassLoss losses_of(const Problem& p, const CrossEntropyTask& task, int64_t begin, int64_t end, bool want_dlogits,
                    bool want_dtarget) {
  if (p.device() != Device::cpu) {
    return cross_entropy_losses(task, device_logits(p, begin, end), target_rows(p, task, begin, end), want_dlogits,
                                want_dtarget, {}, true);
  }
  const Logits logits = logits_of(p, begin, end, !task.probabilities && p.logits.rank() == 2);
  return cross_entropy_losses(task, logits.values, target_rows(p, task, begin, end), want_dlogits, want_dtarget,
                              logits.partial());
}

void device_add_gradients(const Problem& p, const Array& dlogits, int64_t begin, int64_t end, LinearGradients& out) {
  const Numerics numerics{p.precision};
  const Array d = dlogits.reshape({end - begin, p.weight.dim(0)});
  const bool more = begin > 0;
  if (out.x.defined()) {
    const Array dx = matmul_forward(d, p.weight.to(DType::float32), false, false, numerics, op, 1, {});
    copy_into(out.x.rows(begin, end), dx, op);
  }
  if (out.weight.defined()) {
    const Array x = p.x.rows(begin, end).to(DType::float32);
    out.weight = matmul_forward(d, x, true, false, numerics, op, 1, more ? out.weight : Array());
  }
  if (out.bias.defined()) {
    const Array db = reduce_sum(d, Axes(d.shape(), std::vector<int64_t>{0}, op), false);
    out.bias = more ? add(out.bias, db) : db;
  }
}

// dx of these rows; their part of dw and db is added to what the chunks before gave.
void add_gradients(const Problem& p, const Array& dlogits, int64_t begin, int64_t end, LinearGradients& out) {
  if (p.device() != Device::cpu) return device_add_gradients(p, dlogits, begin, end, out);
  const int64_t rows = end - begin;
  const int64_t columns = p.weight.dim(0);
  const int64_t features = p.x.dim(1);
  const Array x = p.x.rows(begin, end);
  const float* d = dlogits.data<float>();
  if (out.x.defined()) {
    run_gemm({.m = rows,
              .n = features,
              .k = columns,
              .a = d,
              .lda = columns,
              .transpose_a = false,
              .b = p.weight.raw<void>(),
              .ldb = features,
              .transpose_b = false,
              .c = out.x.data<float>() + begin * features,
              .b_is_bfloat16 = is_bfloat16(p.weight),
              .precision = p.precision});
  }
  if (out.weight.defined()) {
    run_gemm({.m = columns,
              .n = features,
              .k = rows,
              .a = d,
              .lda = columns,
              .transpose_a = true,
              .b = x.raw<void>(),
              .ldb = features,
              .transpose_b = false,
              .c = out.weight.data<float>(),
              .b_is_bfloat16 = is_bfloat16(x),
              .accumulate = begin > 0,
              .precision = p.precision});
  }
  if (out.bias.defined()) {
    Array ones({rows});
    fill(ones, 1);
    run_gemm({.m = 1,
              .n = columns,
              .k = rows,
              .a = ones.data<float>(),
              .lda = rows,
              .transpose_a = false,
              .b = d,
              .ldb = columns,
              .transpose_b = false,
              .c = out.bias.data<float>(),
              .accumulate = begin > 0});
  }
}

// Memory for the wanted gradients. Without rows nothing will be written, so they start as zeros then.
LinearGradients allocate(const Problem& p, const CrossEntropyTask& task, const LinearWants& wants) {
  const auto make = [&](const Shape& shape) {
    return p.logits[0] == 0 ? zeros(shape, DType::float32, p.device())
                            : Array(shape, DType::float32, Format::plain, p.device());
  };
  LinearGradients out;
  if (wants.x) out.x = make(p.x.shape());
  if (wants.weight) out.weight = make(p.weight.shape());
  if (wants.bias && p.bias.defined()) out.bias = make(p.bias.shape());
  if (wants.target && task.probabilities) out.target = make(p.logits);
  return out;
}

// In the shapes and dtypes of the operands.
void finish(LinearGradients& out, const Array& x, const Array& weight, const Array& target, const Array& bias) {
  if (out.x.defined()) out.x = out.x.reshape(x.shape()).to(x.dtype());
  if (out.weight.defined()) out.weight = out.weight.reshape(weight.shape()).to(weight.dtype());
  if (out.bias.defined()) out.bias = out.bias.reshape(bias.shape()).to(bias.dtype());
  if (out.target.defined()) out.target = out.target.reshape(target.shape()).to(target.dtype());
}

void copy_rows(const Array& out, const Array& rows, int64_t begin) {
  if (out.device() != Device::cpu) return copy_into(out.rows(begin, begin + rows.dim(0)), rows, op);
  const int64_t row = rows.dim(0) == 0 ? 0 : rows.numel() / rows.dim(0);
  std::copy_n(rows.data<float>(), rows.numel(), out.data<float>() + begin * row);
}

}  // namespace

LinearGradients linear_cross_entropy_forward(const LinearCrossEntropy& options, const Array& x, const Array& weight,
                                             const Array& target, const Array& bias, const LinearWants& wants) {
  const Problem p = prepare(options, x, weight, bias);
  const CrossEntropyTask task =
      cross_entropy_task(p.given, target, options.class_weight, options.ignore, options.smoothing, options.reduction);
  const bool whole = options.reduction == Reduction::none;
  LinearGradients out = allocate(p, task, whole ? LinearWants{} : wants);
  const bool want_dlogits = out.x.defined() || out.weight.defined() || out.bias.defined();
  const Array losses(position_shape(p.logits), DType::float32, Format::plain, p.device());
  for (int64_t begin = 0; begin < p.logits[0]; begin += p.chunk) {
    const int64_t end = std::min(begin + p.chunk, p.logits[0]);
    const ClassLoss part = losses_of(p, task, begin, end, want_dlogits, out.target.defined());
    copy_rows(losses, part.loss, begin);
    if (want_dlogits) add_gradients(p, part.dx, begin, end, out);
    if (out.target.defined()) copy_rows(out.target, part.dtarget, begin);
  }
  const Array given = losses.reshape(position_shape(p.given));
  const DType dtype = options.numerics.mixed ? DType::float32 : x.dtype();
  out.loss = p.device() == Device::cpu
                 ? reduce_losses(given, options.reduction, task.divisor, dtype)
                 : device_reduce_losses(given, options.reduction, task.divisor, task.device_divisor, dtype, op);
  finish(out, x, weight, target, bias);
  return out;
}

LinearGradients linear_cross_entropy_backward(const LinearCrossEntropy& options, const Array& dloss, const Array& x,
                                              const Array& weight, const Array& target, const Array& bias,
                                              const LinearWants& wants) {
  const Problem p = prepare(options, x, weight, bias);
  const CrossEntropyTask task =
      cross_entropy_task(p.given, target, options.class_weight, options.ignore, options.smoothing, options.reduction);
  check_shape(dloss, position_shape(p.given), op, "gradient", "[like the output]");
  const Array g = dloss.plain().to(DType::float32).reshape(position_shape(p.logits));
  LinearGradients out = allocate(p, task, wants);
  const bool want_dlogits = out.x.defined() || out.weight.defined() || out.bias.defined();
  for (int64_t begin = 0; begin < p.logits[0]; begin += p.chunk) {
    const int64_t end = std::min(begin + p.chunk, p.logits[0]);
    const ClassLoss part = losses_of(p, task, begin, end, want_dlogits, out.target.defined());
    if (want_dlogits) add_gradients(p, class_loss_backward(g.rows(begin, end), part.dx), begin, end, out);
    if (out.target.defined()) copy_rows(out.target, class_loss_backward(g.rows(begin, end), part.dtarget), begin);
  }
  finish(out, x, weight, target, bias);
  return out;
}

}  // namespace nonet
