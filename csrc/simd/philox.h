// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011), `width` words at a time.
//
// A vector holds width / 4 counters side by side, each as its four words. A round is then one even-word product, one
// shuffle within the fours and two xors, and the words come out in the order of the elements they belong to: word
// i % 4 of counter offset + i / 4 is element i's.
#pragma once

#include "simd/vec.h"

namespace nonet::NONET_NS {

typedef uint64_t U64 __attribute__((vector_size(4 * NONET_WIDTH)));  // a pair of words per lane

// The 64-bit products of the first words of each pair.
NONET_INLINE U multiply_even(U a, U b) {
#if defined(__AVX512F__) && NONET_WIDTH == 16
  return (U)_mm512_maskz_mul_epu32((__mmask8)-1, (__m512i)a, (__m512i)b);
#elif defined(__AVX2__) && NONET_WIDTH == 8
  return (U)_mm256_mul_epu32((__m256i)a, (__m256i)b);
#elif defined(__SSE2__) && NONET_WIDTH == 4
  return (U)_mm_mul_epu32((__m128i)a, (__m128i)b);
#else
  return (U)(((U64)a & 0xffffffffu) * ((U64)b & 0xffffffffu));
#endif
}

// (a, b, c, d) -> (d, c, b, a) in every four.
NONET_INLINE U reverse_fours(U x) {
#if defined(__AVX512F__) && NONET_WIDTH == 16
  return (U)_mm512_maskz_shuffle_epi32((__mmask16)-1, (__m512i)x, (_MM_PERM_ENUM)0x1b);
#elif defined(__AVX2__) && NONET_WIDTH == 8
  return (U)_mm256_shuffle_epi32((__m256i)x, 0x1b);
#elif defined(__SSE2__) && NONET_WIDTH == 4
  return (U)_mm_shuffle_epi32((__m128i)x, 0x1b);
#else
  U out;
  for (int i = 0; i < width; ++i) out[i] = x[i ^ 3];
  return out;
#endif
}

// (a, b, c, d) in every four.
NONET_INLINE U fours(uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
  U out;
  for (int i = 0; i < width; i += 4) {
    out[i] = a;
    out[i + 1] = b;
    out[i + 2] = c;
    out[i + 3] = d;
  }
  return out;
}

// The ten rounds on n vectors of counters; several vectors hide the latency of the product.
template <int n>
NONET_INLINE void philox(U (&c)[n], uint64_t seed) {
  const U factor = fours(0xD2511F53u, 0, 0xCD9E8D57u, 0);
  const U weyl = fours(0x9E3779B9u, 0, 0xBB67AE85u, 0);
  U key = fours((uint32_t)seed, 0, (uint32_t)(seed >> 32), 0);
#pragma GCC unroll 10
  for (int round = 0; round < 10; ++round) {
#pragma GCC unroll 8
    for (int v = 0; v < n; ++v) c[v] = reverse_fours(multiply_even(c[v], factor)) ^ (U)((U64)c[v] >> 32) ^ key;
    key += weyl;
  }
}

// The words of elements [first, first + n * width) of a draw; first is a multiple of 4.
template <int n>
NONET_INLINE void random_words(PhiloxKey key, int64_t first, U (&out)[n]) {
  U64 counter;
  for (int i = 0; i < width / 2; i += 2) {
    counter[i] = key.offset + (uint64_t)first / 4 + i / 2;
    counter[i + 1] = 0;
  }
  const U64 step = (U64)fours(width / 4, 0, 0, 0);
  for (int v = 0; v < n; ++v) {
    out[v] = (U)counter;
    counter += step;
  }
  philox(out, key.seed);
}
NONET_INLINE U random_words(PhiloxKey key, int64_t first) {
  U out[1];
  random_words(key, first, out);
  return out[0];
}

// body(i, lanes, words) over elements [begin, end) of a draw; begin is a multiple of 4.
template <class Body>
NONET_INLINE void for_random_words(PhiloxKey key, int64_t begin, int64_t end, const Body& body) {
  for (int64_t i = begin; i < end; i += 4 * width) {
    U words[4];
    random_words(key, i, words);
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) {
      const int64_t left = end - i - v * width;
      if (left <= 0) return;
      body(i + v * width, left < width ? left : (int64_t)width, words[v]);
    }
  }
}

// The 24 high bits as an int, and as a float in [0, 1) (exact).
NONET_INLINE I random_bits(U words) {
  return (I)(words >> 8);
}
NONET_INLINE F random_unit(U words) {
  return to_float(random_bits(words)) * 5.96046448e-8f;
}

// Dropout's rule: an element survives if its 24 bits are at least p * 2^24. The same for every op with dropout.
NONET_INLINE int32_t drop_threshold(float p) {
  return (int32_t)__builtin_nearbyintf(p * 16777216.f);
}
NONET_INLINE I survives(U words, int32_t threshold) {
  return random_bits(words) >= threshold;
}

}  // namespace nonet::NONET_NS
