// Matrix products with NumPy's batching.
//
//   C = op(A) op(B)                                   op: identity or transpose of the last two axes
//   dA = dC op(B)^T,  dB = op(A)^T dC                 (transposed if op is), summed over broadcast batch axes
//
// float32 and bfloat16. Results do not depend on the number of threads. Saved: A and B. Blocking:
// Goto & van de Geijn, "Anatomy of High-Performance Matrix Multiplication", ACM TOMS 2008, on the tiles of brgemm.h or,
// where the processor multiplies bfloat16 and the precision allows, on those of terms.h.
#pragma once

#include "base/kernel.h"

namespace nonet {

class Array;

// Applied to rows of C while they are in cache: relu max(z, 0); tanh; sigmoid; gelu z Phi(z), exact or with tanh.
enum class FusedActivation : int { none, relu, tanh, sigmoid, gelu, gelu_tanh };

// What happens inside a product. ieee: fused multiply-adds of float32. highest: errors no larger than those, normwise.
// high: operands keep 16 bits or more, on a GPU TF32's 11. medium: operands are rounded to bfloat16. Sums are float32
// in all of them. On a CPU without AMX highest and high are ieee, and so is medium without AVX512_BF16; convolutions of
// small kernels multiply less in all but ieee (ops/conv/winograd.h).
enum class Precision : int { ieee, highest, high, medium };

// What Python says of an op on products. mixed: operands may be of different floating dtypes, results are bfloat16.
struct Numerics {
  Precision precision = Precision::highest;
  bool mixed = false;
};
// From the code of python/nonet/ops/precision.py: the precision's number, plus 8 if mixed. Errors: ValueError.
Numerics numerics_from_code(int64_t code);
// The result's dtype. Errors: TypeError unless a and b are floating and, if not mixed, of one dtype; it names op.
DType product_dtype(const Array& a, const Array& b, const Numerics& numerics, const char* op);

// C[m, n] (+)= op(A)[m, k] op(B)[k, n] for every entry of a batch, each operand stored as float32 or bfloat16. Sums are
// float32. While they are in cache, unless they are added to C (accumulate: float32 C, and nothing of this):
//
//   Z = scale op(A) op(B) + bias + residual,  C = f(Z)
//
// C overlaps no operand but, where it is the same memory, the residual.
struct Gemm {
  int64_t m, n, k;
  const void* a;  // [m, k] with rows lda apart, or [k, m] if transpose_a
  int64_t lda;
  bool transpose_a;
  const void* b;  // [k, n] with rows ldb apart, or [n, k] if transpose_b
  int64_t ldb;
  bool transpose_b;
  void* c;  // [m, n], rows n apart
  bool a_is_bfloat16 = false;
  bool b_is_bfloat16 = false;
  bool c_is_bfloat16 = false;
  bool accumulate = false;
  int64_t batch = 1;
  const int64_t* offsets = nullptr;  // [batch, 3]: where a, b and c of an entry begin; none for one entry
  float scale = 1;
  const float* bias = nullptr;     // [n]
  const void* residual = nullptr;  // laid out and stored like C
  FusedActivation activation = FusedActivation::none;
  void* before = nullptr;  // if given, receives Z, laid out and stored like C
  // If given (float32 C, one entry): per row and 32 columns of C the largest value, and the sum of exp(C - largest).
  float* row_max = nullptr;  // [m, ceil(n / 32)]
  float* row_sum = nullptr;  // the same; not without row_max
  Precision precision = Precision::highest;
  const void* packed_b = nullptr;  // what pack_b() made of b, for one entry
};

struct MatmulKernels {
  int64_t (*workspace)(const Gemm& g);  // floats that gemm() wants, 0 for small problems
  void (*gemm)(const Gemm& g, float* workspace);
  // B in the layout that gemm() reads, for operands used more than once: its bytes, 0 if gemm() reads b itself.
  int64_t (*packed_bytes)(const Gemm& g);
  void (*pack_b)(const Gemm& g, void* packed);
};
NONET_KERNELS(MatmulKernels, matmul_kernels);
#if defined(__x86_64__)
namespace avx512 {
extern const MatmulKernels amx_matmul_kernels;
extern const MatmulKernels dot_matmul_kernels;
}  // namespace avx512
#endif

// The batch of a product on a device: loops in the place of a list of offsets, outer to inner. The last `sums` of them
// are over products that are added up in one C.
struct GemmBatch {
  int levels = 0;
  int sums = 0;
  int64_t size[8];
  int64_t stride[8][3];  // in elements of a, b and c, 0 where one is the same for all; of c 0 in sums
};

struct MatmulDevice {
  static constexpr const char* name = "matmul";

  // Bytes that gemm() wants to work in.
  int64_t (*workspace)(const Gemm& g, const GemmBatch& batch);
  // As MatmulKernels::gemm, for addresses and distances of any alignment; of g, `batch`, `offsets` and `packed_b` are
  // not read. row_max: no batch. The sums' order depends on sizes and the device only.
  //
  // Tensor cores multiply where both operands are bfloat16 (exact products, unless ieee), where the precision is medium
  // (operands rounded to bfloat16) or high (to TF32); everything else is chains of fused multiply-adds.
  void (*gemm)(Stream, const Gemm& g, const GemmBatch& batch, void* workspace);
};

// Runs a Gemm with a workspace of its own, on the CPU. weight: the array behind b if it may be a parameter; its packed
// form is then kept (packed.h).
void run_gemm(Gemm g, const Array* weight = nullptr);
// On the device of `out`, which c lies in, as all other addresses do; without a list of offsets. Errors: RuntimeError
// that names op.
void run_gemm(const Gemm& g, const Array& out, const char* op, const Array* weight = nullptr);

// scale op(A) op(B) + residual (undefined: none; else of the result's shape). Axes before the last two broadcast; a
// vector stands for a row (a) or a column (b), and its axis is dropped.
// Errors: TypeError unless both are floating and of one dtype, ValueError for shapes; they name op.
Array matmul_forward(const Array& a, const Array& b, bool transpose_a, bool transpose_b, const Numerics& numerics,
                     const char* op, double scale, const Array& residual);
// da, db: null if not wanted.
void matmul_backward(const Array& dy, const Array& a, const Array& b, bool transpose_a, bool transpose_b,
                     Precision precision, Array* da, Array* db);

}  // namespace nonet
