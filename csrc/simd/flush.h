// Included by kernels of AVX-512 only.
#pragma once

#include "simd/vec.h"

namespace nonet::NONET_NS {

// Arithmetic without denormal numbers while it lives: remainders of a split would cost five times as much with them.
class FlushDenormals {
 public:
  __attribute__((always_inline)) FlushDenormals() : before_(__builtin_ia32_stmxcsr()) {
    __builtin_ia32_ldmxcsr(before_ | 0x8040);  // FTZ and DAZ
  }
  __attribute__((always_inline)) ~FlushDenormals() { __builtin_ia32_ldmxcsr(before_); }
  FlushDenormals(const FlushDenormals&) = delete;
  FlushDenormals& operator=(const FlushDenormals&) = delete;

 private:
  unsigned before_;
};

}  // namespace nonet::NONET_NS
