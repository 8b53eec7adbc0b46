#include "base/dtype.h"
#include "cuda/elements.cuh"
#include "cuda/table.cuh"
#include "cuda/warp.cuh"
#include "ops/embedding/kernels.h"

namespace nonet::NONET_CUDA_NS {

namespace {

constexpr int threads = 256;
constexpr int warps = threads / 32;

// ---------------------------------------------------------------- rows that are too long
struct Mark {
  NONET_DEVICE void operator()(const int64_t* rows, int64_t j, int64_t v, uint8_t* used) const {
    for_grid(j, [&](int64_t i) {
      if (rows[i] >= 0 && rows[i] < v) used[rows[i]] = 1;  // by several threads, all the same
    });
  }
};

void mark(Stream stream, const int64_t* rows, int64_t j, int64_t v, uint8_t* used) {
  run_elements(stream, j, Mark{}, rows, j, v, used);
}

struct NormFold {
  bool largest;
  NONET_DEVICE double operator()(double a, double b) const { return !largest ? a + b : (a > b ? a : b); }
};

// A warp per row.
template <class T>
struct Renorm {
  NONET_DEVICE void operator()(T* weight, const uint8_t* used, int64_t v, int64_t d, double max_norm, double p) const {
    const int64_t row = static_cast<int64_t>(block_index().x) * warps + warp_index();
    if (row >= v || used[row] == 0) return;
    T* x = weight + row * d;
    const NormFold fold{p > 1e300};
    double norm = 0;
    for (int64_t i = lane_index(); i < d; i += 32) {
      const double a = fabsf(as_float(x[i]));
      norm = fold(norm, fold.largest || p == 1. ? a : (p == 2. ? a * a : pow(a, p)));
    }
    norm = warp_reduce(norm, fold);
    if (!fold.largest && p != 1.) norm = p == 2. ? ::sqrt(norm) : pow(norm, 1 / p);
    if (norm <= max_norm) return;
    const double scale = max_norm / (norm + 1e-7);
    for (int64_t i = lane_index(); i < d; i += 32) {
      x[i] = from_float<T>(static_cast<float>(static_cast<double>(as_float(x[i])) * scale));
    }
  }
};

void renorm(Stream stream, DType dtype, void* weight, const uint8_t* used, int64_t v, int64_t d, double max_norm,
            double p) {
  visit_floating(dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    run(stream, (v + warps - 1) / warps, threads, 0, Renorm<T>{}, static_cast<T*>(weight), used, v, d, max_norm, p);
  });
}

// ---------------------------------------------------------------- bags
struct FindBags {
  NONET_DEVICE void operator()(const int64_t* index, const int64_t* offsets, int64_t padding, int64_t* rows,
                               int64_t* bags, const BagSizes& s) const {
    for_grid(s.j, [&](int64_t j) {
      int64_t low = 0;  // the number of bags that begin at j or before
      for (int64_t high = s.offsets; low < high;) {
        const int64_t middle = (low + high) / 2;
        if (offsets[middle] <= j) {
          low = middle + 1;
        } else {
          high = middle;
        }
      }
      const bool inside = low > 0 && low <= s.b;
      const int64_t row = index[j];
      rows[j] = inside && row >= 0 && row < s.v && row != padding ? row : -1;
      bags[j] = inside ? low - 1 : 0;
    });
  }
};

void bags(Stream stream, const int64_t* index, const int64_t* offsets, int64_t padding, int64_t* rows, int64_t* bags,
          const BagSizes& sizes) {
  run_elements(stream, sizes.j, FindBags{}, index, offsets, padding, rows, bags, sizes);
}

struct Range {
  int64_t begin, end;
};
NONET_DEVICE int64_t limited(int64_t x, int64_t high) {
  return x < 0 ? 0 : (x > high ? high : x);
}
NONET_DEVICE Range range_of(const int64_t* offsets, int64_t bag, const BagSizes& s) {
  return {limited(offsets[bag], s.j), bag + 1 < s.offsets ? limited(offsets[bag + 1], s.j) : s.j};
}

// A block per bag and 32 columns; its warps share the indices.
template <class T>
struct SumBags {
  NONET_DEVICE void operator()(const T* weight, const int64_t* rows, const int64_t* offsets, const float* scales,
                               float* means, T* y, const BagSizes& s, int64_t tiles) const {
    const int64_t bag = block_index().x / tiles;
    const int64_t tile = block_index().x % tiles;
    const int64_t column = tile * 32 + lane_index();
    const Range range = range_of(offsets, bag, s);
    float sum = 0;
    int kept = 0;
    for (int64_t j = range.begin + warp_index(); j < range.end; j += warps) {
      const int64_t row = rows[j];
      if (row < 0) continue;
      ++kept;
      if (column < s.d) sum = fmaf(as_float(weight[row * s.d + column]), scales == nullptr ? 1.f : scales[j], sum);
    }
    auto* parts = shared_memory<float>();
    auto* counts = shared_memory<int>(threads * static_cast<int>(sizeof(float)));
    parts[thread_rank()] = sum;
    counts[thread_rank()] = kept;
    block_sync();
    kept = 0;
    for (int w = 0; w < warps; ++w) kept += counts[w * 32];
    const float mean = kept == 0 ? 0.f : 1.f / static_cast<float>(kept);
    if (means != nullptr && tile == 0) {
      for (int64_t j = range.begin + thread_rank(); j < range.end; j += threads) means[j] = mean;
    }
    if (warp_index() > 0 || column >= s.d) return;
    for (int w = 1; w < warps; ++w) sum += parts[w * 32 + lane_index()];
    y[bag * s.d + column] = from_float<T>(means == nullptr ? sum : sum * mean);
  }
};

void sum(Stream stream, DType dtype, const void* weight, const int64_t* rows, const int64_t* offsets,
         const float* scales, float* means, void* y, const BagSizes& sizes) {
  const int64_t tiles = sizes.d > 0 ? (sizes.d + 31) / 32 : 1;
  visit_floating(dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    run(stream, sizes.b * tiles, threads, threads * static_cast<int>(sizeof(float) + sizeof(int)), SumBags<T>{},
        static_cast<const T*>(weight), rows, offsets, scales, means, static_cast<T*>(y), sizes, tiles);
  });
}

template <class T>
struct LargestOfBags {
  NONET_DEVICE void operator()(const T* weight, const int64_t* rows, const int64_t* offsets, T* y, int64_t* arg,
                               const BagSizes& s) const {
    for_grid(s.b * s.d, [&](int64_t i) {
      const int64_t bag = i / s.d;
      const int64_t column = i - bag * s.d;
      const Range range = range_of(offsets, bag, s);
      float best = 0;
      int64_t from = -1;
      for (int64_t j = range.begin; j < range.end; ++j) {
        if (rows[j] < 0) continue;
        const float v = as_float(weight[rows[j] * s.d + column]);
        if (from >= 0 && !(v > best)) continue;
        best = v;
        from = rows[j];
      }
      y[i] = from_float<T>(best);
      arg[i] = from;
    });
  }
};

void largest(Stream stream, DType dtype, const void* weight, const int64_t* rows, const int64_t* offsets, void* y,
             int64_t* arg, const BagSizes& sizes) {
  visit_floating(dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    run_elements(stream, sizes.b * sizes.d, LargestOfBags<T>{}, static_cast<const T*>(weight), rows, offsets,
                 static_cast<T*>(y), arg, sizes);
  });
}

// A warp per index.
template <class T>
struct Dots {
  NONET_DEVICE void operator()(const T* dy, const T* weight, const int64_t* rows, const int64_t* bags, float* ds,
                               const BagSizes& s) const {
    const int64_t j = static_cast<int64_t>(block_index().x) * warps + warp_index();
    if (j >= s.j) return;
    const int64_t row = rows[j];
    const T* a = dy + bags[j] * s.d;
    float sum = 0;
    if (row >= 0) {
      for (int64_t i = lane_index(); i < s.d; i += 32) sum = fmaf(as_float(a[i]), as_float(weight[row * s.d + i]), sum);
    }
    sum = warp_sum(sum);
    if (lane_index() == 0) ds[j] = sum;
  }
};

void dots(Stream stream, DType dtype, const void* dy, const void* weight, const int64_t* rows, const int64_t* bags,
          float* ds, const BagSizes& sizes) {
  visit_floating(dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    run(stream, (sizes.j + warps - 1) / warps, threads, 0, Dots<T>{}, static_cast<const T*>(dy),
        static_cast<const T*>(weight), rows, bags, ds, sizes);
  });
}

}  // namespace

NONET_DEVICE_TABLE(EmbeddingDevice, simt, {mark, renorm, bags, sum, largest, dots});

}  // namespace nonet::NONET_CUDA_NS
