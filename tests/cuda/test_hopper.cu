// TMA + mbarrier ring + wgmma, clusters and distributed shared memory, cooperative grids.
#include "cuda/grid.cuh"
#include "cuda/warp.cuh"
#include "test.h"

namespace nonet::NONET_CUDA_NS {
namespace {

using test::Buffer;

enum class Fault {
  none,
  no_empty_wait,
  no_empty_arrive,
  no_expect,
  wrong_step,
  no_wgmma_wait,
  no_init_fence,
  no_store_fence,
  no_store_wait
};

// C[m, n] = A[m, k] B[n, k]^T: a producer warp fills a ring by TMA, a consumer warpgroup multiplies from it.
template <class T, int stages, Fault fault>
struct RingGemm {
  static constexpr int max_threads = 256, tile_m = 64, tile_n = 64, tile_k = 128 / sizeof(T), step_k = 32 / sizeof(T);
  static constexpr int a_bytes = tile_m * 128, b_bytes = tile_n * 128;
  static constexpr int ring_bytes = stages * (a_bytes + b_bytes), c_bytes = tile_m * tile_n * 4;
  static constexpr int shared_bytes = ring_bytes + c_bytes + 16 * stages;
  TensorMap a, b, c;
  NONET_DEVICE void operator()(int k) const {
    auto* as = shared_memory<unsigned char>();
    auto* bs = as + stages * a_bytes;
    auto* cs = shared_memory<float>(ring_bytes);
    auto* full = shared_memory<Mbarrier>(ring_bytes + c_bytes);
    auto* empty = full + stages;
    const int tiles = (k + tile_k - 1) / tile_k, row0 = block_index().y * tile_m, column0 = block_index().x * tile_n;
    if (thread_rank() == 0) {
      for (int s = 0; s < stages; ++s) {
        mbarrier_init(&full[s], 1);
        mbarrier_init(&empty[s], 4);
      }
      if (fault != Fault::no_init_fence) fence_mbarrier_init();
    }
    block_sync();
    if (warp_index() >= 4) {
      lower_registers<24>();
      if (thread_rank() == 128) {
        for (int i = 0; i < tiles; ++i) {
          const int s = i % stages;
          if (i >= stages && fault != Fault::no_empty_wait) mbarrier_wait(&empty[s], (i / stages - 1) & 1);
          if (fault == Fault::no_expect) {
            mbarrier_arrive(&full[s]);
          } else {
            mbarrier_arrive_expect(&full[s], a_bytes + b_bytes);
          }
          tma_load(as + s * a_bytes, &a, &full[s], i * tile_k, row0);
          tma_load(bs + s * b_bytes, &b, &full[s], i * tile_k, column0);
        }
      }
      return;
    }
    raise_registers<240>();
    float d[tile_n / 2];
    for (int i = 0; i < tiles; ++i) {
      const int s = i % stages;
      mbarrier_wait(&full[s], (i / stages) & 1);
      const uint64_t da = matrix_descriptor(as + s * a_bytes, 16, 1024, Swizzle::bytes128);
      const uint64_t db = matrix_descriptor(bs + s * b_bytes, 16, 1024, Swizzle::bytes128);
      wgmma_fence();
      NONET_UNROLL
      for (int kk = 0; kk < tile_k / step_k; ++kk) {
        const int step = kk * (fault == Fault::wrong_step ? 16 : 32);
        if constexpr (sizeof(T) == 2) {
          wgmma_bf16<tile_n>(d, advance_descriptor(da, step), advance_descriptor(db, step), i > 0 || kk > 0);
        } else {
          wgmma_tf32<tile_n>(d, advance_descriptor(da, step), advance_descriptor(db, step), i > 0 || kk > 0);
        }
      }
      wgmma_commit();
      if (fault != Fault::no_wgmma_wait) wgmma_wait<0>(d);
      if (lane_index() == 0 && fault != Fault::no_empty_arrive) mbarrier_arrive(&empty[s]);
    }
    const int g = lane_index() / 4, t = lane_index() % 4;
    NONET_UNROLL
    for (int i = 0; i < tile_n / 2; ++i) {
      cs[(16 * warp_index() + g + i / 2 % 2 * 8) * tile_n + i / 4 * 8 + 2 * t + i % 2] = d[i];
    }
    if (fault != Fault::no_store_fence) fence_proxy_async();
    barrier_sync(1, 128);
    if (thread_rank() == 0) {
      tma_store(&c, cs, column0, row0);
      bulk_commit();
      if (fault != Fault::no_store_wait) bulk_wait_read<0>();
    }
  }
};

template <class T>
constexpr Element element_of = sizeof(T) == 2 ? Element::bfloat16 : Element::tf32;

template <class T>
Status matrix_map(TensorMap& map, Element element, const T* p, int rows, int columns, int box_rows, int box_columns,
                  Swizzle swizzle) {
  return encode_tensor_map(map, {.element = element,
                                 .address = p,
                                 .rank = 2,
                                 .size = {columns, rows},
                                 .stride = {sizeof(T), static_cast<int64_t>(columns * sizeof(T))},
                                 .box = {box_columns, box_rows},
                                 .swizzle = swizzle});
}

template <class T, int stages, Fault fault = Fault::none>
Status run_ring(int m, int n, int k) {
  using Kernel = RingGemm<T, stages, fault>;
  const auto a = test::normal<T>(m * k, 1), b = test::normal<T>(n * k, 2);
  Buffer<T> da(a), db(b);
  Buffer<float> dc(m * n);
  Kernel kernel;
  for (const Status& s : {matrix_map(kernel.a, element_of<T>, da.data(), m, k, 64, Kernel::tile_k, Swizzle::bytes128),
                          matrix_map(kernel.b, element_of<T>, db.data(), n, k, 64, Kernel::tile_k, Swizzle::bytes128),
                          matrix_map(kernel.c, Element::float32, dc.data(), m, n, 64, 64, Swizzle::none)}) {
    if (!s.ok()) return s;
  }
  const Status status =
      launch({.grid = {(n + 63) / 64, (m + 63) / 64}, .block = {256}, .shared_bytes = Kernel::shared_bytes}, kernel, k);
  if (!status.ok()) return status;
  return test::compare(
      dc.host(),
      [&](size_t i) {
        double sum = 0;
        for (int p = 0; p < k; ++p)
          sum += static_cast<double>(test::host_float(a[i / n * k + p])) * test::host_float(b[i % n * k + p]);
        return sum;
      },
      sizeof(T) == 2 ? 1e-3 : 0.1);
}
TEST(ring_bf16) {
  return run_ring<bfloat16, 3>(64, 64, 64 * 7);
}
TEST(ring_bf16_ragged) {
  return run_ring<bfloat16, 2>(72, 104, 64 * 5 - 8);
}
TEST(ring_bf16_short) {
  return run_ring<bfloat16, 4>(64, 64, 64);
}
TEST(ring_tf32) {
  return run_ring<float, 3>(64, 64, 32 * 9);
}
FAULT(ring_without_empty_wait, "more than the 1 arrivals that a phase wants") {
  return run_ring<bfloat16, 3, Fault::no_empty_wait>(64, 64, 64 * 7);
}
FAULT(ring_without_arrive, "deadlock") {
  return run_ring<bfloat16, 3, Fault::no_empty_arrive>(64, 64, 64 * 7);
}
FAULT(ring_without_expect, "race: ") {
  return run_ring<bfloat16, 3, Fault::no_expect>(64, 64, 64 * 7);
}
FAULT(ring_wrong_descriptor_step, "element ") {
  return run_ring<bfloat16, 3, Fault::wrong_step>(64, 64, 64 * 7);
}
// A lane that runs ahead empties a stage that is still multiplied: a race, or the others miss a phase.
FAULT(ring_without_wgmma_wait, "caught") {
  const Status status = run_ring<bfloat16, 3, Fault::no_wgmma_wait>(64, 64, 64 * 7);
  return status.ok() ? status : test::wrong("caught: " + status.text);
}
FAULT(accumulators_without_wait, "element 0: nan") {
  return run_ring<bfloat16, 3, Fault::no_wgmma_wait>(64, 64, 64);
}
FAULT(ring_without_init_fence, "without a fence_mbarrier_init()") {
  return run_ring<bfloat16, 3, Fault::no_init_fence>(64, 64, 64 * 7);
}
FAULT(store_without_proxy_fence, "without a fence_proxy_async()") {
  return run_ring<bfloat16, 3, Fault::no_store_fence>(64, 64, 64 * 7);
}
FAULT(store_without_wait, "before bulk_wait_read") {
  return run_ring<bfloat16, 3, Fault::no_store_wait>(64, 64, 64 * 7);
}

// C[64, n] = A B with operands as they lie in global memory: A[k, 64] and B[k, n] run along M and N (bfloat16 only), or
// A comes from registers.
template <bool a_in_registers>
struct TransposedGemm {
  static constexpr int max_threads = 128, n = 128, depth = 64;
  TensorMap a, b;
  int shift;  // of B's columns
  NONET_DEVICE void operator()(const bfloat16* a_rows, float* c) const {
    auto* as = shared_memory<unsigned char>();  // [64 k][64 m], one swizzled box
    auto* bs = as + 64 * 128;                   // two boxes [64 k][64 n]
    auto* full = shared_memory<Mbarrier>(3 * 64 * 128);
    if (thread_rank() == 0) {
      mbarrier_init(full, 1);
      fence_mbarrier_init();
      mbarrier_arrive_expect(full, 3 * 64 * 128);
      tma_load(as, &a, full, 0, 0);
      tma_load(bs, &b, full, shift, 0);
      tma_load(bs + 64 * 128, &b, full, shift + 64, 0);
    }
    block_sync();
    mbarrier_wait(full, 0);
    float d[n / 2];
    const int lane = lane_index(), g = lane / 4, t = lane % 4, row = 16 * warp_index() + g;
    wgmma_fence();
    for (int k = 0; k < depth; k += 16) {
      const uint64_t db = matrix_descriptor(bs + k * 128, 64 * 128, 1024, Swizzle::bytes128);
      if constexpr (a_in_registers) {
        const auto pair = [&](int r, int p) {
          return pack_bf16(as_float(a_rows[(k + p) * 64 + r]), as_float(a_rows[(k + p + 1) * 64 + r]));
        };
        const uint32_t af[4] = {pair(row, 2 * t), pair(row + 8, 2 * t), pair(row, 2 * t + 8), pair(row + 8, 2 * t + 8)};
        wgmma_bf16<n, true>(d, af, db, k > 0);
        wgmma_commit();
        wgmma_wait<0>(d);  // before the registers of A are used again
        wgmma_fence();
      } else {
        wgmma_bf16<n, true, true>(d, matrix_descriptor(as + k * 128, 64 * 128, 1024, Swizzle::bytes128), db, k > 0);
      }
    }
    wgmma_commit();
    wgmma_wait<0>(d);
    for (int i = 0; i < n / 2; ++i) c[(row + i / 2 % 2 * 8) * n + i / 4 * 8 + 2 * t + i % 2] = d[i];
  }
};
template <bool a_in_registers>
Status run_transposed(int shift = 0) {
  const auto a = test::normal<bfloat16>(64 * 64, 1), b = test::normal<bfloat16>(64 * 128, 2);
  Buffer<bfloat16> da(a), db(b);
  Buffer<float> dc(64 * 128);
  TransposedGemm<a_in_registers> kernel;
  kernel.shift = shift;
  for (const Status& s : {matrix_map(kernel.a, Element::bfloat16, da.data(), 64, 64, 64, 64, Swizzle::bytes128),
                          matrix_map(kernel.b, Element::bfloat16, db.data(), 64, 128, 64, 64, Swizzle::bytes128)}) {
    if (!s.ok()) return s;
  }
  const Status status =
      launch({.grid = {1}, .block = {128}, .shared_bytes = 3 * 64 * 128 + 8}, kernel, da.data(), dc.data());
  if (!status.ok()) return status;
  return test::compare(
      dc.host(),
      [&](size_t i) {
        double sum = 0;
        for (int p = 0; p < 64; ++p)
          sum += static_cast<double>(test::host_float(a[p * 64 + i / 128])) * test::host_float(b[p * 128 + i % 128]);
        return sum;
      },
      1e-3);
}
TEST(wgmma_transposed_operands) {
  return run_transposed<false>();
}
TEST(wgmma_registers) {
  return run_transposed<true>();
}
FAULT(box_that_begins_within_16_bytes, "is not a multiple of 16 bytes") {
  return run_transposed<false>(-4);
}

// Every block sums its part; block 0 of the cluster reads the others' sums from their shared memory. `early` lets a
// block end while its memory is still read.
template <bool early>
struct ClusterSum {
  static constexpr int max_threads = 128;
  NONET_DEVICE void operator()(const float* x, float* sums, int n) const {
    float* part = shared_memory<float>();
    float* scratch = part + 4;
    const int part_length = n / cluster_blocks(),
              first = (block_index().x / cluster_blocks()) * n + cluster_rank() * part_length;
    float sum = 0;
    for (int i = thread_rank(); i < part_length; i += 128) sum += x[first + i];
    sum = block_sum(sum, scratch);
    if (thread_rank() == 0) *part = sum;
    cluster_sync();
    if (cluster_rank() == 0 && thread_rank() == 0) {
      float total = 0;
      for (int rank = 0; rank < cluster_blocks(); ++rank) total += *map_shared(part, rank);
      sums[block_index().x / cluster_blocks()] = total;
    }
    if (!early) cluster_sync();
  }
};
template <bool early>
Status run_cluster() {
  const int n = 4096, clusters = 3;
  const auto x = test::normal<float>(n * clusters, 6);
  Buffer<float> in(x), out(clusters);
  const Status status = launch({.grid = {4 * clusters}, .block = {128}, .shared_bytes = 64, .cluster = {4}},
                               ClusterSum<early>{}, in.data(), out.data(), n);
  if (!status.ok()) return status;
  return test::compare(
      out.host(),
      [&](size_t i) {
        double sum = 0;
        for (int j = 0; j < n; ++j) sum += x[i * n + j];
        return sum;
      },
      1e-3);
}
TEST(cluster_reduction) {
  return run_cluster<false>();
}
FAULT(cluster_block_ends_early, "block ends with nothing that orders") {
  return run_cluster<true>();
}

// A TMA box to all blocks of the cluster, each of which tells block 0 when it has read it, so that the next may come.
struct Multicast {
  static constexpr int max_threads = 32;
  TensorMap x;
  NONET_DEVICE void operator()(float* y, int boxes) const {
    auto* box = shared_memory<float>();
    auto* full = shared_memory<Mbarrier>(1024);
    auto* empty = full + 1;
    const int blocks = cluster_blocks();
    if (thread_rank() == 0) {
      mbarrier_init(full, 1);
      mbarrier_init(empty, blocks);
      fence_mbarrier_init();
    }
    cluster_sync();
    for (int i = 0; i < boxes; ++i) {
      if (thread_rank() == 0) {
        mbarrier_arrive_expect(full, 1024);
        if (cluster_rank() == 0) {
          if (i > 0) mbarrier_wait(empty, (i - 1) & 1);
          tma_load_multicast(box, &x, full, (1u << blocks) - 1, 0, i * 8);
        }
      }
      warp_sync();
      mbarrier_wait(full, i & 1);
      for (int j = thread_rank(); j < 256; j += 32) y[(block_index().x * boxes + i) * 256 + j] = box[j];
      warp_sync();
      if (thread_rank() == 0) mbarrier_arrive_remote(empty, 0);
    }
    cluster_sync();
  }
};
TEST(multicast) {
  const int boxes = 5, blocks = 4;
  const auto x = test::normal<float>(boxes * 256, 7);
  Buffer<float> in(x), out(blocks * boxes * 256);
  Multicast kernel;
  Status status = matrix_map(kernel.x, Element::float32, in.data(), boxes * 8, 32, 8, 32, Swizzle::none);
  if (!status.ok()) return status;
  status = launch({.grid = {blocks}, .block = {32}, .shared_bytes = 1024 + 16, .cluster = {blocks}}, kernel, out.data(),
                  boxes);
  if (!status.ok()) return status;
  return test::compare(out.host(), [&](size_t i) { return x[i % (boxes * 256)]; }, 0);
}

// Bulk copies: y = 2 x through shared memory.
struct BulkCopy {
  static constexpr int max_threads = 128;
  NONET_DEVICE void operator()(const float* x, float* y, int n) const {
    auto* s = shared_memory<float>();
    auto* full = shared_memory<Mbarrier>(2048);
    if (thread_rank() == 0) {
      mbarrier_init(full, 1);
      fence_mbarrier_init();
    }
    block_sync();
    for (int i = 0, first = 0; first < n; ++i, first += 512) {
      const int bytes = (n - first < 512 ? n - first : 512) * 4;
      if (thread_rank() == 0) {
        mbarrier_arrive_expect(full, bytes);
        bulk_load(s, x + first, bytes, full);
      }
      mbarrier_wait(full, i & 1);
      for (int j = thread_rank(); j < bytes / 4; j += 128) s[j] *= 2;
      fence_proxy_async();
      block_sync();
      if (thread_rank() == 0) {
        bulk_store(y + first, s, bytes);
        bulk_commit();
        bulk_wait_read<0>();
      }
      block_sync();
    }
  }
};
TEST(bulk_copies) {
  const auto x = test::normal<float>(512 * 5 + 100, 8);
  Buffer<float> in(x), out(x.size());
  const Status status = launch({.grid = {1}, .block = {128}, .shared_bytes = 2048 + 8}, BulkCopy{}, in.data(),
                               out.data(), static_cast<int>(x.size()));
  if (!status.ok()) return status;
  return test::compare(out.host(), [&](size_t i) { return 2 * x[i]; }, 0);
}

// Steps of a recurrence over a vector that all blocks share: every step reads what all blocks wrote in the last one.
struct GridSteps {
  static constexpr int max_threads = 64;
  NONET_DEVICE void operator()(float* x, GridBarrier* barrier, int steps) const {
    const int n = grid_size().x * 64, self = block_index().x * 64 + thread_rank();
    for (int i = 0; i < steps; ++i) {
      const float next = x[i % 2 * n + (self + 65) % n] + 1;
      x[(i + 1) % 2 * n + self] = next;
      grid_sync(barrier);
    }
  }
};
TEST(cooperative_grid) {
  const int blocks = 6, n = blocks * 64, steps = 7;
  std::vector<float> x(2 * n);
  for (int i = 0; i < n; ++i) x[i] = static_cast<float>(i);
  Buffer<float> data(x);
  Buffer<GridBarrier> barrier(std::vector<GridBarrier>{{0}});
  const Status status =
      launch({.grid = {blocks}, .block = {64}, .cooperative = true}, GridSteps{}, data.data(), barrier.data(), steps);
  if (!status.ok()) return status;
  const auto got = data.host();
  return test::compare(
      std::vector<float>(got.begin() + n, got.end()),
      [&](size_t i) { return (static_cast<int>(i) + 65 * steps) % n + steps; }, 0);
}
FAULT(grid_barrier_without_cooperation, "deadlock") {
  Buffer<float> data(std::vector<float>(4 * 64));
  Buffer<GridBarrier> barrier(std::vector<GridBarrier>{{0}});
  return launch({.grid = {2}, .block = {64}}, GridSteps{}, data.data(), barrier.data(), 1);
}
FAULT(cooperative_grid_too_large, "cooperative grid of 100000 blocks") {
  Buffer<float> data(1);
  Buffer<GridBarrier> barrier(1);
  return launch({.grid = {100000}, .block = {64}, .cooperative = true}, GridSteps{}, data.data(), barrier.data(), 1);
}

}  // namespace
}  // namespace nonet::NONET_CUDA_NS
