#include "ops/random/random.h"

#include "simd/math.h"
#include "simd/philox.h"

namespace nonet::NONET_NS {

namespace {

constexpr int64_t grain = 16384;  // elements per block, a multiple of 4

void words(PhiloxKey key, int64_t first, uint32_t* out, int64_t n) {
  for_random_words(key, first, first + n,
                   [&](int64_t i, int64_t lanes, U w) { __builtin_memcpy(out + (i - first), &w, lanes * 4); });
}

void block(const uint32_t* counter, uint64_t seed, uint32_t* out) {
  U c[1] = {fours(counter[0], counter[1], counter[2], counter[3])};
  philox(c, seed);
  __builtin_memcpy(out, &c[0], 16);
}

void uniform(PhiloxKey key, float* out, int64_t n, float low, float high) {
  const F most = broadcast(high > low ? __builtin_nextafterf(high, low) : high);  // low + u (high - low) may round up
  parallel_for(n, grain, [&](int64_t begin, int64_t end) {
    for_random_words(key, begin, end, [&](int64_t i, int64_t lanes, U w) {
      store_lanes(out + i, min_number(random_unit(w) * (high - low) + low, most), lanes);
    });
  });
}

// The two normals of each lane's pair of words.
NONET_INLINE void box_muller(U radius, U angle, F& a, F& b) {
  // The word's upper half may not fit a signed int: convert 31 bits and add the last one.
  const F u = (to_float((I)(radius >> 1)) * 2.f + (to_float((I)(radius & 1)) + 0.5f)) * 2.32830644e-10f;
  const F r = sqrt(-2.f * log(min_number(u, broadcast(1.f))));
  // A turn is 2^32. Nearest quarter, and the rest in radians: |x| <= pi / 4.
  const U quarter = (angle + (1u << 29)) >> 30;
  const F x = to_float((I)(angle - (quarter << 30))) * 1.46291808e-9f;
  const F t = x * x;
  static constexpr float s[] = {-0.16666655f, 0.00833217f, -0.00019516f};
  static constexpr float c[] = {0.0416666462f, -0.00138873415f, 2.44358517e-05f};
  const F sine = fma(x * t, polynomial(t, s), x);
  const F cosine = fma(t * t, polynomial(t, c), 1.f - 0.5f * t);
  const I odd = (I)(quarter & 1) == 1;
  const F turned_cosine = odd ? sine : cosine;
  const F turned_sine = odd ? cosine : sine;
  const I cosine_sign = (I)(((quarter + 1) & 2) << 30);
  const I sine_sign = (I)((quarter & 2) << 30);
  a = r * as_float(as_int(turned_cosine) ^ cosine_sign);
  b = r * as_float(as_int(turned_sine) ^ sine_sign);
}

void normal(PhiloxKey key, float* out, int64_t n, float mean, float std) {
  constexpr int64_t step = 4 * width;
  parallel_for(n, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i += step) {
      U w[4];
      random_words(key, i, w);
      for (int v = 0; v < 4; v += 2) {
        // Two vectors of pairs become one of first words and one of second words, and back.
        const U64 first = (U64)w[v];
        const U64 second = (U64)w[v + 1];
        F a, b;
        box_muller((U)((first & 0xffffffffu) | (second << 32)), (U)((first >> 32) | (second & ~0xffffffffull)), a, b);
        const U64 p = (U64)(fma(a, broadcast(std), broadcast(mean)));
        const U64 q = (U64)(fma(b, broadcast(std), broadcast(mean)));
        const F low = (F)((p & 0xffffffffu) | (q << 32));
        const F high = (F)((p >> 32) | (q & ~0xffffffffull));
        const int64_t at = i + v * width;
        if (at < end) store_lanes(out + at, low, end - at < width ? end - at : (int64_t)width);
        if (at + width < end) {
          store_lanes(out + at + width, high, end - at < 2 * width ? end - at - width : (int64_t)width);
        }
      }
    }
  });
}

}  // namespace

constinit const RandomKernels random_kernels = {words, block, uniform, normal};

}  // namespace nonet::NONET_NS
