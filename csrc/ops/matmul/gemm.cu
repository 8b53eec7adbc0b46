// How a product is cut into tiles and splits, and the end of sums that were split.
#include "ops/matmul/gemm.cuh"

namespace nonet::NONET_CUDA_NS {

namespace {

// A warp per 16 rows and 32 columns.
struct FinishSplits {
  static constexpr int max_threads = 128;
  NONET_DEVICE void operator()(const Job& job, const Output& out) const {
    const int64_t patches_n = divide_up<int64_t>(job.n, 32), patches = divide_up<int64_t>(job.m, 16) * patches_n;
    const int64_t patch = static_cast<int64_t>(block_index().x) * 4 + warp_index();
    if (patch >= patches * job.entries) return;
    const int64_t at = patch % patches;
    const int entry = static_cast<int>(patch / patches);
    const int64_t row = at / patches_n * 16, column = at % patches_n * 32;
    int64_t offsets[3] = {0, 0, 0};
    add_offsets(job.batch, 0, job.batch.levels - job.batch.sums, entry, offsets);
    const float* parts = static_cast<const float*>(job.out.c) + (entry * job.m + row) * job.n + column;
    const int64_t distance = job.entries * job.m * job.n;
    finish_rows<32>(out, offsets[2], row, column, lane_index(), [&](int r, int j) {
      const int64_t left = job.n - column - j;
      const float* from = parts + r * job.n + j;
      Four sum{};
      for (int s = 0; s < job.splits; ++s, from += distance) {
        const Four part = load_four(from, left < 4 ? static_cast<int>(left) : 4, job.out.packs);
        NONET_UNROLL
        for (int i = 0; i < 4; ++i) sum[i] += part[i];
      }
      return sum;
    });
  }
};

}  // namespace

int64_t entries_of(const GemmBatch& batch) {
  int64_t out = 1;
  for (int level = 0; level < batch.levels - batch.sums; ++level) out *= batch.size[level];
  return out;
}
int64_t sums_of(const GemmBatch& batch) {
  int64_t out = 1;
  for (int level = batch.levels - batch.sums; level < batch.levels; ++level) out *= batch.size[level];
  return out;
}

TilePlan plan_tiles(const TileShape* tiles, int count, int64_t m, int64_t n, int64_t k, int64_t entries, int64_t sums,
                    float rate) {
  constexpr int candidates[] = {1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64};
  constexpr int64_t shortest = 128;       // K of a split
  constexpr double start_cycles = 2e3;    // of a block: the first loads, the epilogue
  constexpr double pass_cycles = 6e3;     // of finish_splits()
  constexpr double bytes_per_cycle = 14;  // of memory, per multiprocessor
  const double devices = multiprocessors();
  TilePlan best{0, 1, 0};
  for (int t = 0; t < count; ++t) {
    const TileShape& tile = tiles[t];
    const int64_t blocks = divide_up<int64_t>(m, tile.m) * divide_up<int64_t>(n, tile.n) * entries;
    const int64_t steps = divide_up<int64_t>(k, tile.k) * sums;
    for (const int splits : candidates) {
      if (splits > 1 && steps * tile.k < splits * shortest) break;
      const double waves = static_cast<double>(divide_up<int64_t>(blocks * splits, multiprocessors()));
      const double block_cycles = static_cast<double>(divide_up<int64_t>(steps, splits) * tile.k) * tile.m * tile.n /
                                  (double{rate} * tile.efficiency);
      double cycles = waves * (block_cycles + start_cycles);
      if (splits > 1) {
        cycles += pass_cycles + static_cast<double>(m * n * entries) * 8 * splits / (devices * bytes_per_cycle);
      }
      if (best.cycles == 0 || cycles < best.cycles) best = {t, splits, cycles};
    }
  }
  return best;
}

namespace {

bool is_aligned_to(const void* p, int64_t bytes) {
  return reinterpret_cast<uintptr_t>(p) % static_cast<uintptr_t>(bytes) == 0;
}

bool offsets_are_multiples(const GemmBatch& batch, int operand, int64_t of) {
  for (int level = 0; level < batch.levels; ++level) {
    if (batch.stride[level][operand] % of != 0) return false;
  }
  return true;
}

Operand make_operand(const void* data, bool is_bfloat16, int64_t distance, bool along_k, int64_t lines, int64_t k,
                     const GemmBatch& batch, int which) {
  const bool single = (along_k ? lines : k) == 1;  // nothing lies at the distance
  const bool packs = is_aligned_to(data, is_bfloat16 ? 8 : 16) && (single || distance % 4 == 0) &&
                     offsets_are_multiples(batch, which, 4);
  return {data, along_k ? distance : 1, along_k ? 1 : distance, is_bfloat16, along_k, packs, 0};
}

}  // namespace

Job make_job(const Gemm& g, const GemmBatch& batch) {
  Job job{};
  job.m = g.m;
  job.n = g.n;
  job.k = g.k;
  job.a = make_operand(g.a, g.a_is_bfloat16, g.lda, !g.transpose_a, g.m, g.k, batch, 0);
  job.b = make_operand(g.b, g.b_is_bfloat16, g.ldb, g.transpose_b, g.n, g.k, batch, 1);
  job.batch = batch;
  job.entries = static_cast<int>(entries_of(batch));
  job.sums = static_cast<int>(sums_of(batch));
  job.out = {g.c,          g.m,     g.n,    g.c_is_bfloat16, g.accumulate, true,      true,
             g.activation, g.scale, g.bias, g.residual,      g.before,     g.row_max, g.row_sum};
  Output& out = job.out;
  const int64_t size = g.c_is_bfloat16 ? 2 : 4;
  const auto fits = [&](int64_t elements) { return g.n % elements == 0 && offsets_are_multiples(batch, 2, elements); };
  out.packs = fits(4) && is_aligned_to(g.c, 4 * size) && is_aligned_to(g.bias, 16) &&
              is_aligned_to(g.residual, 4 * size) && is_aligned_to(g.before, 4 * size);
  out.plain = fits(8) && is_aligned_to(g.c, 16) && is_aligned_to(g.bias, 16) && !g.accumulate && g.scale == 1.f &&
              g.residual == nullptr && g.before == nullptr && g.row_max == nullptr &&
              (g.activation == FusedActivation::none || g.activation == FusedActivation::relu);
  return job;
}

Output set_tiles(Job& job, const TileShape& tile, int splits, void* workspace) {
  job.tiles_m = static_cast<int>(divide_up<int64_t>(job.m, tile.m));
  job.tiles_n = static_cast<int>(divide_up<int64_t>(job.n, tile.n));
  job.k_steps = static_cast<int>(divide_up<int64_t>(job.k, tile.k));
  job.k_left = static_cast<int>(job.k - (job.k_steps - int64_t{1}) * tile.k);
  for (Operand* x : {&job.a, &job.b}) x->step_bytes = x->k_step * tile.k * (x->is_bfloat16 ? 2 : 4);
  job.strip = tile.n > tile.m ? 16 : 8;
  job.splits = splits;
  job.split_steps = divide_up(job.k_steps * job.sums, splits);
  const Output out = job.out;
  if (splits > 1) {
    job.out = {workspace, job.m,   job.n,   false,   false,   job.n % 4 == 0, job.n % 8 == 0, FusedActivation::none,
               1,         nullptr, nullptr, nullptr, nullptr, nullptr};
  }
  return out;
}

void finish_splits(Stream stream, const Job& job, const Output& out) {
  if (job.splits == 1) return;
  const int64_t patches = divide_up<int64_t>(job.m, 16) * divide_up<int64_t>(job.n, 32) * job.entries;
  run(stream, divide_up<int64_t>(patches, 4), FinishSplits::max_threads, 0, FinishSplits{}, job, out);
}

}  // namespace nonet::NONET_CUDA_NS
