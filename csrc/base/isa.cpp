#include "base/isa.h"

#include <atomic>
#include <cstdlib>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "base/check.h"

namespace nonet {

namespace {

constexpr const char* names[] = {"scalar", "avx2", "avx512", "avx512_bf16", "amx"};

#if defined(__x86_64__)
// The processor has bfloat16 tiles, the system saves them (XCR0 bits 17 and 18), and lets this process have them.
bool has_amx() {
#if defined(NONET_EMULATE_AVX512)
  return true;
#else
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  if (__get_cpuid_count(1, 0, &a, &b, &c, &d) == 0 || (c & bit_OSXSAVE) == 0) return false;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;
  constexpr unsigned amx_bf16 = 1u << 22;
  constexpr unsigned amx_tile = 1u << 24;
  if ((d & amx_bf16) == 0 || (d & amx_tile) == 0) return false;
  unsigned low = 0;
  unsigned high = 0;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  if ((low >> 17 & 3) != 3) return false;
  constexpr long request_permission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr long tile_data = 18;
  return syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
#endif
}

// Dot products of bfloat16 pairs at twice the rate of multiply-adds. Intel's processors have them at half of it, so
// there they are no better tier than avx512.
bool has_fast_bf16() {
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  if (__get_cpuid(0, &a, &b, &c, &d) == 0 || b != signature_AMD_ebx) return false;
  constexpr unsigned avx512_bf16 = 1u << 5;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a & avx512_bf16) != 0;
}
#endif

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
  if (!avx512) return Isa::avx2;
  return has_amx() ? Isa::amx : has_fast_bf16() ? Isa::avx512_bf16 : Isa::avx512;
#else
  return Isa::scalar;
#endif
}

int parse(const std::string& wanted, const char* who) {
  for (int i = 0; i <= static_cast<int>(detected_isa()); ++i) {
    if (wanted == names[i]) return i;
  }
  fail<ValueError>(who, ": expected scalar, avx2, avx512, avx512_bf16 or amx, not above this machine's ",
                   name(detected_isa()), ", got ", wanted);
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

bool emulated() {
#if defined(NONET_EMULATE_AVX512)
  return true;
#else
  return false;
#endif
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
