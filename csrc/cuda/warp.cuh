// Reductions over a warp and a block, from shuffles.
#pragma once

#include "cuda/prim.cuh"

namespace nonet::NONET_CUDA_NS {

struct Sum {
  template <class T>
  NONET_DEVICE T operator()(T a, T b) const {
    return a + b;
  }
};
struct Max {  // NaN wins
  NONET_DEVICE float operator()(float a, float b) const { return a > b || a != a ? a : b; }
};

namespace detail {
struct TwoWords {
  uint64_t w[2];
};
}  // namespace detail

// Something of 4, 8 or 16 bytes moved between lanes: move(word) shuffles a word of it.
template <class T, class Move>
NONET_DEVICE T move_words(T x, const Move& move) {
  if constexpr (sizeof(T) == 4) {
    return bits_as<T>(move(bits_as<uint32_t>(x)));
  } else if constexpr (sizeof(T) == 8) {
    return bits_as<T>(move(bits_as<uint64_t>(x)));
  } else {
    detail::TwoWords words = bits_as<detail::TwoWords>(x);
    words.w[0] = move(words.w[0]);
    words.w[1] = move(words.w[1]);
    return bits_as<T>(words);
  }
}

// The same result in all lanes of each group of `width` lanes, where combine commutes; the order of the tree is fixed.
// T: 4, 8 or 16 bytes.
template <class T, class Combine>
NONET_DEVICE T warp_reduce(T x, const Combine& combine, int width = 32) {
  NONET_ROLLED
  for (int step = width / 2; step > 0; step /= 2) {
    x = combine(x, move_words(x, [=](auto word) { return shuffle_xor(word, step); }));
  }
  return x;
}
template <class T>
NONET_DEVICE T warp_sum(T x, int width = 32) {
  return warp_reduce(x, Sum{}, width);
}
NONET_DEVICE float warp_max(float x, int width = 32) {
  return warp_reduce(x, Max{}, width);
}

// The same result in all threads of a block of full warps. `scratch` is shared memory for one T per warp; it may be
// used again after the call without a block_sync().
template <class T, class Combine>
NONET_DEVICE T block_reduce(T x, const Combine& combine, T* scratch) {
  x = warp_reduce(x, combine);
  const Dim3 size = block_size();
  const int warps = size.x * size.y * size.z / 32;
  if (lane_index() == 0) scratch[warp_index()] = x;
  block_sync();
  x = scratch[0];
  NONET_ROLLED
  for (int w = 1; w < warps; ++w) x = combine(x, scratch[w]);
  block_sync();
  return x;
}
// The groups of `width` threads that a grid consists of: a power of two up to 32, or the whole block. Which one a
// thread belongs to, and its place there.
NONET_DEVICE int64_t group_index(int width) {
  return (int64_t{block_index().x} * block_size().x + thread_rank()) >> count_bits(static_cast<uint32_t>(width - 1));
}
NONET_DEVICE int group_lane(int width) {
  return thread_rank() & (width - 1);
}

// The same result in all threads of a group. Every thread of the block calls it.
template <class T, class Combine>
NONET_DEVICE T group_reduce(T x, const Combine& combine, int width, T* scratch) {
  return width <= 32 ? warp_reduce(x, combine, width) : block_reduce(x, combine, scratch);
}
template <class T>
NONET_DEVICE T block_sum(T x, T* scratch) {
  return block_reduce(x, Sum{}, scratch);
}
NONET_DEVICE float block_max(float x, float* scratch) {
  return block_reduce(x, Max{}, scratch);
}

}  // namespace nonet::NONET_CUDA_NS
