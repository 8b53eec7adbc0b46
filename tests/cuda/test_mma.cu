// cp.async, ldmatrix, mma.sync.
#include "cuda/prim.cuh"
#include "test.h"

namespace nonet::NONET_CUDA_NS {
namespace {

using test::Buffer;

template <class T, class A, class B>
Status compare_product(const std::vector<float>& c, const std::vector<A>& a, const std::vector<B>& b, int n, int k,
                       bool b_transposed, double tolerance) {
  return test::compare(
      c,
      [&](size_t i) {
        double sum = 0;
        for (int p = 0; p < k; ++p) {
          const int row = static_cast<int>(i / n), column = static_cast<int>(i % n);
          sum += static_cast<double>(test::host_float(a[row * k + p])) *
                 test::host_float(b_transposed ? b[column * k + p] : b[p * n + column]);
        }
        return sum;
      },
      tolerance);
}

enum class Fault { none, no_wait, no_barrier, wrong_group };

// C[m, n] = A[m, k] B[k, n], tiles of 32 fetched by cp.async into a ring of `stages`.
template <int stages, Fault fault>
struct PipelinedSgemm {
  static constexpr int max_threads = 256, tile = 32;
  NONET_DEVICE void operator()(const float* a, const float* b, float* c, int m, int n, int k) const {
    float* as = shared_memory<float>();
    float* bs = shared_memory<float>(stages * tile * tile * 4);
    const int row0 = block_index().y * tile, column0 = block_index().x * tile, tiles = (k + tile - 1) / tile;
    const auto fetch = [&](int i) {
      if (i < tiles) {
        const int r = thread_rank() / 8, q = thread_rank() % 8 * 4, slot = i % stages * tile * tile;
        const int k_a = i * tile + q, k_b = i * tile + r;
        const bool in_a = row0 + r < m && k_a < k, in_b = k_b < k && column0 + q < n;
        copy_async<16>(as + slot + r * tile + q, in_a ? a + (row0 + r) * k + k_a : a, in_a ? 16 : 0);
        copy_async<16>(bs + slot + r * tile + q, in_b ? b + k_b * n + column0 + q : b, in_b ? 16 : 0);
      }
      copy_async_commit();
    };
    for (int i = 0; i < stages - 1; ++i) fetch(i);
    float sum[4] = {};
    const int r = thread_rank() / 8, q = thread_rank() % 8 * 4;
    for (int i = 0; i < tiles; ++i) {
      if (fault != Fault::no_wait) copy_async_wait<fault == Fault::wrong_group ? stages - 1 : stages - 2>();
      if (fault != Fault::no_barrier) block_sync();
      fetch(i + stages - 1);
      const int slot = i % stages * tile * tile;
      for (int p = 0; p < tile; ++p) {
        const float x = as[slot + r * tile + p];
        const auto y = load_pack<4>(bs + slot + p * tile + q);
        NONET_UNROLL
        for (int j = 0; j < 4; ++j) sum[j] = fmaf(x, y[j], sum[j]);
      }
    }
    if (row0 + r < m) {
      for (int j = 0; j < 4; ++j) {
        if (column0 + q + j < n) c[(row0 + r) * n + column0 + q + j] = sum[j];
      }
    }
  }
};
template <int stages, Fault fault>
Status run_pipelined(int m, int n, int k) {
  const auto a = test::normal<float>(m * k, 1), b = test::normal<float>(k * n, 2);
  Buffer<float> da(a), db(b), dc(m * n);
  const Status status =
      launch({.grid = {(n + 31) / 32, (m + 31) / 32}, .block = {256}, .shared_bytes = stages * 32 * 32 * 8},
             PipelinedSgemm<stages, fault>{}, da.data(), db.data(), dc.data(), m, n, k);
  if (!status.ok()) return status;
  return compare_product<float>(dc.host(), a, b, n, k, false, 1e-4);
}
TEST(cp_async_pipeline) {
  return run_pipelined<3, Fault::none>(50, 40, 32 * 7 - 4);
}
TEST(cp_async_pipeline_short) {
  return run_pipelined<4, Fault::none>(32, 32, 36);
}
FAULT(cp_async_without_wait, "caught") {
  const Status status = run_pipelined<3, Fault::no_wait>(32, 32, 32 * 7);
  return status.ok() ? status : test::wrong("caught: " + status.text);
}
FAULT(cp_async_wrong_group, "caught") {
  const Status status = run_pipelined<3, Fault::wrong_group>(32, 32, 32 * 7);
  return status.ok() ? status : test::wrong("caught: " + status.text);
}
FAULT(cp_async_without_barrier, "race: ") {
  return run_pipelined<3, Fault::no_barrier>(32, 32, 32 * 7);
}

// One warp: C[16, 8] = A[16, k] B[k, 8] in bfloat16, A by load_matrix from rows of shared memory, B by its transposing
// form from rows along N.
struct MmaBf16 {
  static constexpr int max_threads = 32;
  NONET_DEVICE void operator()(const bfloat16* a, const bfloat16* b, float* c, int k) const {
    constexpr int pitch = 24;  // elements; 48 bytes, so that the rows lie in different banks
    auto* as = shared_memory<bfloat16>();
    auto* bs = as + 16 * pitch;
    const int lane = lane_index(), g = lane / 4, t = lane % 4;
    float d[4] = {};
    for (int k0 = 0; k0 < k; k0 += 16) {
      for (int i = lane; i < 256; i += 32) as[i / 16 * pitch + i % 16] = a[i / 16 * k + k0 + i % 16];
      for (int i = lane; i < 128; i += 32) bs[i / 8 * 8 + i % 8] = b[(k0 + i / 8) * 8 + i % 8];
      warp_sync();
      uint32_t af[4], bf[2];
      load_matrix<4>(af, as + lane % 16 * pitch + lane / 16 * 8);
      load_matrix<2, true>(bf, bs + lane % 16 * 8);
      mma_bf16(d, af, bf);
      warp_sync();
    }
    for (int i = 0; i < 4; ++i) c[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = d[i];
  }
};
TEST(mma_bf16_gemm) {
  const int k = 80;
  const auto a = test::normal<bfloat16>(16 * k, 1), b = test::normal<bfloat16>(k * 8, 2);
  Buffer<bfloat16> da(a), db(b);
  Buffer<float> dc(128);
  const Status status =
      launch({.grid = {1}, .block = {32}, .shared_bytes = 1024 + 256}, MmaBf16{}, da.data(), db.data(), dc.data(), k);
  if (!status.ok()) return status;
  return compare_product<float>(dc.host(), a, b, 8, k, false, 1e-4);
}

struct MmaTf32 {
  static constexpr int max_threads = 32;
  NONET_DEVICE void operator()(const float* a, const float* b, float* c, int k) const {
    const int g = lane_index() / 4, t = lane_index() % 4;
    float d[4] = {};
    for (int k0 = 0; k0 < k; k0 += 8) {
      const uint32_t af[4] = {to_tf32(a[g * k + k0 + t]), to_tf32(a[(g + 8) * k + k0 + t]),
                              to_tf32(a[g * k + k0 + t + 4]), to_tf32(a[(g + 8) * k + k0 + t + 4])};
      const uint32_t bf[2] = {to_tf32(b[(k0 + t) * 8 + g]), to_tf32(b[(k0 + t + 4) * 8 + g])};
      mma_tf32(d, af, bf);
    }
    for (int i = 0; i < 4; ++i) c[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = d[i];
  }
};
TEST(mma_tf32_gemm) {
  const int k = 40;
  const auto a = test::normal<float>(16 * k, 1), b = test::normal<float>(k * 8, 2);
  Buffer<float> da(a), db(b), dc(128);
  const Status status = launch({.grid = {1}, .block = {32}}, MmaTf32{}, da.data(), db.data(), dc.data(), k);
  if (!status.ok()) return status;
  return compare_product<float>(dc.host(), a, b, 8, k, false, 5e-2);  // 40 products of operands rounded to 2^-11
}

}  // namespace
}  // namespace nonet::NONET_CUDA_NS
