#include "base/isa.h"

#include <atomic>
#include <cstdlib>

#include "base/check.h"

namespace nonet {

namespace {

constexpr const char* names[] = {"scalar", "avx2", "avx512"};

Isa detect() {
#if defined(__x86_64__)
  __builtin_cpu_init();
#if defined(NONET_EMULATE_AVX512)  // the 16-lane kernels compiled for AVX2: a test build
  const bool avx512 = true;
#else
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
#endif
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return Isa::scalar;
  return avx512 ? Isa::avx512 : Isa::avx2;
#else
  return Isa::scalar;
#endif
}

int parse(const std::string& wanted, const char* who) {
  for (int i = 0; i <= static_cast<int>(detected_isa()); ++i) {
    if (wanted == names[i]) return i;
  }
  fail<ValueError>(who, ": expected scalar, avx2 or avx512, not above this machine's ", name(detected_isa()), ", got ",
                   wanted);
}

std::atomic<int>& current() {
  static std::atomic<int> value = [] {
    const char* forced = std::getenv("NONET_ISA");
    return forced != nullptr && *forced != '\0' ? parse(forced, "NONET_ISA") : static_cast<int>(detected_isa());
  }();
  return value;
}

}  // namespace

Isa detected_isa() {
  static const Isa best = detect();
  return best;
}

Isa isa() {
  return static_cast<Isa>(current().load(std::memory_order_relaxed));
}

void set_isa(const std::string& name) {
  current().store(parse(name, "set_isa"));
}

const char* name(Isa isa) {
  return names[static_cast<int>(isa)];
}

}  // namespace nonet
