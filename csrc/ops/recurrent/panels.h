// Weights of recurrent products in panels (recurrent.h), packed once per call.
#pragma once

#include "array/array.h"

namespace nonet {

// Of rows [first, first + gates columns) of a weight [..., k], for products with its transpose; kept as long as the
// weight is what it was (ops/matmul/packed.h).
Array panels_of_rows(const Array& weight, int64_t first, int64_t gates, int64_t columns);
// Of rows [first, first + k) of a weight [..., columns], for products with it.
Array panels_of_columns(const Array& weight, int64_t first, int64_t k);

}  // namespace nonet
