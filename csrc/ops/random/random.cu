#include <cmath>

#include "cuda/elements.cuh"
#include "cuda/philox.cuh"
#include "cuda/table.cuh"
#include "ops/random/random.h"

namespace nonet::NONET_CUDA_NS {

namespace {

// Elements 4 group … 4 group + 3, as far as they are below n.
NONET_DEVICE void store_group(float* out, int64_t group, int64_t n, const Pack<float, 4>& values) {
  out += 4 * group;
  n -= 4 * group;
  if (n >= 4 && is_aligned<4>(out)) return store_pack(out, values);
  NONET_UNROLL
  for (int k = 0; k < 4; ++k) {
    if (k < n) out[k] = values[k];
  }
}

struct Uniform {
  NONET_DEVICE void operator()(PhiloxKey key, float* out, int64_t n, float low, float high, float most) const {
    for_grid((n + 3) / 4, [&](int64_t group) {
      const RandomWords words = random_words(key, group);
      Pack<float, 4> y;
      NONET_UNROLL
      for (int k = 0; k < 4; ++k) {
        const float x = random_unit(words.w[k]) * (high - low) + low;
        y[k] = x < most ? x : most;
      }
      store_group(out, group, n, y);
    });
  }
};

void uniform(Stream stream, PhiloxKey key, float* out, int64_t n, float low, float high) {
  const float most = high > low ? std::nextafter(high, low) : high;  // low + u (high - low) may round up
  run_elements(stream, (n + 3) / 4, Uniform{}, key, out, n, low, high, most);
}

// The two normals of a pair of words, as in random.simd.cpp.
NONET_DEVICE void box_muller(uint32_t radius, uint32_t angle, float& a, float& b) {
  const float u = (static_cast<float>(radius >> 1) * 2.f + (static_cast<float>(radius & 1) + 0.5f)) * 2.32830644e-10f;
  const float r = sqrtf(-2.f * logf(u < 1.f ? u : 1.f));
  const uint32_t quarter = (angle + (1u << 29)) >> 30;
  const float x = static_cast<float>(static_cast<int32_t>(angle - (quarter << 30))) * 1.46291808e-9f;
  const float t = x * x;
  const float sine = fmaf(x * t, fmaf(fmaf(-0.00019516f, t, 0.00833217f), t, -0.16666655f), x);
  const float cosine = fmaf(t * t, fmaf(fmaf(2.44358517e-05f, t, -0.00138873415f), t, 0.0416666462f), 1.f - 0.5f * t);
  const bool odd = (quarter & 1) != 0;
  a = r * (odd ? sine : cosine) * (((quarter + 1) & 2) != 0 ? -1.f : 1.f);
  b = r * (odd ? cosine : sine) * ((quarter & 2) != 0 ? -1.f : 1.f);
}

struct Normal {
  NONET_DEVICE void operator()(PhiloxKey key, float* out, int64_t n, float mean, float std) const {
    for_grid((n + 3) / 4, [&](int64_t group) {
      const RandomWords words = random_words(key, group);
      Pack<float, 4> z;
      box_muller(words.w[0], words.w[1], z[0], z[1]);
      box_muller(words.w[2], words.w[3], z[2], z[3]);
      NONET_UNROLL
      for (int k = 0; k < 4; ++k) z[k] = fmaf(z[k], std, mean);
      store_group(out, group, n, z);
    });
  }
};

void normal(Stream stream, PhiloxKey key, float* out, int64_t n, float mean, float std) {
  run_elements(stream, (n + 3) / 4, Normal{}, key, out, n, mean, std);
}

// The high 64 bits of a product.
NONET_DEVICE uint64_t scaled(uint64_t word, uint64_t range) {
  const uint64_t low_low = (word & 0xffffffffu) * (range & 0xffffffffu);
  const uint64_t high_low = (word >> 32) * (range & 0xffffffffu);
  const uint64_t low_high = (word & 0xffffffffu) * (range >> 32);
  const uint64_t middle = (low_low >> 32) + (high_low & 0xffffffffu) + (low_high & 0xffffffffu);
  return (word >> 32) * (range >> 32) + (high_low >> 32) + (low_high >> 32) + (middle >> 32);
}

struct Integers {
  NONET_DEVICE void operator()(PhiloxKey key, int64_t* out, int64_t n, int64_t low, uint64_t range) const {
    for_grid((n + 1) / 2, [&](int64_t group) {
      const RandomWords words = random_words(key, group);
      for (int k = 0; k < 2 && 2 * group + k < n; ++k) {
        const uint64_t wide = static_cast<uint64_t>(words.w[2 * k + 1]) << 32 | words.w[2 * k];
        out[2 * group + k] = static_cast<int64_t>(static_cast<uint64_t>(low) + scaled(wide, range));
      }
    });
  }
};

void integers(Stream stream, PhiloxKey key, int64_t* out, int64_t n, int64_t low, uint64_t range) {
  run_elements(stream, (n + 1) / 2, Integers{}, key, out, n, low, range);
}

struct Bernoulli {
  NONET_DEVICE void operator()(PhiloxKey key, const float* p, float* out, int64_t n) const {
    for_grid((n + 3) / 4, [&](int64_t group) {
      const RandomWords words = random_words(key, group);
      for (int k = 0; k < 4 && 4 * group + k < n; ++k) {
        out[4 * group + k] = random_unit(words.w[k]) < p[4 * group + k] ? 1.f : 0.f;
      }
    });
  }
};

void bernoulli(Stream stream, PhiloxKey key, const float* p, float* out, int64_t n) {
  run_elements(stream, (n + 3) / 4, Bernoulli{}, key, p, out, n);
}

}  // namespace

NONET_DEVICE_TABLE(RandomDevice, simt, {uniform, normal, integers, bernoulli});

}  // namespace nonet::NONET_CUDA_NS
