#include "base/dtype.h"
#include "cuda/divide.cuh"
#include "cuda/elements.cuh"
#include "cuda/scan.cuh"
#include "cuda/table.cuh"
#include "ops/index/index.h"

namespace nonet::NONET_CUDA_NS {

namespace {

// An element of [outer, count, inner].
template <class I>
struct Place {
  I outer, k, inner;
};
template <class I>
struct Places {
  Divisor<I> count, inner;
  Places(int64_t count, int64_t inner) : count(count), inner(inner) {}
  NONET_DEVICE Place<I> of(I i) const {
    const I row = inner.quotient(i);
    const I outer = count.quotient(row);
    return {outer, row - outer * count.value, i - row * inner.value};
  }
};

// ---------------------------------------------------------------- reading
template <class T, class I>
struct Take {
  NONET_DEVICE void operator()(const T* x, const int64_t* rows, T* y, int64_t size, int64_t n,
                               const Places<I>& places) const {
    for_grid(size, [&](int64_t i) {
      const Place<I> at = places.of(static_cast<I>(i));
      const int64_t row = rows[at.k];
      T value = {};
      if (row >= 0 && row < n) value = load(x + (at.outer * n + row) * places.inner.value + at.inner);
      store(y + i, value);
    });
  }
};

void take(Stream stream, const void* x, const int64_t* rows, void* y, int64_t outer, int64_t n, int64_t count,
          int64_t bytes) {
  const auto addresses =
      reinterpret_cast<uintptr_t>(x) | reinterpret_cast<uintptr_t>(y) | static_cast<uintptr_t>(bytes);
  const auto run_as = [&](auto element) {
    using T = decltype(element);
    const int64_t inner = bytes / static_cast<int64_t>(sizeof(T));
    visit_index(outer * count * inner, [&](auto index) {
      using I = decltype(index);
      run_elements(stream, outer * count * inner, Take<T, I>{}, static_cast<const T*>(x), rows, static_cast<T*>(y),
                   outer * count * inner, n, Places<I>(count, inner));
    });
  };
  if (addresses % 16 == 0) return run_as(Pack<uint32_t, 4>{});
  visit_size(addresses % 8 == 0 ? 8 : (addresses % 4 == 0 ? 4 : (addresses % 2 == 0 ? 2 : 1)), run_as);
}

template <class T, class I>
struct Gather {
  NONET_DEVICE void operator()(const T* x, const int64_t* index, T* y, int64_t size, int64_t n,
                               const Places<I>& places) const {
    for_grid(size, [&](int64_t i) {
      const Place<I> at = places.of(static_cast<I>(i));
      const int64_t row = index[i];
      y[i] = row >= 0 && row < n ? x[(at.outer * n + row) * places.inner.value + at.inner] : T{0};
    });
  }
};

void gather(Stream stream, const void* x, const int64_t* index, void* y, int size, int64_t outer, int64_t n,
            int64_t count, int64_t inner) {
  const int64_t all = outer * count * inner;
  visit_size(size, [&](auto element) {
    using T = decltype(element);
    visit_index(all, [&](auto number) {
      using I = decltype(number);
      run_elements(stream, all, Gather<T, I>{}, static_cast<const T*>(x), index, static_cast<T*>(y), all, n,
                   Places<I>(count, inner));
    });
  });
}

struct Combine {
  NONET_DEVICE void operator()(const int64_t* index, int64_t n, int64_t* places, int64_t count) const {
    for_grid(count, [&](int64_t j) {
      const int64_t v = index[j] < 0 ? index[j] + n : index[j];
      places[j] = places[j] < 0 || v < 0 || v >= n ? -1 : places[j] * n + v;
    });
  }
};

void combine(Stream stream, const int64_t* index, int64_t n, int64_t* places, int64_t count) {
  run_elements(stream, count, Combine{}, index, n, places, count);
}

// ---------------------------------------------------------------- writing
template <class I>
struct Targets {
  NONET_DEVICE void operator()(const int64_t* index, int64_t* targets, int64_t size, int64_t n,
                               const Places<I>& places) const {
    for_grid(size, [&](int64_t i) {
      const Place<I> at = places.of(static_cast<I>(i));
      const int64_t row = index[i];
      targets[i] = row >= 0 && row < n ? (at.outer * n + row) * places.inner.value + at.inner : -1;
    });
  }
};

void targets(Stream stream, const int64_t* index, int64_t* targets, int64_t outer, int64_t n, int64_t count,
             int64_t inner) {
  const int64_t all = outer * count * inner;
  visit_index(all, [&](auto number) {
    using I = decltype(number);
    run_elements(stream, all, Targets<I>{}, index, targets, all, n, Places<I>(count, inner));
  });
}

// Which k comes last to a target does not depend on the order of the threads: it is the largest.
template <class I>
struct Last {
  NONET_DEVICE void operator()(const int64_t* targets, int32_t* last, int64_t size, const Places<I>& places) const {
    for_grid(size, [&](int64_t i) {
      if (targets[i] >= 0) atomic_max(&last[targets[i]], static_cast<int32_t>(places.of(static_cast<I>(i)).k));
    });
  }
};
template <class T, class I>
struct Put {
  NONET_DEVICE void operator()(const T* source, const int64_t* targets, const int32_t* last, T* out, int64_t size,
                               const Places<I>& places) const {
    for_grid(size, [&](int64_t i) {
      const int64_t target = targets[i];
      if (target >= 0 && last[target] == static_cast<int32_t>(places.of(static_cast<I>(i)).k)) out[target] = source[i];
    });
  }
};

void put(Stream stream, const void* source, const int64_t* targets, int32_t* last, void* out, int size, int64_t outer,
         int64_t count, int64_t inner) {
  const int64_t all = outer * count * inner;
  visit_index(all, [&](auto number) {
    using I = decltype(number);
    const Places<I> places(count, inner);
    run_elements(stream, all, Last<I>{}, targets, last, all, places);
    visit_size(size, [&](auto element) {
      using T = decltype(element);
      run_elements(stream, all, Put<T, I>{}, static_cast<const T*>(source), targets, static_cast<const int32_t*>(last),
                   static_cast<T*>(out), all, places);
    });
  });
}

// Sums of integers do not depend on the order.
template <class T>
struct AddIntegers {
  NONET_DEVICE void operator()(const T* source, const int64_t* targets, T* out, T factor, int64_t size) const {
    for_grid(size, [&](int64_t i) {
      if (targets[i] >= 0) atomic_add(&out[targets[i]], static_cast<T>(source[i] * factor));
    });
  }
};

void add_integers(Stream stream, DType dtype, const void* source, const int64_t* targets, void* out, int64_t factor,
                  int64_t count) {
  const auto add = [&](auto element) {
    using T = decltype(element);
    run_elements(stream, count, AddIntegers<T>{}, static_cast<const T*>(source), targets, static_cast<T*>(out),
                 static_cast<T>(factor), count);
  };
  if (dtype == DType::int64) {
    add(int64_t{});
  } else {
    add(int32_t{});
  }
}

struct AllRows {
  NONET_DEVICE void operator()(const int64_t* rows, int64_t* index, int64_t size, int64_t count, int64_t inner) const {
    for_grid(size, [&](int64_t i) { index[i] = rows[i / inner % count]; });
  }
};

void all_rows(Stream stream, const int64_t* rows, int64_t* index, int64_t outer, int64_t count, int64_t inner) {
  const int64_t size = outer * count * inner;
  run_elements(stream, size, AllRows{}, rows, index, size, count, inner);
}

// ---------------------------------------------------------------- positions
constexpr int64_t part = IndexDevice::part;
constexpr int threads = 256;
constexpr int warps = threads / 32;

struct CountParts {
  NONET_DEVICE void operator()(const bool* mask, int64_t n, int64_t* offsets) const {
    int64_t count = 0;
    const int64_t end = (block_index().x + 1) * part < n ? (block_index().x + 1) * part : n;
    for (int64_t i = block_index().x * part + thread_rank(); i < end; i += threads) count += mask[i] ? 1 : 0;
    int64_t total;
    block_scan(count, shared_memory<int64_t>(), total);
    if (thread_rank() == 0) offsets[block_index().x] = total;
  }
};
// offsets [parts + 1]: counts to the numbers before each part.
struct ScanParts {
  NONET_DEVICE void operator()(int64_t* offsets, int64_t parts) const {
    int64_t before = 0;
    for (int64_t first = 0; first < parts; first += threads) {
      const int64_t p = first + thread_rank();
      int64_t total;
      const int64_t sum = block_scan(p < parts ? offsets[p] : 0, shared_memory<int64_t>(), total);
      if (p < parts) offsets[p] = before + sum;
      before += total;
    }
    if (thread_rank() == 0) offsets[parts] = before;
  }
};

void count(Stream stream, const bool* mask, int64_t n, int64_t* offsets) {
  const int64_t parts = (n + part - 1) / part;
  constexpr int bytes = warps * sizeof(int64_t);
  run(stream, parts, threads, bytes, CountParts{}, mask, n, offsets);
  run(stream, 1, threads, bytes, ScanParts{}, offsets, parts);
}

struct Positions {
  NONET_DEVICE void operator()(const bool* mask, int64_t n, const int64_t* offsets, int64_t* positions,
                               const IndexShape& shape) const {
    int64_t before = offsets[block_index().x];
    for (int64_t first = block_index().x * part; first < (block_index().x + 1) * part; first += threads) {
      int64_t rest = first + thread_rank();
      const bool set = rest < n && mask[rest];
      int64_t total;
      const int64_t place = before + block_scan(int64_t{set}, shared_memory<int64_t>(), total);
      before += total;
      if (!set) continue;
      for (int axis = shape.rank - 1; axis >= 0; --axis) {
        const int64_t outer = rest / shape.sizes[axis];
        positions[place * shape.rank + axis] = rest - outer * shape.sizes[axis];
        rest = outer;
      }
    }
  }
};

void positions(Stream stream, const bool* mask, int64_t n, const int64_t* offsets, int64_t* positions,
               const IndexShape& shape) {
  run(stream, (n + part - 1) / part, threads, warps * sizeof(int64_t), Positions{}, mask, n, offsets, positions, shape);
}

struct OneHot {
  NONET_DEVICE void operator()(const int64_t* index, int64_t* y, int64_t count, int64_t classes) const {
    for_grid(count * classes, [&](int64_t i) {
      const int64_t j = i / classes;
      y[i] = index[j] == i - j * classes ? 1 : 0;
    });
  }
};

void one_hot(Stream stream, const int64_t* index, int64_t* y, int64_t count, int64_t classes) {
  run_elements(stream, count * classes, OneHot{}, index, y, count, classes);
}

}  // namespace

NONET_DEVICE_TABLE(IndexDevice, simt,
                   {take, gather, combine, targets, put, add_integers, all_rows, count, positions, one_hot});

}  // namespace nonet::NONET_CUDA_NS
