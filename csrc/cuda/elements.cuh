// Loops over elements that lie side by side in memory.
#pragma once

#include "cuda/prim.cuh"

namespace nonet::NONET_CUDA_NS {

// Calls body with an element of `size` bytes.
template <class Body>
void visit_size(int size, const Body& body) {
  switch (size) {
    case 8:
      return body(uint64_t{});
    case 4:
      return body(uint32_t{});
    case 2:
      return body(uint16_t{});
    default:
      return body(uint8_t{});
  }
}

// How many elements a thread takes at a time, so that the largest of the types fills 16 bytes.
template <class T, class... Others>
constexpr int pack_size() {
  size_t largest = sizeof(T);
  ((largest = sizeof(Others) > largest ? sizeof(Others) : largest), ...);
  return static_cast<int>(16 / largest);
}

template <int n, class T>
NONET_DEVICE bool is_aligned(const T* p) {
  return reinterpret_cast<uintptr_t>(p) % (n * sizeof(T)) == 0;
}

// i / n of numbers that are not negative: 32-bit division is several times faster.
NONET_DEVICE int64_t quotient(int64_t i, int64_t n) {
  return (i | n) >> 32 == 0 ? static_cast<uint32_t>(i) / static_cast<uint32_t>(n) : i / n;
}

template <int n>
struct Count {
  static constexpr int value = n;
};

// body(i, Count<pack>) for every pack of elements i … i + pack - 1 below n, and body(i, Count<1>) for the rest; all of
// them one by one unless `packed`.
template <int pack, class Body>
NONET_DEVICE void for_packs(int64_t n, bool packed, const Body& body) {
  const int64_t packs = packed ? n / pack : 0;
  for_grid(packs, [&](int64_t p) { body(p * pack, Count<pack>{}); });
  for_grid(n - packs * pack, [&](int64_t i) { body(packs * pack + i, Count<1>{}); });
}

// The same for bodies that are long enough for a loop of their own: the compiler may not repeat them.
template <int pack, class Body>
NONET_DEVICE void for_long_packs(int64_t n, bool packed, const Body& body) {
  const int64_t thread = static_cast<int64_t>(block_index().x) * block_size().x + thread_index().x;
  const int64_t step = static_cast<int64_t>(grid_size().x) * block_size().x;
  int64_t begin = 0;
  if constexpr (pack > 1) {
    begin = packed ? n / pack * pack : 0;
    NONET_ROLLED
    for (int64_t i = thread * pack; i < begin; i += step * pack) body(i, Count<pack>{});
  }
  NONET_ROLLED
  for (int64_t i = begin + thread; i < n; i += step) body(i, Count<1>{});
}

// How many elements lie before the first pack that is aligned in all arrays, or -1 if there is none.
template <int pack, class T, class... Others>
NONET_DEVICE int head_of(const T* p, const Others*... others) {
  const auto past = [](const auto* q) { return static_cast<int>(reinterpret_cast<uintptr_t>(q) / sizeof(*q) % pack); };
  const int first = past(p);
  if (((past(others) != first) || ...)) return -1;
  return first == 0 ? 0 : pack - first;
}

// The same loop over [begin, end) by the threads `lane` of `width`; the packs begin at begin + head, none if head < 0.
template <int pack, class Body>
NONET_DEVICE void for_span(int64_t begin, int64_t end, int head, int lane, int width, const Body& body) {
  int64_t edge = begin;
  int64_t last = begin;
  if (head >= 0) {
    edge = begin + head < end ? begin + head : end;
    last = edge + (end - edge) / pack * pack;
  }
  NONET_ROLLED
  for (int64_t i = edge + int64_t{lane} * pack; i < last; i += int64_t{width} * pack) body(i, Count<pack>{});
  const int64_t before = edge - begin;
  NONET_ROLLED
  for (int64_t i = lane; i < before + end - last; i += width) {
    body(i < before ? begin + i : last + i - before, Count<1>{});
  }
}

// y = f(x, …) for each element of the packs.
template <int n, class Function, class Y, class... X>
NONET_DEVICE void map_pack(const Function& f, Y* y, const Pack<X, n>&... x) {
  Pack<Y, n> out;
  NONET_UNROLL
  for (int k = 0; k < n; ++k) out[k] = f(x[k]...);
  store_pack(y, out);
}

// y_i = f(x_i, …) for i < n, arrays of any types; y may be one of the inputs. Every thread of the grid calls it.
template <class Function, class Y, class... X>
NONET_DEVICE void map_elements(int64_t n, const Function& f, Y* y, const X*... x) {
  constexpr int pack = pack_size<Y, X...>();
  for_packs<pack>(n, is_aligned<pack>(y) && (is_aligned<pack>(x) && ...), [&](int64_t i, auto count) {
    constexpr int size = decltype(count)::value;
    map_pack<size>(f, y + i, load_pack<size>(x + i)...);
  });
}

}  // namespace nonet::NONET_CUDA_NS
