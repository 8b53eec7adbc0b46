// Random numbers from a counter-based generator (array/generator.h).
//
// Element i of a draw is made of word i % 4 of counter offset + i / 4 (integers and permutations, which want 64 bits
// per element, take two elements' words). Uniforms, integers, permutations and Bernoulli draws have the same bits on
// every instruction set and device and for every number of threads; normals agree to a few ulps.
//
//   uniform    u = (word >> 8) 2^-24 in [0, 1), then low + u (high - low), kept below high
//   normal     Box & Muller (1958): elements 2k, 2k+1 = r cos t, r sin t, with r = sqrt(-2 log((word_2k + 1/2) 2^-32))
//              and t = 2 pi word_2k+1 2^-32; |value| < 6.8
//   integers   low + floor(w64 (high - low) / 2^64): the bias is below (high - low) / 2^64
//   permutation  Fisher & Yates' shuffle (Durstenfeld 1964) of 0 … n-1
//   bernoulli  1 where u < p, else 0
#pragma once

#include "base/kernel.h"

namespace nonet {

class Array;

struct RandomKernels {
  // The words of elements [first, first + n), first a multiple of 4. Serial.
  void (*words)(PhiloxKey key, int64_t first, uint32_t* out, int64_t n);
  // One counter through the ten rounds.
  void (*block)(const uint32_t* counter, uint64_t seed, uint32_t* out);
  void (*uniform)(PhiloxKey key, float* out, int64_t n, float low, float high);
  void (*normal)(PhiloxKey key, float* out, int64_t n, float mean, float std);
};
NONET_KERNELS(RandomKernels, random_kernels);

struct RandomDevice {
  static constexpr const char* name = "random";

  void (*uniform)(Stream, PhiloxKey key, float* out, int64_t n, float low, float high);
  void (*normal)(Stream, PhiloxKey key, float* out, int64_t n, float mean, float std);
  void (*integers)(Stream, PhiloxKey key, int64_t* out, int64_t n, int64_t low, uint64_t range);
  void (*bernoulli)(Stream, PhiloxKey key, const float* p, float* out, int64_t n);
};

// These overwrite out. Errors: TypeError for its dtype.
void uniform_into(const Array& out, PhiloxKey key, float low, float high);
void normal_into(const Array& out, PhiloxKey key, float mean, float std);
// out: int64, key of 2 numel elements. Errors: ValueError unless low < high.
void integers_into(const Array& out, PhiloxKey key, int64_t low, int64_t high);
// out: int64 [n], key of 2 n elements. A shuffle is serial, so on another device the CPU's result is copied there.
void permutation_into(const Array& out, PhiloxKey key);
// p: floating; the result has p's shape and dtype. Errors: ValueError for a p outside [0, 1], on the CPU.
Array bernoulli(const Array& p, PhiloxKey key);

}  // namespace nonet
