// Philox4x32-10, the generator of simd/philox.h, one counter to a thread: the same bits as on the CPU.
#pragma once

#include "cuda/prim.cuh"

namespace nonet::NONET_CUDA_NS {

struct RandomWords {
  uint32_t w[4];
};

// The words of elements 4 group … 4 group + 3 of a draw.
NONET_DEVICE RandomWords random_words(PhiloxKey key, int64_t group) {
  const uint64_t counter = key.offset + static_cast<uint64_t>(group);
  uint32_t a = static_cast<uint32_t>(counter);
  uint32_t b = static_cast<uint32_t>(counter >> 32);
  uint32_t c = 0;
  uint32_t d = 0;
  uint32_t k0 = static_cast<uint32_t>(key.seed);
  uint32_t k1 = static_cast<uint32_t>(key.seed >> 32);
  NONET_UNROLL
  for (int round = 0; round < 10; ++round) {
    const uint32_t high0 = multiply_high(0xD2511F53u, a);
    const uint32_t low0 = 0xD2511F53u * a;
    const uint32_t high1 = multiply_high(0xCD9E8D57u, c);
    const uint32_t low1 = 0xCD9E8D57u * c;
    a = high1 ^ b ^ k0;
    b = low1;
    c = high0 ^ d ^ k1;
    d = low0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{a, b, c, d}};
}

// The 24 high bits as an int, and as a float in [0, 1) (exact).
NONET_DEVICE int32_t random_bits(uint32_t word) {
  return static_cast<int32_t>(word >> 8);
}
NONET_DEVICE float random_unit(uint32_t word) {
  return static_cast<float>(random_bits(word)) * 5.96046448e-8f;
}

}  // namespace nonet::NONET_CUDA_NS
