// What a TMA copy knows of an array in global memory.
#pragma once

#include "cuda/types.h"

namespace nonet::NONET_CUDA_NS {

enum class Element { bfloat16, float32, tf32 };  // tf32: float32, rounded as it is loaded

struct TensorMapSpec {
  Element element = Element::float32;
  const void* address = nullptr;  // 16-byte aligned
  int rank = 2;                   // 1…5
  int64_t size[5] = {};           // innermost first; what a box has outside is loaded as zero, and not stored
  int64_t stride[5] = {};         // bytes from one index to the next, multiples of 16; stride[0] is the element's size
  int box[5] = {};                // of one copy, at most 256 each
  Swizzle swizzle = Swizzle::none;  // box[0] spans at most that many bytes
};

struct alignas(64) TensorMap {
  uint64_t opaque[16];
};

inline int element_bytes(Element element) {
  return element == Element::bfloat16 ? 2 : 4;
}

// Encodes for the device in use; refused with a text if the driver, or the emulator in its place, would not take it.
Status encode_tensor_map(TensorMap& map, const TensorMapSpec& spec);

}  // namespace nonet::NONET_CUDA_NS
