#include "ops/matmul/matmul.h"

#include <algorithm>
#include <vector>

#include "array/launch.h"
#include "base/isa.h"
#include "ops/matmul/packed.h"

namespace nonet {

namespace {

// An operand as a batch of stored matrices [batch..., rows, cols].
struct Matrices {
  Array values;  // plain
  Shape batch;
  int64_t rows;
  int64_t cols;
  bool transpose;

  bool is_bfloat16() const { return values.dtype() == DType::bfloat16; }
  int64_t height() const { return transpose ? cols : rows; }  // of op(matrix)
  int64_t breadth() const { return transpose ? rows : cols; }
};

// A vector is one row (left operand) or one column (right operand), never transposed.
Matrices matrices(const Array& x, bool transpose, bool left) {
  if (x.rank() == 1) return {x.plain(), {}, left ? 1 : x.dim(0), left ? x.dim(0) : 1, false};
  const int r = x.rank();
  return {x.plain(), x.shape().slice(0, r - 2), x.dim(r - 2), x.dim(r - 1), transpose};
}

Matrices matrices(const Array& x, const Shape& batch, int64_t rows, int64_t cols) {
  return {x.plain(), batch, rows, cols, false};
}

Matrices transposed(Matrices x) {
  x.transpose = !x.transpose;
  return x;
}

// Per axis of the full batch, how far an operand of a narrower batch moves (0 where it broadcasts).
Shape batch_steps(const Shape& batch, const Shape& full, int64_t matrix) {
  Shape steps = full;
  int64_t step = matrix;
  for (int axis = full.rank() - 1; axis >= 0; --axis) {
    const int own = axis - (full.rank() - batch.rank());
    const int64_t size = own < 0 ? 1 : batch[own];
    steps[axis] = size == 1 ? 0 : step;
    step *= size;
  }
  return steps;
}

// Offsets of a, b and c for every entry of the full batch, in row-major order.
std::vector<int64_t> batch_offsets(const Shape& full, const Shape (&steps)[3]) {
  const int64_t n = full.numel();
  std::vector<int64_t> out(3 * n);
  Shape index = full;
  for (int axis = 0; axis < full.rank(); ++axis) index[axis] = 0;
  int64_t at[3] = {0, 0, 0};
  for (int64_t i = 0; i < n; ++i) {
    std::copy_n(at, 3, &out[3 * i]);
    for (int axis = full.rank() - 1; axis >= 0; --axis) {
      for (int j = 0; j < 3; ++j) at[j] += steps[j][axis];
      if (++index[axis] < full[axis]) break;
      for (int j = 0; j < 3; ++j) at[j] -= steps[j][axis] * full[axis];
      index[axis] = 0;
    }
  }
  return out;
}

// Entries that share an output are added in their order, one batch per round.
void run_rounds(Gemm g, std::vector<int64_t> offsets, int64_t outputs, int64_t matrix) {
  const int64_t entries = static_cast<int64_t>(offsets.size()) / 3;
  const int64_t rounds = entries / outputs;
  std::vector<int64_t> next(outputs, 0);
  std::vector<int64_t> sorted(offsets.size());
  for (int64_t i = 0; i < entries; ++i) {
    const int64_t output = matrix == 0 ? 0 : offsets[3 * i + 2] / matrix;
    std::copy_n(&offsets[3 * i], 3, &sorted[3 * (next[output]++ * outputs + output)]);
  }
  g.batch = outputs;
  for (int64_t round = 0; round < rounds; ++round) {
    g.offsets = &sorted[3 * round * outputs];
    g.accumulate = round > 0;
    run_gemm(g);
  }
}

// The same batch as loops: first the axes of the outputs, then those that are summed over; axes that lie behind each
// other in all three arrays are one.
GemmBatch batch_loops(const Shape& full, const Shape (&steps)[3], bool has_sums) {
  GemmBatch out;
  for (const bool sums : {false, true}) {
    const int first = out.levels;
    for (int axis = 0; axis < full.rank(); ++axis) {
      if (full[axis] == 1 || (has_sums && steps[2][axis] == 0) != sums) continue;
      const int64_t stride[3] = {steps[0][axis], steps[1][axis], steps[2][axis]};
      const int last = out.levels - 1;
      bool joins = last >= first;
      for (int j = 0; joins && j < 3; ++j) joins = out.stride[last][j] == stride[j] * full[axis];
      const int level = joins ? last : out.levels++;
      out.size[level] = joins ? out.size[level] * full[axis] : full[axis];
      std::copy_n(stride, 3, out.stride[level]);
    }
    out.sums = out.levels - first;
  }
  return out;
}

void run_on_device(const Gemm& g, const GemmBatch& batch, const Array& out, const char* op) {
  if (g.m == 0 || g.n == 0) return;
  const MatmulDevice& table = device_table<MatmulDevice>(out.device());
  const int64_t bytes = table.workspace == nullptr ? 0 : table.workspace(g, batch);
  const Array workspace = bytes == 0 ? Array() : Array(Shape{bytes}, DType::uint8, Format::plain, out.device());
  on_device(&MatmulDevice::gemm, op, out, g, batch, workspace);
}

// C = scale op(A) op(B) + residual (undefined: none) for c of a batch that is the full one or, for gradients, narrower:
// then c is float32, and alone.
struct Result {
  Array c;
  Shape batch;
  float scale = 1;
  Array residual;
};
void product(const Matrices& a, const Matrices& b, const Result& out, const Shape& full, Precision precision,
             const char* op) {
  const Array& c = out.c;
  const int64_t m = a.height();
  const int64_t k = a.breadth();
  const int64_t n = b.breadth();
  Gemm g{m,
         n,
         k,
         a.values.address(),
         a.cols,
         a.transpose,
         b.values.address(),
         b.cols,
         b.transpose,
         c.address(),
         a.is_bfloat16(),
         b.is_bfloat16(),
         c.dtype() == DType::bfloat16};
  g.precision = precision;
  g.scale = out.scale;
  if (out.residual.defined()) g.residual = out.residual.address();
  const int64_t entries = full.numel();
  const int64_t outputs = out.batch.numel();
  if (entries == 0 || outputs == 0) return fill(c, 0);
  if (entries == 1) return run_gemm(g, c, op);
  const bool whole_a = a.batch.numel() == entries;
  if (outputs == entries && whole_a && b.batch.numel() == 1 && !a.transpose) {  // one tall matrix
    g.m *= entries;
    return run_gemm(g, c, op);
  }
  if (outputs == 1 && whole_a && b.batch.numel() == entries && a.transpose && !b.transpose) {  // one long sum
    g.k *= entries;
    return run_gemm(g, c, op);
  }
  const Shape steps[3] = {batch_steps(a.batch, full, a.rows * a.cols), batch_steps(b.batch, full, b.rows * b.cols),
                          batch_steps(out.batch, full, m * n)};
  if (c.device() != Device::cpu) return run_on_device(g, batch_loops(full, steps, outputs < entries), c, op);
  const std::vector<int64_t> offsets = batch_offsets(full, steps);
  if (outputs < entries) return run_rounds(g, offsets, outputs, m * n);
  g.batch = entries;
  g.offsets = offsets.data();
  run_gemm(g);
}

// Tiles of 32 x 32 pay from here on; few rows read plain weights, and short sums are no work for them.
bool suits_terms(const Gemm& g) {
  return g.precision != Precision::ieee && g.m >= 16 && g.n >= 16 && g.k >= 32;
}

const MatmulKernels& kernels_for([[maybe_unused]] const Gemm& g) {
#if defined(__x86_64__)
  if (isa() >= Isa::avx512_bf16 && suits_terms(g)) {
    if (isa() == Isa::amx) return avx512::amx_matmul_kernels;
    const bool one_product = g.precision == Precision::medium || (g.a_is_bfloat16 && g.b_is_bfloat16);
    if (one_product) return avx512::dot_matmul_kernels;
  }
#endif
  return matmul_kernels();
}

}  // namespace

void run_gemm(Gemm g, const Array* weight) {
  if (g.m == 0 || g.n == 0 || g.batch == 0) return;
  const MatmulKernels& kernels = kernels_for(g);
  Array packed;
  if (weight != nullptr && g.batch == 1) {
    const int64_t bytes = kernels.packed_bytes(g);
    if (bytes > 0) packed = packed_weight(g, kernels, *weight, bytes);
    if (packed.defined()) g.packed_b = packed.data<uint8_t>();
  }
  const int64_t floats = kernels.workspace(g);
  if (floats == 0) return kernels.gemm(g, nullptr);
  const Array workspace(Shape{floats});
  kernels.gemm(g, workspace.data<float>());
}

void run_gemm(const Gemm& g, const Array& out, const char* op, const Array* weight) {
  if (out.device() != Device::cpu) return run_on_device(g, {}, out, op);
  run_gemm(g, weight);
}

Numerics numerics_from_code(int64_t code) {
  check(code >= 0 && (code & 7) <= static_cast<int64_t>(Precision::medium) && code < 16, "matmul: unknown precision ",
        code);
  return {static_cast<Precision>(code & 7), (code & 8) != 0};
}

DType product_dtype(const Array& a, const Array& b, const Numerics& numerics, const char* op) {
  check_floating(a, op, "input");
  if (numerics.mixed) {
    check_floating(b, op, "the second argument");
    return DType::bfloat16;
  }
  check<TypeError>(b.dtype() == a.dtype(), op, ": both arguments must have one dtype, got ", a.dtype(), " and ",
                   b.dtype());
  return a.dtype();
}

Array matmul_forward(const Array& a, const Array& b, bool transpose_a, bool transpose_b, const Numerics& numerics,
                     const char* op, double scale, const Array& residual) {
  const DType dtype = product_dtype(a, b, numerics, op);
  check_same_device(a, b, op);
  check(a.rank() > 0 && b.rank() > 0, op, ": arguments must have at least one axis, got shapes ", a.shape(), " and ",
        b.shape());
  const Matrices x = matrices(a, transpose_a, true);
  const Matrices y = matrices(b, transpose_b, false);
  check(x.breadth() == y.height(), op, ": inner sizes must be equal, got shapes ", a.shape(),
        transpose_a ? " (transposed)" : "", " and ", b.shape(), transpose_b ? " (transposed)" : "");
  const Shape batch = broadcast_shapes(x.batch, y.batch, op);
  Shape shape = batch;
  if (a.rank() > 1) shape.push_back(x.height());
  if (b.rank() > 1) shape.push_back(y.breadth());
  Result out{Array(shape, dtype, Format::plain, a.device()), batch, static_cast<float>(scale), {}};
  if (residual.defined()) {
    check_same_device(a, residual, op);
    check_shape(residual, shape, op, "the residual", "[like the product]");
    out.residual = residual.plain().to(dtype);
  }
  product(x, y, out, batch, numerics.precision, op);
  return out.c;
}

namespace {

// A gradient of shape [batch..., rows, cols] of x or y: sums over broadcast axes are float32 until they are complete.
Array gradient(const Matrices& a, const Matrices& b, const Array& of, const Shape& batch, const Shape& full,
               Precision precision) {
  const DType dtype = batch.numel() < full.numel() ? DType::float32 : of.dtype();
  const Array out(of.shape(), dtype, Format::plain, of.device());
  product(a, b, {out, batch, 1, {}}, full, precision, "matmul");
  return out.to(of.dtype());
}

}  // namespace

void matmul_backward(const Array& dy, const Array& a, const Array& b, bool transpose_a, bool transpose_b,
                     Precision precision, Array* da, Array* db) {
  check_same_device(a, b, "matmul");
  check_same_device(dy, a, "matmul");
  const Matrices x = matrices(a, transpose_a, true);
  const Matrices y = matrices(b, transpose_b, false);
  const Shape full = broadcast_shapes(x.batch, y.batch, "matmul");
  const Matrices d = matrices(dy, full, x.height(), y.breadth());
  if (da != nullptr) {
    *da = x.transpose ? gradient(y, transposed(d), a, x.batch, full, precision)
                      : gradient(d, transposed(y), a, x.batch, full, precision);
  }
  if (db != nullptr) {
    *db = y.transpose ? gradient(transposed(d), x, b, y.batch, full, precision)
                      : gradient(transposed(x), d, b, y.batch, full, precision);
  }
}

}  // namespace nonet
