// A minimal harness: TEST(name) { EXPECT(condition); } in any file, run by main.cpp. For machines without Python, such
// as an emulated aarch64; the full tests of every op are in Python.
#pragma once

#include <cmath>
#include <cstdio>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "array/array.h"

namespace nonet::test {

struct Case {
  std::string name;
  std::function<void()> body;
};
inline std::vector<Case>& cases() {
  static std::vector<Case> all;
  return all;
}
inline int failures = 0;

struct Register {
  Register(const char* name, std::function<void()> body) { cases().push_back({name, std::move(body)}); }
};

inline void expect(bool ok, const char* what, const char* file, int line) {
  if (ok) return;
  ++failures;
  std::printf("%s:%d: failed: %s\n", file, line, what);
}

// Reproducible standard normal values.
inline Array normal(const Shape& shape, unsigned seed) {
  Array out(shape);
  std::mt19937 engine(seed);
  std::normal_distribution<float> distribution;
  for (int64_t i = 0; i < out.numel(); ++i) out.data<float>()[i] = distribution(engine);
  return out;
}

// |got - want| <= tolerance * (1 + |want|) everywhere.
inline bool close(const Array& got, const std::vector<double>& want, double tolerance) {
  const Array x = got.to(DType::float32).plain();
  if (x.numel() != static_cast<int64_t>(want.size())) return false;
  for (int64_t i = 0; i < x.numel(); ++i) {
    if (!(std::abs(x.data<float>()[i] - want[i]) <= tolerance * (1 + std::abs(want[i])))) {
      std::printf("  element %lld: %.9g, expected %.9g\n", static_cast<long long>(i), x.data<float>()[i], want[i]);
      return false;
    }
  }
  return true;
}

inline std::vector<double> values(const Array& x) {
  const Array plain = x.to(DType::float32).plain();
  return std::vector<double>(plain.data<float>(), plain.data<float>() + plain.numel());
}

}  // namespace nonet::test

#define TEST(name)                                                 \
  static void name();                                              \
  static const nonet::test::Register register_##name(#name, name); \
  static void name()
#define EXPECT(condition) nonet::test::expect(condition, #condition, __FILE__, __LINE__)
