// Shuffles, votes, atomics, named barriers, warp faults.
#include <algorithm>

#include "cuda/warp.cuh"
#include "test.h"

namespace nonet::NONET_CUDA_NS {
namespace {

using test::Buffer;

// One row per warp: softmax by shuffles.
template <bool diverges>
struct WarpSoftmax {
  static constexpr int max_threads = 128;
  NONET_DEVICE void operator()(const float* x, float* y, int rows, int columns) const {
    const int row = block_index().x * 4 + warp_index();
    if (row >= rows) return;
    float largest = -INFINITY, sum = 0;
    for (int i = lane_index(); i < columns; i += 32) largest = fmaxf(largest, x[row * columns + i]);
    if (diverges && lane_index() == 7) return;
    largest = warp_max(largest);
    for (int i = lane_index(); i < columns; i += 32) sum += expf(x[row * columns + i] - largest);
    sum = warp_sum(sum);
    for (int i = lane_index(); i < columns; i += 32) y[row * columns + i] = expf(x[row * columns + i] - largest) / sum;
  }
};
template <bool diverges = false>
Status run_softmax() {
  const int rows = 13, columns = 77;
  const auto x = test::normal<float>(rows * columns, 3);
  Buffer<float> in(x), out(x.size());
  const Status status =
      launch({.grid = {(rows + 3) / 4}, .block = {128}}, WarpSoftmax<diverges>{}, in.data(), out.data(), rows, columns);
  if (!status.ok()) return status;
  return test::compare(
      out.host(),
      [&](size_t i) {
        const float* row = &x[i / columns * columns];
        double sum = 0;
        for (int j = 0; j < columns; ++j) sum += std::exp(static_cast<double>(row[j]));
        return std::exp(static_cast<double>(x[i])) / sum;
      },
      1e-6);
}
TEST(shuffle_softmax) {
  return run_softmax();
}
FAULT(lane_that_left, "deadlock") {
  return run_softmax<true>();
}

struct DivergedWarp {
  NONET_DEVICE void operator()(int* out) const {
    out[thread_rank()] = thread_rank() % 2 ? shuffle_xor(1, 1) : static_cast<int>(ballot(true));
  }
};
FAULT(warp_divergence, "lanes of a warp diverge") {
  Buffer<int> out(32);
  return launch({.grid = {1}, .block = {32}}, DivergedWarp{}, out.data());
}

// Values travel between lanes through shared memory; `synced` says whether warp_sync() stands between.
template <bool synced>
struct WarpExchange {
  NONET_DEVICE void operator()(int* out) const {
    int* s = shared_memory<int>();
    s[thread_rank()] = thread_rank();
    if (synced) warp_sync();
    out[thread_rank()] = s[thread_rank() ^ 31];
  }
};
template <bool synced>
Status run_exchange() {
  Buffer<int> out(32);
  const Status status = launch({.grid = {1}, .block = {32}, .shared_bytes = 128}, WarpExchange<synced>{}, out.data());
  if (!status.ok()) return status;
  const auto got = out.host();
  for (int i = 0; i < 32; ++i) {
    if (got[i] != (i ^ 31)) return test::wrong("wrong value");
  }
  return {};
}
TEST(warp_exchange) {
  return run_exchange<true>();
}
FAULT(missing_warp_sync, "wrong value") {
  return run_exchange<false>();
}

struct BlockSum {
  static constexpr int max_threads = 1024;
  NONET_DEVICE void operator()(const float* x, float* total, int* largest, uint64_t* count, int n) const {
    float sum = 0;
    for (int i = thread_rank(); i < n; i += 1024) sum += x[i];
    sum = block_sum(sum, shared_memory<float>());
    if (thread_rank() == 0) atomic_add(total, sum);
    atomic_max(largest, thread_rank() + block_index().x);
    atomic_add(count, uint64_t{1});
  }
};
TEST(block_sum_and_atomics) {
  const auto x = test::normal<float>(5000, 4);
  Buffer<float> in(x), total(std::vector<float>{0});
  Buffer<int> largest(std::vector<int>{-1});
  Buffer<uint64_t> count(std::vector<uint64_t>{0});
  const Status status = launch({.grid = {3}, .block = {1024}, .shared_bytes = 128}, BlockSum{}, in.data(), total.data(),
                               largest.data(), count.data(), 5000);
  if (!status.ok()) return status;
  double sum = 0;
  for (const float v : x) sum += 3.0 * v;
  if (largest.host()[0] != 1025 || count.host()[0] != 3072) return test::wrong("atomics");
  return test::compare(total.host(), [&](size_t) { return sum; }, 1e-3);
}

// Atomics in shared memory, which are in nobody's way but that of ordinary accesses.
template <bool waits>
struct Histogram {
  NONET_DEVICE void operator()(const int* x, int* counts, int n) const {
    int* own = shared_memory<int>();
    if (thread_rank() < 8) own[thread_rank()] = 0;
    block_sync();
    for (int i = thread_rank(); i < n; i += 256) atomic_add(&own[x[i]], 1);
    if (waits) block_sync();
    if (thread_rank() < 8) counts[thread_rank()] = own[thread_rank()];
  }
};
template <bool waits>
Status run_histogram() {
  std::vector<int> x(3001);
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<int>(i * i % 8);
  Buffer<int> in(x), out(8);
  const Status status = launch({.grid = {1}, .block = {256}, .shared_bytes = 8 * sizeof(int)}, Histogram<waits>{},
                               in.data(), out.data(), static_cast<int>(x.size()));
  if (!status.ok()) return status;
  return test::compare(out.host(), [&](size_t k) { return std::count(x.begin(), x.end(), static_cast<int>(k)); }, 0);
}
TEST(histogram_in_shared_memory) {
  return run_histogram<true>();
}
FAULT(read_beside_atomics, "race: ") {
  return run_histogram<false>();
}

// Warp 0 produces, warp 1 consumes, two named barriers between them; `missing` leaves out the consumer's arrival.
template <bool missing>
struct NamedBarriers {
  static constexpr int max_threads = 64;
  NONET_DEVICE void operator()(const float* x, float* y, int tiles) const {
    float* s = shared_memory<float>();
    for (int i = 0; i < tiles; ++i) {
      if (warp_index() == 0) {
        if (i > 0 && !missing) barrier_sync(2, 64);
        s[lane_index()] = x[i * 32 + lane_index()];
        barrier_arrive(1, 64);
      } else {
        barrier_sync(1, 64);
        y[i * 32 + lane_index()] = s[31 - lane_index()];
        if (i + 1 < tiles && !missing) barrier_arrive(2, 64);
      }
    }
  }
};
template <bool missing>
Status run_named() {
  const auto x = test::normal<float>(32 * 7, 5);
  Buffer<float> in(x), out(x.size());
  const Status status =
      launch({.grid = {1}, .block = {64}, .shared_bytes = 128}, NamedBarriers<missing>{}, in.data(), out.data(), 7);
  if (!status.ok()) return status;
  return test::compare(out.host(), [&](size_t i) { return x[i / 32 * 32 + 31 - i % 32]; }, 0);
}
TEST(named_barriers) {
  return run_named<false>();
}
FAULT(missing_named_barrier, "race: ") {
  return run_named<true>();
}

struct EarlyExit {
  NONET_DEVICE void operator()(int n) const {
    if (thread_rank() >= n) return;
    block_sync();
  }
};
FAULT(barrier_after_exit, "barrier") {
  return launch({.grid = {1}, .block = {128}}, EarlyExit{}, 100);
}
struct TwoBarriers {
  NONET_DEVICE void operator()() const {
    if (warp_index() == 0) {
      block_sync();
    } else {
      block_sync();
    }
  }
};
FAULT(barrier_divergence, "barrier divergence") {
  return launch({.grid = {1}, .block = {64}}, TwoBarriers{});
}

struct SharedOverrun {
  NONET_DEVICE void operator()(int bytes) const { shared_memory<float>()[bytes / 4] = 1; }
};
FAULT(shared_out_of_bounds, "out of bounds: writes 4 bytes of shared memory at byte 64, of 64") {
  return launch({.grid = {1}, .block = {1}, .shared_bytes = 64}, SharedOverrun{}, 64);
}
struct Misaligned {
  NONET_DEVICE void operator()(const float* x, float* y) const { store_pack<float, 4>(y, load_pack<4>(x + 1)); }
};
FAULT(misaligned_vector, "misaligned") {
  Buffer<float> x(8), y(4);
  return launch({.grid = {1}, .block = {1}}, Misaligned{}, x.data(), y.data());
}
struct Unwritten {
  NONET_DEVICE void operator()(float* y) const { *y = shared_memory<float>()[0] * 0.f; }
};
FAULT(uninitialised_shared, "element 0: ") {
  Buffer<float> y(1);
  const Status status = launch({.grid = {1}, .block = {1}, .shared_bytes = 16}, Unwritten{}, y.data());
  return status.ok() ? test::compare(y.host(), [](size_t) { return 0.0; }, 0) : status;
}
struct DeepStack {
  NONET_DEVICE void operator()(int* out) const {
    volatile char big[1 << 19];
    for (int i = 0; i < 1 << 19; i += 512) big[(1 << 19) - 1 - i] = 1;
    *out = big[5];
  }
};
FAULT(too_many_threads, "invalid launch") {
  Buffer<int> out(1);
  return launch({.grid = {1}, .block = {512}}, DivergedWarp{}, out.data());
}
FAULT(stack_overflow, "stack overflow") {
  Buffer<int> out(1);
  return launch({.grid = {1}, .block = {1}}, DeepStack{}, out.data());
}

}  // namespace
}  // namespace nonet::NONET_CUDA_NS
