#include "ops/dropout/dropout.h"

#include "simd/philox.h"

namespace nonet::NONET_NS {

namespace {

constexpr int64_t grain = 16384;  // elements per block, a multiple of 4

template <class T>
void apply_elements(PhiloxKey key, int32_t threshold, Affine affine, const T* x, T* y, int64_t n) {
  const F a = broadcast(affine.a);
  const F b = broadcast(affine.b);
  const F c = broadcast(affine.c);
  parallel_for(n, grain, [&](int64_t begin, int64_t end) {
    for_random_words(key, begin, end, [&](int64_t i, int64_t lanes, U words) {
      store_lanes(y + i, survives(words, threshold) ? load_lanes(x + i, lanes) * a + b : c, lanes);
    });
  });
}

// Four units share a counter, so blocks are fours of units.
template <class T>
void apply_units(PhiloxKey key, int32_t threshold, Affine affine, const T* x, T* y, int64_t units, int64_t inner) {
  parallel_for((units + 3) / 4, 1 + grain / (4 * inner + 1), [&](int64_t begin, int64_t end) {
    for (int64_t four = begin; four < end; ++four) {
      const I kept = survives(random_words(key, 4 * four), threshold);
      for (int64_t u = 4 * four; u < 4 * four + 4 && u < units; ++u) {
        const bool keep = kept[u - 4 * four] != 0;
        const F a = broadcast(affine.a);
        const F b = broadcast(affine.b);
        for_vectors(inner, [&](int64_t i, int64_t lanes) {
          const int64_t at = u * inner + i;
          store_lanes(y + at, keep ? load_lanes(x + at, lanes) * a + b : broadcast(affine.c), lanes);
        });
      }
    }
  });
}

template <class T>
void apply(PhiloxKey key, float p, Affine affine, const T* x, T* y, int64_t units, int64_t inner) {
  if (inner == 1) {
    apply_elements(key, drop_threshold(p), affine, x, y, units);
  } else {
    apply_units(key, drop_threshold(p), affine, x, y, units, inner);
  }
}

}  // namespace

constinit const DropoutKernels dropout_kernels = {apply<float>, apply<bfloat16>};

}  // namespace nonet::NONET_NS
