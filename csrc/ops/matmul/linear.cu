#include "base/dtype.h"
#include "cuda/elements.cuh"
#include "cuda/scalar.cuh"
#include "cuda/table.cuh"
#include "cuda/warp.cuh"
#include "ops/matmul/linear.h"
//
#include "ops/matmul/map_fused.h"

namespace nonet::NONET_CUDA_NS {

namespace {

template <class Map, class T>
struct ActivationGradient {
  NONET_DEVICE void operator()(const T* dy, const T* saved, T* dz, int64_t n) const {
    map_elements(n, [](T d, T s) { return from_float<T>(Map::backward(as_float(d), as_float(s))); }, dz, dy, saved);
  }
};

void activation_backward(Stream stream, DType dtype, const void* dy, const void* saved, void* dz, int64_t size,
                         FusedActivation activation) {
  visit_floating(dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const auto run_map = [&](auto map) {
      run_elements(stream, size, ActivationGradient<decltype(map), T>{}, static_cast<const T*>(dy),
                   static_cast<const T*>(saved), static_cast<T*>(dz), size);
    };
    switch (activation) {
      case FusedActivation::none:
        return run_map(FusedNone{});
      case FusedActivation::relu:
        return run_map(FusedRelu{});
      case FusedActivation::tanh:
        return run_map(FusedTanh{});
      case FusedActivation::sigmoid:
        return run_map(FusedSigmoid{});
      case FusedActivation::gelu:
        return run_map(FusedGelu{});
      case FusedActivation::gelu_tanh:
        return run_map(FusedGeluTanh{});
    }
  });
}

// ---------------------------------------------------------------- the gradient of the bias
constexpr int threads = 256;

// out[span, j] = sum of x[r, j] over the rows of a span. `columns` threads side by side, a power of two up to 32, have
// `pack` columns each; the block's rows of threads share a span, and are added at the end.
template <class T, int pack>
struct SumRows {
  NONET_DEVICE void operator()(const T* x, float* out, int64_t rows, int64_t n, int64_t span, int columns) const {
    const int width = columns * pack;
    const int64_t tiles = (n + width - 1) / width;
    const int64_t part = block_index().x / tiles;
    const int64_t j = block_index().x % tiles * width + thread_rank() % columns * pack;
    const int64_t end = (part + 1) * span < rows ? (part + 1) * span : rows;
    float sum[pack] = {};
    if (j < n) {
      NONET_UNROLL
      for (int64_t r = part * span + thread_rank() / columns; r < end; r += threads / columns) {
        const auto values = load_pack<pack>(x + r * n + j);
        NONET_UNROLL
        for (int i = 0; i < pack; ++i) sum[i] += as_float(values[i]);
      }
    }
    // Lanes a multiple of `columns` apart hold the same columns.
    float* parts = shared_memory<float>();
    NONET_UNROLL
    for (int i = 0; i < pack; ++i) {
      for (int step = 16; step >= columns; step /= 2) sum[i] += shuffle_xor(sum[i], step);
      if (lane_index() < columns) parts[(warp_index() * columns + lane_index()) * pack + i] = sum[i];
    }
    block_sync();
    const int64_t own = block_index().x % tiles * width + thread_rank();
    if (thread_rank() >= width || own >= n) return;
    float total = 0;
    for (int warp = 0; warp < threads / 32; ++warp) total += parts[warp * width + thread_rank()];
    out[part * n + own] = total;
  }
};

int columns_for(int64_t n, int pack) {
  int columns = 1;
  while (columns * pack < n && columns < 32) columns *= 2;
  return columns;
}

template <class T>
void sum_rows(Stream stream, const T* x, float* out, int64_t rows, int64_t n, int64_t span) {
  constexpr int most = pack_size<T>();
  const auto run_packs = [&](auto count) {
    constexpr int pack = decltype(count)::value;
    const int columns = columns_for(n, pack);
    const int64_t tiles = (n + columns * pack - 1) / (columns * pack);
    constexpr int shared_bytes = threads / 32 * 32 * pack * static_cast<int>(sizeof(float));
    const int64_t spans = rows == 0 ? 1 : (rows + span - 1) / span;
    run(stream, tiles * spans, threads, shared_bytes, SumRows<T, pack>{}, x, out, rows, n, span, columns);
  };
  // Wide packs need columns enough to fill the blocks of a device.
  if (n % most == 0 && reinterpret_cast<uintptr_t>(x) % 16 == 0) return run_packs(Count<most>{});
  run_packs(Count<1>{});
}

// Rows of a span: so many spans that every multiprocessor has some blocks, and none is short.
int64_t span_of(int64_t rows, int64_t n) {
  constexpr int64_t shortest = 128;
  const int64_t tiles = n == 0 ? 1 : (n + 127) / 128;
  int64_t spans = 4 * multiprocessors() / tiles;
  if (spans > rows / shortest) spans = rows / shortest;
  return spans <= 1 ? (rows == 0 ? 1 : rows) : (rows + spans - 1) / spans;
}
int64_t spans_of(int64_t rows, int64_t n) {
  const int64_t span = span_of(rows, n);
  return rows == 0 ? 1 : (rows + span - 1) / span;
}

int64_t bias_workspace(int64_t rows, int64_t n) {
  const int64_t spans = spans_of(rows, n);
  return spans == 1 ? 0 : spans * n;
}

void bias_gradient(Stream stream, DType dtype, const void* dz, float* db, int64_t rows, int64_t n, void* workspace) {
  if (n == 0) return;
  const int64_t spans = spans_of(rows, n);
  float* parts = spans == 1 ? db : static_cast<float*>(workspace);
  visit_floating(dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    sum_rows(stream, static_cast<const T*>(dz), parts, rows, n, span_of(rows, n));
  });
  if (spans > 1) sum_rows(stream, parts, db, spans, n, spans);
}

}  // namespace

NONET_DEVICE_TABLE(LinearDevice, simt, {activation_backward, bias_workspace, bias_gradient});

}  // namespace nonet::NONET_CUDA_NS
