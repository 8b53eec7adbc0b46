#include "cuda/table.cuh"
#include "cuda/warp.cuh"
#include "ops/elementwise/elementwise.h"

namespace nonet::NONET_CUDA_NS {

namespace {

constexpr int threads = 256;

// `columns` threads side by side, a power of two up to 32, add a column i each; the block's rows of threads share a
// span, and are added at the end. One block per span and tile of columns.
struct SumSpans {
  NONET_DEVICE void operator()(const float* x, float* y, int64_t n, int64_t inner, int64_t span, int columns) const {
    const int rows = threads / columns;
    const int column = thread_rank() % columns;
    const int64_t tiles = (inner + columns - 1) / columns;
    const int64_t spans = (n + span - 1) / span;
    const int64_t part = block_index().x / tiles;  // o * spans + s
    const int64_t i = block_index().x % tiles * columns + column;
    const int64_t begin = part % spans * span;
    const int64_t end = begin + span < n ? begin + span : n;
    const float* from = x + part / spans * n * inner + i;
    float sum = 0;
    if (i < inner) {
      for (int64_t j = begin + thread_rank() / columns; j < end; j += rows) sum += from[j * inner];
    }
    // Lanes a multiple of `columns` apart hold the same column.
    for (int step = 16; step >= columns; step /= 2) sum += shuffle_xor(sum, step);
    float* parts = shared_memory<float>();
    if (lane_index() < columns) parts[warp_index() * columns + column] = sum;
    block_sync();
    if (thread_rank() >= columns || i >= inner) return;
    sum = 0;
    for (int warp = 0; warp < threads / 32; ++warp) sum += parts[warp * columns + column];
    y[part * inner + i] = sum;
  }
};

void sum_spans(Stream stream, const float* x, float* y, int64_t outer, int64_t n, int64_t inner, int64_t span) {
  int columns = 1;
  while (columns < inner && columns < 32) columns *= 2;
  const int64_t tiles = (inner + columns - 1) / columns;
  const int64_t spans = (n + span - 1) / span;
  const int shared_bytes = threads / 32 * columns * static_cast<int>(sizeof(float));
  run(stream, outer * spans * tiles, threads, shared_bytes, SumSpans{}, x, y, n, inner, span, columns);
}

}  // namespace

NONET_DEVICE_TABLE(SumToDevice, simt, {sum_spans});

}  // namespace nonet::NONET_CUDA_NS
