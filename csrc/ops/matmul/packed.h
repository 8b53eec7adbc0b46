// Packed copies of parameters, kept as long as the parameter is what it was.
//
// A copy is keyed by the parameter's memory and the layout the kernel asked for, and is valid for one version of that
// memory (array/storage.h): an optimizer's step makes it stale, inference uses it again and again. Only memory that
// cannot be written behind nonet's back is cached. Copies of arrays that are gone, and the least recently used ones
// beyond the budget, are dropped. Safe to call from any thread.
#pragma once

#include <cstdint>

#include "array/array.h"
#include "ops/matmul/matmul.h"

namespace nonet {

// The packed form of g.b, which lies in `weight`; undefined if it cannot be kept. bytes: of the packed form.
Array packed_weight(const Gemm& g, const MatmulKernels& kernels, const Array& weight, int64_t bytes);

// Bytes of all packed copies.
int64_t packed_weight_bytes();
// NONET_CACHE_BYTES, by default 1 GiB; 0 keeps nothing. Errors: ValueError for a negative number.
void set_packed_weight_budget(int64_t bytes);
int64_t packed_weight_budget();
void drop_packed_weights();

}  // namespace nonet
