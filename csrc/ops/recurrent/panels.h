// Weights of recurrent products in panels (recurrent.h), packed once per call.
#pragma once

#include "ops/matmul/matmul.h"

namespace nonet {

class Array;
struct RecurrentPairKernels;

// What computes products of a weight with states that are stored as bfloat16 or not; null: multiply-adds.
const RecurrentPairKernels* pairs_for(const Array& weight, bool bfloat16_states, const Numerics& numerics);

// Of rows [first, first + gates columns) of a weight [..., k], for products with its transpose; kept as long as the
// weight is what it was (ops/matmul/packed.h).
Array panels_of_rows(const Array& weight, int64_t first, int64_t gates, int64_t columns,
                     const RecurrentPairKernels* pairs);
// Of rows [first, first + k) of a weight [..., columns], for products with it.
Array panels_of_columns(const Array& weight, int64_t first, int64_t k, const RecurrentPairKernels* pairs);

}  // namespace nonet
