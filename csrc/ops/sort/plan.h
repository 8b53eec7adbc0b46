// How a device sorts, from the sizes alone: which kernels, and what scratch memory they need. For their launchers and
// for who allocates.
#pragma once

#include <cstdint>

namespace nonet {

// block: a row fits into the shared memory of a block, or several rows do.
// rounds: the first k of a long row, k small: blocks pass on the first k of their part, until one block remains.
// radix: long rows, 8 bits of the keys at a time.
enum class SortWay { block, rounds, radix };

struct SortPlan {
  static constexpr int64_t part = 4096;  // items of a block
  static constexpr int64_t most_k = 1024;

  SortWay way;
  int64_t parts;   // of a row
  int64_t second;  // bytes before the second buffer of keys and positions
  int64_t counts;  // bytes before the counts of digits
  int64_t bytes;   // of all scratch
};

// Rows of n items with keys of key_bytes (4, 8), of which the first k are wanted.
constexpr SortPlan sort_plan(int64_t key_bytes, int64_t rows, int64_t n, int64_t k) {
  const auto buffer = [=](int64_t items) { return (rows * items * (key_bytes + 4) + 15) / 16 * 16; };
  const int64_t parts = (n + SortPlan::part - 1) / SortPlan::part;
  if (parts <= 1) return {SortWay::block, 1, 0, 0, 0};
  const bool few = k <= SortPlan::most_k && k < n;
  const int64_t second = buffer(n);
  const int64_t counts = second + buffer(few ? parts * k : n);
  return {few ? SortWay::rounds : SortWay::radix, parts, second, counts,
          counts + (few ? 0 : rows * 256 * (parts + 1) * 4)};
}

}  // namespace nonet
