#include "ops/random/random.h"

#include <algorithm>
#include <vector>

#include "array/launch.h"

namespace nonet {

namespace {

// body(word64, i) for the elements of a draw with 64 bits each.
template <class Body>
void for_wide(PhiloxKey key, int64_t begin, int64_t end, const Body& body) {
  constexpr int64_t chunk = 512;
  uint32_t words[2 * chunk];
  for (int64_t i = begin; i < end; i += chunk) {
    const int64_t n = std::min(chunk, end - i);
    random_kernels().words(key, 2 * i, words, 2 * n);
    for (int64_t j = 0; j < n; ++j) body(static_cast<uint64_t>(words[2 * j + 1]) << 32 | words[2 * j], i + j);
  }
}

// floor(word * range / 2^64)
uint64_t scaled(uint64_t word, uint64_t range) {
  __extension__ using Wide = unsigned __int128;
  return static_cast<uint64_t>(Wide{word} * range >> 64);
}

// Runs fill on a float32 array: out itself or, for bfloat16, one that is copied to it.
template <class Fill>
void fill_floats(const Array& out, const char* op, const Fill& fill) {
  check_floating(out, op, "output");
  if (out.dtype() == DType::float32) {
    out.begin_write(op);
    return fill(out);
  }
  const Array wide(out.shape(), DType::float32, out.format(), out.device());
  fill(wide);
  copy_into(out, wide, op);
}

}  // namespace

void uniform_into(const Array& out, PhiloxKey key, float low, float high) {
  check(low <= high, "uniform: low must be <= high, got ", low, " and ", high);
  fill_floats(out, "uniform", [&](const Array& y) {
    if (y.device() != Device::cpu) return on_device(&RandomDevice::uniform, "uniform", y, key, y, y.numel(), low, high);
    random_kernels().uniform(key, y.raw<float>(), y.numel(), low, high);
  });
}

void normal_into(const Array& out, PhiloxKey key, float mean, float std) {
  check(std >= 0, "normal: std must be >= 0, got ", std);
  fill_floats(out, "normal", [&](const Array& y) {
    if (y.device() != Device::cpu) return on_device(&RandomDevice::normal, "normal", y, key, y, y.numel(), mean, std);
    random_kernels().normal(key, y.raw<float>(), y.numel(), mean, std);
  });
}

void integers_into(const Array& out, PhiloxKey key, int64_t low, int64_t high) {
  check(low < high, "randint: low must be < high, got ", low, " and ", high);
  check_dtype(out, DType::int64, "randint", "output");
  out.begin_write("randint");
  const uint64_t range = static_cast<uint64_t>(high) - static_cast<uint64_t>(low);
  if (out.device() != Device::cpu) {
    return on_device(&RandomDevice::integers, "randint", out, key, out, out.numel(), low, range);
  }
  int64_t* y = out.data<int64_t>();
  parallel_for(out.numel(), 4096, [&](int64_t begin, int64_t end) {
    for_wide(key, begin, end, [&](uint64_t word, int64_t i) {
      y[i] = static_cast<int64_t>(static_cast<uint64_t>(low) + scaled(word, range));
    });
  });
}

void permutation_into(const Array& out, PhiloxKey key) {
  check_dtype(out, DType::int64, "randperm", "output");
  check_rank(out, 1, "randperm", "output", "[n]");
  if (out.device() != Device::cpu) {
    const Array here(out.shape(), DType::int64);
    permutation_into(here, key);
    return copy_into(out, here, "randperm");
  }
  out.begin_write("randperm");
  int64_t* y = out.data<int64_t>();
  const int64_t n = out.numel();
  for (int64_t i = 0; i < n; ++i) y[i] = i;
  for_wide(key, 0, n, [&](uint64_t word, int64_t i) {
    const int64_t last = n - 1 - i;
    std::swap(y[last], y[scaled(word, static_cast<uint64_t>(last) + 1)]);
  });
}

Array bernoulli(const Array& p, PhiloxKey key) {
  check_floating(p, "bernoulli", "input");
  const Array chance = p.plain().to(DType::float32);
  const Array out = empty_like(chance);
  if (out.device() != Device::cpu) {
    on_device(&RandomDevice::bernoulli, "bernoulli", out, key, chance, out, out.numel());
    return out.to(p.dtype());
  }
  const float* c = chance.data<float>();
  float* y = out.data<float>();
  const int64_t n = out.numel();
  for (int64_t i = 0; i < n; ++i) check(c[i] >= 0 && c[i] <= 1, "bernoulli: p must be in [0, 1], got ", c[i]);
  random_kernels().uniform(key, y, n, 0.f, 1.f);
  parallel_for(n, 65536, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) y[i] = y[i] < c[i] ? 1.f : 0.f;
  });
  return out.to(p.dtype());
}

}  // namespace nonet
