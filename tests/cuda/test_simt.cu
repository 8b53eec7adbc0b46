// Indices, shared memory, barriers, shuffles, atomics.
#include "cuda/divide.cuh"
#include "cuda/warp.cuh"
#include "test.h"

namespace nonet::NONET_CUDA_NS {
namespace {

using test::Buffer;

struct Scale {
  NONET_DEVICE void operator()(const float* x, float* y, int64_t n, float factor) const {
    for_grid(n, [&](int64_t i) { y[i] = x[i] * factor; });
  }
};

TEST(elementwise) {
  const auto x = test::normal<float>(100001, 1);
  Buffer<float> in(x), out(x.size());
  const Status status =
      launch({.grid = {100}, .block = {256}}, Scale{}, in.data(), out.data(), static_cast<int64_t>(x.size()), 3.f);
  if (!status.ok()) return status;
  return test::compare(out.host(), [&](size_t i) { return x[i] * 3.f; }, 0);
}
FAULT(reads_beyond_the_end, "at byte 400000 of a buffer of 400000 bytes") {
  Buffer<float> in(100000), out(100001);
  return launch({.grid = {100}, .block = {256}}, Scale{}, in.data(), out.data(), 100001ll, 3.f);
}
FAULT(writes_beyond_the_end, "out of bounds: writes behind the end of a buffer of 400004 bytes") {
  Buffer<float> in(100002), out(100001);
  return launch({.grid = {100}, .block = {256}}, Scale{}, in.data(), out.data(), 100002ll, 3.f);
}

// C = A B with tiles in shared memory; `missing` leaves out one of the two barriers.
template <int tile, int missing>
struct TiledSgemm {
  static constexpr int max_threads = tile * tile;
  NONET_DEVICE void operator()(const float* a, const float* b, float* c, int m, int n, int k) const {
    float* as = shared_memory<float>();
    float* bs = shared_memory<float>(tile * tile * 4);
    const int tx = thread_index().x, ty = thread_index().y;
    const int row = block_index().y * tile + ty, col = block_index().x * tile + tx;
    float sum = 0;
    for (int k0 = 0; k0 < k; k0 += tile) {
      as[ty * tile + tx] = row < m && k0 + tx < k ? a[row * k + k0 + tx] : 0.f;
      bs[ty * tile + tx] = k0 + ty < k && col < n ? b[(k0 + ty) * n + col] : 0.f;
      if (missing != 1) block_sync();
      NONET_UNROLL
      for (int i = 0; i < tile; ++i) sum = fmaf(as[ty * tile + i], bs[i * tile + tx], sum);
      if (missing != 2) block_sync();
    }
    if (row < m && col < n) c[row * n + col] = sum;
  }
};

template <int missing = 0>
Status run_sgemm(int m, int n, int k) {
  constexpr int tile = 16;
  const auto a = test::normal<float>(m * k, 1), b = test::normal<float>(k * n, 2);
  Buffer<float> da(a), db(b), dc(m * n);
  const Status status = launch({.grid = {(n + tile - 1) / tile, (m + tile - 1) / tile},
                                .block = {tile, tile},
                                .shared_bytes = 2 * tile * tile * 4},
                               TiledSgemm<tile, missing>{}, da.data(), db.data(), dc.data(), m, n, k);
  if (!status.ok()) return status;
  return test::compare(
      dc.host(),
      [&](size_t i) {
        double sum = 0;
        for (int p = 0; p < k; ++p) sum += static_cast<double>(a[i / n * k + p]) * b[p * n + i % n];
        return sum;
      },
      1e-4);
}
TEST(tiled_sgemm) {
  return run_sgemm(70, 50, 45);
}
TEST(tiled_sgemm_256) {
  return run_sgemm(256, 256, 256);
}
FAULT(missing_barrier_before_reading, "race: ") {
  return run_sgemm<1>(32, 32, 45);
}
FAULT(missing_barrier_before_writing, "race: ") {
  return run_sgemm<2>(32, 32, 45);
}

struct Quotients {
  NONET_DEVICE void operator()(const int32_t* n, const int32_t* d, const Divisor<int32_t>* divisors, int32_t* wrong,
                               int64_t count) const {
    for_grid(count * count, [&](int64_t i) {
      const int64_t a = i / count, b = i % count;
      const Divisor<int32_t> divisor = divisors[b];
      if (divisor.quotient(n[a]) != n[a] / d[b]) atomic_add(wrong, 1);
    });
  }
};
TEST(division_by_multiplication) {
  std::vector<int32_t> values;  // around powers of two, and others
  for (int bit = 0; bit < 31; ++bit) {
    for (int32_t more : {-1, 0, 1, 5}) {
      if ((int64_t{1} << bit) + more > 0) values.push_back((1 << bit) + more);
    }
  }
  values.push_back(0x7fffffff);
  for (int32_t x = 3; x < 2000000000 && x > 0; x = x / 2 * 3 + 1) values.push_back(x);
  std::vector<Divisor<int32_t>> divisors;
  for (const int32_t d : values) divisors.emplace_back(d);
  values.push_back(0);
  std::vector<int32_t> numerators = values;
  numerators.erase(numerators.begin());
  values.pop_back();
  Buffer<int32_t> n(numerators), d(values), wrong(std::vector<int32_t>{0});
  Buffer<Divisor<int32_t>> shared(divisors);
  const Status status = launch({.grid = {8}, .block = {64}}, Quotients{}, n.data(), d.data(), shared.data(),
                               wrong.data(), static_cast<int64_t>(values.size()));
  if (!status.ok()) return status;
  return test::compare(wrong.host(), [](size_t) { return 0; }, 0);
}

}  // namespace
}  // namespace nonet::NONET_CUDA_NS
