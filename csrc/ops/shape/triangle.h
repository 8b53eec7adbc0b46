// The kernel of tril and triu; other moves are strided copies.
#pragma once

#include "base/kernel.h"

namespace nonet {

struct TriangleDevice {
  static constexpr const char* name = "triangle";

  // Matrices [rows, columns] of n elements together, of `size` bytes each: those on the k-th diagonal and below it
  // (`lower`) or above it stay, the others become 0.
  void (*keep)(Stream, const void* x, void* y, int size, int64_t n, int64_t rows, int64_t columns, int64_t k,
               bool lower);
};

}  // namespace nonet
