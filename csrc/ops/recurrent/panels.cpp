#include "ops/recurrent/panels.h"

#include "ops/matmul/packed.h"
#include "ops/recurrent/recurrent.h"

namespace nonet {

namespace {

// The cache of packed weights knows products: here B^T is [gates columns, k] and m the number of gates.
void pack_rows(const Gemm& g, void* packed) {
  recurrent_panel_kernels().from_rows(g.b, g.b_is_bfloat16, g.m, g.n / g.m, g.k, static_cast<float*>(packed));
}
constexpr MatmulKernels rows_packer = {nullptr, nullptr, nullptr, pack_rows};

#if defined(__x86_64__)
void pack_pair_rows(const Gemm& g, void* packed) {
  avx512::recurrent_pair_kernels.from_rows(g.b, g.b_is_bfloat16, g.m, g.n / g.m, g.k, static_cast<bfloat16*>(packed));
}
#else
constexpr auto pack_pair_rows = pack_rows;  // never asked for
#endif
constexpr MatmulKernels pair_rows_packer = {nullptr, nullptr, nullptr, pack_pair_rows};

}  // namespace

const RecurrentPairKernels* pairs_for([[maybe_unused]] const Array& weight, [[maybe_unused]] bool bfloat16_states,
                                      [[maybe_unused]] const Numerics& numerics) {
#if defined(__x86_64__)
  // Elsewhere multiply-adds are as fast: pairs at twice their rate come with AMD's processors, where AMX does not.
  const bool rounded = bfloat16_states && weight.dtype() == DType::bfloat16;
  if (isa() == Isa::avx512_bf16 && (rounded || numerics.precision == Precision::medium)) {
    return &avx512::recurrent_pair_kernels;
  }
#endif
  return nullptr;
}

Array panels_of_rows(const Array& weight, int64_t first, int64_t gates, int64_t columns,
                     const RecurrentPairKernels* pairs) {
  const int64_t k = weight.dim(1);
  Gemm g{.m = gates,
         .n = gates * columns,
         .k = k,
         .a = nullptr,
         .lda = 0,
         .transpose_a = false,
         .b = weight.raw<char>() + first * k * item_size(weight.dtype()),
         .ldb = k,
         .transpose_b = true,
         .c = nullptr,
         .b_is_bfloat16 = weight.dtype() == DType::bfloat16};
  const int64_t floats = recurrent_panel_floats(gates, columns, k, pairs != nullptr);
  const MatmulKernels& packer = pairs != nullptr ? pair_rows_packer : rows_packer;
  Array packed = packed_weight(g, packer, weight, floats * static_cast<int64_t>(sizeof(float)));
  if (packed.defined()) return packed;
  packed = Array(Shape{floats});
  packer.pack_b(g, packed.data<float>());
  return packed;
}

Array panels_of_columns(const Array& weight, int64_t first, int64_t k, const RecurrentPairKernels* pairs) {
  const int64_t columns = weight.dim(1);
  const Array packed(Shape{recurrent_panel_floats(1, columns, k, pairs != nullptr)});
  const bool is_bfloat16 = weight.dtype() == DType::bfloat16;
  const char* from = weight.raw<char>() + first * columns * item_size(weight.dtype());
  if (pairs != nullptr) {
    pairs->from_columns(from, is_bfloat16, k, columns, static_cast<bfloat16*>(packed.address()));
    return packed;
  }
  recurrent_panel_kernels().from_columns(from, is_bfloat16, k, columns, packed.data<float>());
  return packed;
}

}  // namespace nonet
