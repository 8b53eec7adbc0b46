// Attention of a few queries on many keys, as in generation: every key and value is read once, where it lies.
// *.simd.cpp only.
#pragma once

#include "ops/attention/attention.h"

namespace nonet::NONET_NS {

bool wants_decode(const Attention& a);
int64_t decode_workspace(const Attention& a);
void decode(const Attention& a, void* out, float* lse, float* workspace);

}  // namespace nonet::NONET_NS
