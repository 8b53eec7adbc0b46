#include <cmath>

#include "base/dtype.h"
#include "cuda/elements.cuh"
#include "cuda/philox.cuh"
#include "cuda/table.cuh"
#include "ops/dropout/dropout.h"

namespace nonet::NONET_CUDA_NS {

namespace {

// The rule of simd/philox.h.
NONET_DEVICE bool survives(uint32_t word, int32_t threshold) {
  return random_bits(word) >= threshold;
}

template <class T>
NONET_DEVICE T dropped(T x, bool kept, const Affine& affine) {
  return from_float<T>(kept ? as_float(x) * affine.a + affine.b : affine.c);
}

// Four elements share a counter, and belong to one thread.
template <class T>
struct Elements {
  NONET_DEVICE void operator()(PhiloxKey key, int32_t threshold, Affine affine, const T* x, T* y, int64_t n) const {
    const bool packed = is_aligned<4>(x) && is_aligned<4>(y);
    for_grid((n + 3) / 4, [&](int64_t group) {
      const RandomWords words = random_words(key, group);
      const int64_t i = 4 * group;
      if (packed && i + 4 <= n) {
        Pack<T, 4> v = load_pack<4>(x + i);
        NONET_UNROLL
        for (int k = 0; k < 4; ++k) v[k] = dropped(v[k], survives(words.w[k], threshold), affine);
        return store_pack(y + i, v);
      }
      NONET_UNROLL
      for (int k = 0; k < 4; ++k) {
        if (i + k < n) y[i + k] = dropped(x[i + k], survives(words.w[k], threshold), affine);
      }
    });
  }
};

template <class T>
struct Units {
  NONET_DEVICE void operator()(PhiloxKey key, int32_t threshold, Affine affine, const T* x, T* y, int64_t units,
                               int64_t inner) const {
    constexpr int pack = pack_size<T>();
    for_packs<pack>(units * inner, inner % pack == 0 && is_aligned<pack>(x) && is_aligned<pack>(y),
                    [&](int64_t i, auto count) {
                      constexpr int size = decltype(count)::value;
                      const int64_t unit = i / inner;
                      const RandomWords words = random_words(key, unit / 4);
                      const uint32_t low = unit % 2 == 0 ? words.w[0] : words.w[1];
                      const uint32_t high = unit % 2 == 0 ? words.w[2] : words.w[3];
                      const bool kept = survives(unit % 4 < 2 ? low : high, threshold);
                      map_pack<size>([&](T v) { return dropped(v, kept, affine); }, y + i, load_pack<size>(x + i));
                    });
  }
};

void apply(Stream stream, PhiloxKey key, float p, Affine affine, DType dtype, const void* x, void* y, int64_t units,
           int64_t inner) {
  const auto threshold = static_cast<int32_t>(std::nearbyint(p * 16777216.f));
  visit_floating(dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const T* from = static_cast<const T*>(x);
    T* to = static_cast<T*>(y);
    if (inner == 1) {
      run_elements(stream, (units + 3) / 4, Elements<T>{}, key, threshold, affine, from, to, units);
    } else {
      run_elements(stream, units * inner, Units<T>{}, key, threshold, affine, from, to, units, inner);
    }
  });
}

}  // namespace

NONET_DEVICE_TABLE(DropoutDevice, simt, {apply});

}  // namespace nonet::NONET_CUDA_NS
