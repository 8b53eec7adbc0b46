// A harness for kernels that are compiled twice: TEST(name) { ... } runs on the emulator under many seeds, and where
// nvcc compiled it, on the GPU. FAULT(name, "words of the report") { return launch(…); } is a kernel with a planted
// fault: the emulator must report it, under at least one of the seeds.
#pragma once

#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "cuda/prim.cuh"

namespace nonet::NONET_CUDA_NS::test {

struct Case {
  std::string name, report;  // report: empty for a correct kernel
  std::function<Status()> body;
};
inline std::vector<Case>& cases() {
  static std::vector<Case> all;
  return all;
}
struct Register {
  Register(const char* name, const char* report, std::function<Status()> body) {
    cases().push_back({name, report, std::move(body)});
  }
};

// Device memory.
template <class T>
class Buffer {
 public:
  explicit Buffer(size_t n) : size_(n) {
#if defined(__CUDACC__)
    cudaMalloc(&data_, n * sizeof(T));
#else
    data_ = static_cast<T*>(emulator_allocate(n * sizeof(T)));
#endif
  }
  explicit Buffer(const std::vector<T>& values) : Buffer(values.size()) {
#if defined(__CUDACC__)
    cudaMemcpy(data_, values.data(), size_ * sizeof(T), cudaMemcpyHostToDevice);
#else
    std::memcpy(data_, values.data(), size_ * sizeof(T));
#endif
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() {
#if defined(__CUDACC__)
    cudaFree(data_);
#else
    emulator_free(data_);
#endif
  }
  T* data() const { return data_; }
  size_t size() const { return size_; }
  std::vector<T> host() const {
    std::vector<T> out(size_);
#if defined(__CUDACC__)
    cudaMemcpy(out.data(), data_, size_ * sizeof(T), cudaMemcpyDeviceToHost);
#else
    std::memcpy(static_cast<void*>(out.data()), data_, size_ * sizeof(T));
#endif
    return out;
  }

 private:
  T* data_ = nullptr;
  size_t size_;
};

inline float host_float(float x) {
  return x;
}
inline float host_float(bfloat16 x) {
  const uint32_t bits = static_cast<uint32_t>(x.bits) << 16;
  float out;
  std::memcpy(&out, &bits, 4);
  return out;
}
template <class T>
T host_value(float x) {
  if constexpr (std::is_same_v<T, bfloat16>) {
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    return {static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16)};
  } else {
    return x;
  }
}

// Reproducible standard normal values.
template <class T>
std::vector<T> normal(size_t n, unsigned seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> distribution;
  std::vector<T> out(n);
  for (T& x : out) x = host_value<T>(distribution(engine));
  return out;
}

inline Status wrong(const std::string& text) {
  return {1, text};
}

// |got - want| <= tolerance everywhere; NaN is never close.
template <class T, class Want>
Status compare(const std::vector<T>& got, const Want& want, double tolerance) {
  for (size_t i = 0; i < got.size(); ++i) {
    const double x = host_float(got[i]), y = want(i);
    if (!(std::abs(x - y) <= tolerance)) {
      return wrong("element " + std::to_string(i) + ": " + std::to_string(x) + ", expected " + std::to_string(y));
    }
  }
  return {};
}

}  // namespace nonet::NONET_CUDA_NS::test

#define NONET_CASE(name, report)                                                            \
  static ::nonet::NONET_CUDA_NS::Status name();                                             \
  static const ::nonet::NONET_CUDA_NS::test::Register register_##name(#name, report, name); \
  static ::nonet::NONET_CUDA_NS::Status name()
#define TEST(name) NONET_CASE(name, "")
#define FAULT(name, report) NONET_CASE(name, report)
