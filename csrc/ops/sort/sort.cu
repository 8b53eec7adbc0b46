#include "base/dtype.h"
#include "cuda/divide.cuh"
#include "cuda/elements.cuh"
#include "ops/sort/sort.h"
#include "ops/sort/sort_rows.cuh"

namespace nonet::NONET_CUDA_NS {

namespace {

// An unsigned integer of so many bits that orders like the element: for floats the sign is moved out of the way, NaN
// goes last and the two zeros are one.
template <class T>
struct Keys {
  using Key = uint32_t;
  static constexpr int bits = 8 * sizeof(T);
  static NONET_DEVICE Key of(T x) {
    if constexpr (std::is_same_v<T, int32_t>) {
      return static_cast<uint32_t>(x) ^ 0x80000000u;
    } else {
      return x;  // uint8, bool
    }
  }
};
template <>
struct Keys<int64_t> {
  using Key = uint64_t;
  static constexpr int bits = 64;
  static NONET_DEVICE Key of(int64_t x) { return static_cast<uint64_t>(x) ^ (uint64_t{1} << 63); }
};
template <>
struct Keys<float> {
  using Key = uint32_t;
  static constexpr int bits = 32;
  static NONET_DEVICE Key of(float x) {
    if (x != x) return 0xffffffffu;
    const uint32_t b = bits_as<uint32_t>(x == 0.f ? 0.f : x);
    return (b & 0x80000000u) != 0 ? ~b : b | 0x80000000u;
  }
};
template <>
struct Keys<bfloat16> {
  using Key = uint32_t;
  static constexpr int bits = 16;
  static NONET_DEVICE Key of(bfloat16 x) { return Keys<float>::of(as_float(x)) >> 16; }
};

template <class T>
struct Elements {
  using Key = typename Keys<T>::Key;
  const T* x;
  int64_t n;
  Key flip;  // of descending orders
  NONET_DEVICE void load(int64_t row, int64_t i, Key& key, uint32_t& position) const {
    key = Keys<T>::of(x[row * n + i]) ^ flip;
    position = static_cast<uint32_t>(i);
  }
};
template <class T>
struct Results {
  using Key = typename Keys<T>::Key;
  const T* x;
  T* values;
  int64_t* positions;
  int64_t n, k;
  NONET_DEVICE void put(int64_t row, int64_t i, Key, uint32_t position) const {
    if (i >= k) return;
    values[row * k + i] = x[row * n + position];
    positions[row * k + i] = position;
  }
};

void sort(Stream stream, DType dtype, const void* x, void* values, int64_t* positions, int64_t rows, int64_t n,
          int64_t k, bool descending, void* scratch) {
  visit(dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    using Key = typename Keys<T>::Key;
    constexpr int bits = Keys<T>::bits;
    constexpr Key all = static_cast<Key>(-1) >> (8 * sizeof(Key) - bits);
    const Elements<T> source{static_cast<const T*>(x), n, descending ? all : Key{0}};
    const Results<T> sink{static_cast<const T*>(x), static_cast<T*>(values), positions, n, k};
    sort_rows<Key>(stream, source, sink, bits, rows, n, k, scratch);
  });
}

// ---------------------------------------------------------------- positions by number
template <class K>
struct Numbers {
  const int64_t* numbers;
  int64_t bound, skip;
  NONET_DEVICE void load(int64_t, int64_t i, K& key, uint32_t& position) const {
    const int64_t v = numbers[i];
    key = static_cast<K>(v >= 0 && v < bound && v != skip ? v : bound);
    position = static_cast<uint32_t>(i);
  }
};
template <class K>
struct Ordered {
  int64_t* sorted;
  int64_t* order;
  NONET_DEVICE void put(int64_t, int64_t i, K key, uint32_t position) const {
    sorted[i] = static_cast<int64_t>(key);
    order[i] = position;
  }
};

void order(Stream stream, const int64_t* numbers, int64_t n, int64_t bound, int64_t skip, int64_t* sorted,
           int64_t* order, void* scratch) {
  int bits = 1;
  while (bits < 63 && bound >> bits != 0) ++bits;
  if (bits <= 32) {
    sort_rows<uint32_t>(stream, Numbers<uint32_t>{numbers, bound, skip}, Ordered<uint32_t>{sorted, order}, bits, 1, n,
                        n, scratch);
  } else {
    sort_rows<uint64_t>(stream, Numbers<uint64_t>{numbers, bound, skip}, Ordered<uint64_t>{sorted, order}, bits, 1, n,
                        n, scratch);
  }
}

// ---------------------------------------------------------------- the gradient
template <class T, class I>
struct Place {
  NONET_DEVICE void operator()(const T* dy, const int64_t* positions, T* dx, int64_t count, int64_t n,
                               const Divisor<I>& slice, const Divisor<I>& inner) const {
    for_grid(count, [&](int64_t j) {
      const I o = slice.quotient(static_cast<I>(j));
      const I line = inner.quotient(static_cast<I>(j));
      const int64_t i = j - static_cast<int64_t>(line) * inner.value;
      dx[(o * n + positions[j]) * inner.value + i] = dy[j];
    });
  }
};

void place(Stream stream, int size, const void* dy, const int64_t* positions, void* dx, int64_t outer, int64_t k,
           int64_t n, int64_t inner) {
  const int64_t count = outer * k * inner;
  visit_size(size, [&](auto element) {
    using T = decltype(element);
    visit_index(count, [&](auto index) {
      using I = decltype(index);
      run_elements(stream, count, Place<T, I>{}, static_cast<const T*>(dy), positions, static_cast<T*>(dx), count, n,
                   Divisor<I>(k * inner), Divisor<I>(inner));
    });
  });
}

}  // namespace

NONET_DEVICE_TABLE(SortDevice, simt, {sort, order, place});

}  // namespace nonet::NONET_CUDA_NS
