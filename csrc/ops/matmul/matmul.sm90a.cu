// Products by Hopper's tensor cores: TMA fills a ring of shared memory, two warpgroups multiply from it with wgmma.
//
// A step is 128 bytes along K: 64 values of bfloat16 or 32 of TF32. Operands lie in shared memory as TMA swizzles them,
// in rows of 128 bytes: [lines][128 bytes] where lines run along K, else (bfloat16 only) blocks of [64 k][64 lines],
// which wgmma transposes. A block of threads stays for many tiles, and loads the next one's steps while it writes. Two
// blocks with neighbouring rows form a cluster where there are rows enough: each loads half of B's tile for both.
#include "cuda/tensor_map.h"
#include "ops/matmul/gemm.cuh"

namespace nonet::NONET_CUDA_NS {

namespace {

constexpr int row_bytes = 128;
constexpr int box_bytes = 64 * row_bytes;  // of a block of lines that lie side by side
constexpr int tile_m = 128;
constexpr int consumers = 2;  // warpgroups, 64 rows each
constexpr int ring_bytes = 192 << 10;

// A loop of the batch as a dimension of a tensor map: its index is entry / divisor % size, of the entries of C or of
// the products that are summed.
struct Dimension {
  int divisor, size;
  bool of_sum;
};
constexpr int most_dimensions = 3;
struct TmaOperand {
  TensorMap map;
  int dimensions;  // 0, or all, of which some have size 1
  Dimension dimension[most_dimensions];
};

struct Coordinates {
  int line, i0, i1, i2;
};
NONET_DEVICE Coordinates coordinates_of(const TmaOperand& x, int line, int entry, int product) {
  const auto index = [&](const Dimension& d) { return (d.of_sum ? product : entry) / d.divisor % d.size; };
  if (x.dimensions == 0) return {line, 0, 0, 0};
  return {line, index(x.dimension[0]), index(x.dimension[1]), index(x.dimension[2])};
}

// The boxes of `lines` lines of an operand, from `first` of a tile on, at a step: for this block, or for both of a
// cluster.
template <bool along_k, int lines, bool for_both = false>
NONET_DEVICE void load_lines(const TmaOperand& x, unsigned char* to, Mbarrier* full, const Coordinates& at, int first,
                             int k) {
  constexpr int boxes = along_k ? 1 : lines / 64;
  NONET_UNROLL
  for (int box = 0; box < boxes; ++box) {
    const int line = at.line + first + 64 * box;
    const int x0 = along_k ? k : line, x1 = along_k ? line : k;
    unsigned char* own = to + first * row_bytes + box * box_bytes;
    if constexpr (for_both) {
      if (x.dimensions > 0) {
        tma_load_multicast(own, &x.map, full, 3, x0, x1, at.i0, at.i1, at.i2);
      } else {
        tma_load_multicast(own, &x.map, full, 3, x0, x1);
      }
    } else if (x.dimensions > 0) {
      tma_load(own, &x.map, full, x0, x1, at.i0, at.i1, at.i2);
    } else {
      tma_load(own, &x.map, full, x0, x1);
    }
  }
}

// 64 lines of A, or tile_n of B, for the part-th wgmma of a step.
template <bool along_k>
NONET_DEVICE uint64_t operand_descriptor(const unsigned char* tile, int part) {
  if constexpr (along_k) {
    return advance_descriptor(matrix_descriptor(tile, 16, 8 * row_bytes, Swizzle::bytes128), part * 32);
  } else {
    return matrix_descriptor(tile + part * 16 * row_bytes, box_bytes, 8 * row_bytes, Swizzle::bytes128);
  }
}

template <bool tf32, bool a_along_k, bool b_along_k, int tile_n>
struct WgmmaTiles {
  static constexpr int max_threads = 128 * (consumers + 1);
  static constexpr int depth = row_bytes / (tf32 ? 4 : 2);
  static constexpr bool pairs = tile_n > 64;  // blocks of a cluster load half of B each
  static constexpr int b_lines = pairs ? tile_n / 2 : tile_n;
  static constexpr int a_bytes = tile_m * row_bytes, stage_bytes = a_bytes + tile_n * row_bytes;
  static constexpr int stages = ring_bytes / stage_bytes, panels = tile_n / 32;
  static constexpr int panel_bytes = panel_stage * static_cast<int>(sizeof(float));
  static constexpr int barriers_at = stages * stage_bytes + 4 * consumers * panel_bytes;
  static constexpr int shared_bytes = barriers_at + 2 * stages * static_cast<int>(sizeof(Mbarrier));

  TmaOperand a, b;

  NONET_DEVICE void operator()(const Job& job, int tiles) const {
    auto* full = shared_memory<Mbarrier>(barriers_at);
    auto* empty = full + stages;
    if (thread_rank() == 0) {
      for (int s = 0; s < stages; ++s) {
        mbarrier_init(&full[s], 1);
        mbarrier_init(&empty[s], 4 * consumers * cluster_blocks());
      }
      fence_mbarrier_init();
    }
    cluster_sync();
    if (warp_index() >= 4 * consumers) {
      lower_registers<40>();
      if (thread_rank() == 128 * consumers) produce(job, tiles, full, empty);
    } else {
      raise_registers<232>();
      consume(job, tiles, full, empty);
    }
    warp_sync();
    cluster_sync();  // the other block may still load into this one's memory, and arrive at its barriers
  }

  // One thread.
  NONET_DEVICE void produce(const Job& job, int tiles, Mbarrier* full, Mbarrier* empty) const {
    prefetch_tensor_map(&a.map);
    prefetch_tensor_map(&b.map);
    auto* ring = shared_memory<unsigned char>();
    int stage = 0, round = 0;
    const int blocks = cluster_blocks(), rank = cluster_rank();
    for (int index = block_index().x / blocks; index < tiles; index += grid_size().x / blocks) {
      const Place place = place_of(job, index);
      int at = job.k_steps;  // the step within its product
      Coordinates a_at{}, b_at{};
      for (int step = place.from; step < place.to; ++step, ++at) {
        if (at == job.k_steps || step == place.from) {
          const int product = job.sums == 1 ? 0 : step / job.k_steps;
          at = step - product * job.k_steps;
          a_at = coordinates_of(a, (place.row * blocks + rank) * tile_m, place.entry, product);
          b_at = coordinates_of(b, place.column * tile_n, place.entry, product);
        }
        if (round > 0) mbarrier_wait(&empty[stage], (round - 1) & 1);
        unsigned char* to = ring + stage * stage_bytes;
        mbarrier_arrive_expect(&full[stage], stage_bytes);
        load_lines<a_along_k, tile_m>(a, to, &full[stage], a_at, 0, at * depth);
        if constexpr (pairs) {
          if (blocks > 1) {
            load_lines<b_along_k, b_lines, true>(b, to + a_bytes, &full[stage], b_at, rank * b_lines, at * depth);
          } else {
            load_lines<b_along_k, b_lines>(b, to + a_bytes, &full[stage], b_at, 0, at * depth);
            load_lines<b_along_k, b_lines>(b, to + a_bytes, &full[stage], b_at, b_lines, at * depth);
          }
        } else {
          load_lines<b_along_k, b_lines>(b, to + a_bytes, &full[stage], b_at, 0, at * depth);
        }
        if (++stage == stages) {
          stage = 0;
          ++round;
        }
      }
    }
  }

  NONET_DEVICE void consume(const Job& job, int tiles, Mbarrier* full, Mbarrier* empty) const {
    const auto* ring = shared_memory<unsigned char>();
    const int group = warp_index() / 4;
    float* panel_memory = shared_memory<float>(stages * stage_bytes + warp_index() * panel_bytes);
    int stage = 0, round = 0;
    const int blocks = cluster_blocks(), rank = cluster_rank();
    for (int index = block_index().x / blocks; index < tiles; index += grid_size().x / blocks) {
      const Place place = place_of(job, index);
      float sum[tile_n / 2];
      NONET_UNROLL
      for (int i = 0; i < tile_n / 2; ++i) sum[i] = 0;
      int before = -1;  // the stage that is still multiplied
      for (int step = place.from; step < place.to; ++step) {
        mbarrier_wait(&full[stage], round & 1);
        const unsigned char* from = ring + stage * stage_bytes;
        wgmma_fence();
        NONET_UNROLL
        for (int part = 0; part < 4; ++part) {
          const uint64_t x = operand_descriptor<a_along_k>(from + group * box_bytes, part);
          const uint64_t y = operand_descriptor<b_along_k>(from + a_bytes, part);
          if constexpr (tf32) {
            wgmma_tf32<tile_n>(sum, x, y, true);
          } else {
            wgmma_bf16<tile_n, !a_along_k, !b_along_k>(sum, x, y, true);
          }
        }
        wgmma_commit();
        wgmma_wait<1>();
        if (before >= 0) release(&empty[before]);
        before = stage;
        if (++stage == stages) {
          stage = 0;
          ++round;
        }
      }
      wgmma_wait<0>(sum);
      if (before >= 0) release(&empty[before]);
      const int64_t row = (static_cast<int64_t>(place.row) * blocks + rank) * tile_m + warp_index() * 16;
      const int64_t column = static_cast<int64_t>(place.column) * tile_n;
      for (int panel = 0; panel < panels && row < job.m && column + 32 * panel < job.n; ++panel) {
        float v[16];
        pick(panel, sum, v);
        finish_panel(job.out, place.at[2], row, column + 32 * panel, v, panel_memory);
      }
    }
  }

  // A warp has read a stage: it tells all whose loads go there.
  NONET_DEVICE static void release(Mbarrier* empty) {
    if (lane_index() != 0) return;
    if constexpr (pairs) {
      for (int rank = 0; rank < cluster_blocks(); ++rank) mbarrier_arrive_remote(empty, rank);
    } else {
      mbarrier_arrive(empty);
    }
  }

  // Registers have no index: the panel is chosen by comparing, so that the epilogue is there only once.
  NONET_DEVICE static void pick(int panel, const float (&sum)[tile_n / 2], float (&v)[16]) {
    NONET_UNROLL
    for (int p = 0; p < panels; ++p) {
      if (p != panel) continue;
      NONET_UNROLL
      for (int i = 0; i < 16; ++i) v[i] = sum[16 * p + i];
    }
  }
};

// ---------------------------------------------------------------- the host's side
constexpr int widths[] = {256, 128, 64};
constexpr TileShape tiles[2][3] = {{{tile_m, 256, 64, 0.85f}, {tile_m, 128, 64, 0.75f}, {tile_m, 64, 64, 0.5f}},
                                   {{tile_m, 256, 32, 0.85f}, {tile_m, 128, 32, 0.75f}, {tile_m, 64, 32, 0.5f}}};
constexpr float rates[2] = {2048, 1024};  // of bfloat16, of TF32

TilePlan plan_of(const Gemm& g, const GemmBatch& batch, Cores cores) {
  const int which = cores == Cores::tf32;
  return plan_tiles(tiles[which], 3, g.m, g.n, g.k, entries_of(batch), sums_of(batch), rates[which]);
}

// Whether TMA can follow the batch, and the tiles are no waste.
bool suits(const Gemm& g, const GemmBatch& batch, Cores cores) {
  if (cores == Cores::fma || plan_of(g, batch, cores).cycles > mma80::cycles(g, batch, cores)) return false;
  constexpr int64_t most = int64_t{1} << 31;
  if (g.m >= most || g.n >= most || g.k >= most) return false;
  for (int which = 0; which < 2; ++which) {
    int moving = 0;
    for (int level = 0; level < batch.levels; ++level) {
      if (batch.stride[level][which] < 0 || batch.size[level] >= most) return false;
      moving += batch.stride[level][which] != 0;
    }
    if (moving > most_dimensions) return false;
  }
  return true;
}

Status make_operand(TmaOperand& out, const Operand& x, int64_t lines, int64_t k, const GemmBatch& batch, int which,
                    bool tf32, int tile_lines) {
  const int64_t size = tf32 ? 4 : 2;
  const bool along_k = x.along_k;
  const int depth = static_cast<int>(row_bytes / size);
  TensorMapSpec spec{.element = tf32 ? Element::tf32 : Element::bfloat16,
                     .address = x.data,
                     .rank = 2,
                     .size = {along_k ? k : lines, along_k ? lines : k, 1, 1, 1},
                     .stride = {size, (along_k ? x.line_step : x.k_step) * size, 16, 16, 16},
                     .box = {along_k ? depth : 64, along_k ? tile_lines : depth, 1, 1, 1},
                     .swizzle = Swizzle::bytes128};
  for (Dimension& d : out.dimension) d = {1, 1, false};
  const int outer = batch.levels - batch.sums;
  int divisor = 1;
  for (int level = batch.levels - 1; level >= 0; --level) {
    if (level == outer - 1) divisor = 1;
    if (batch.stride[level][which] != 0) {
      spec.size[spec.rank] = batch.size[level];
      spec.stride[spec.rank] = batch.stride[level][which] * size;
      out.dimension[spec.rank++ - 2] = {divisor, static_cast<int>(batch.size[level]), level >= outer};
    }
    divisor *= static_cast<int>(batch.size[level]);
  }
  // Dimensions without use lie behind the others.
  while (spec.rank > 2 && spec.rank < 2 + most_dimensions) {
    const int64_t behind = spec.stride[spec.rank - 1] * spec.size[spec.rank - 1];
    spec.stride[spec.rank++] = behind < int64_t{1} << 40 ? behind : 16;
  }
  out.dimensions = spec.rank - 2;
  return encode_tensor_map(out.map, spec);
}

template <bool tf32, bool a_along_k, bool b_along_k, int tile_n>
Status launch_tiles(Stream stream, Job job) {
  using Kernel = WgmmaTiles<tf32, a_along_k, b_along_k, tile_n>;
  // A cluster's rows count as one tile. An odd last one is no waste if there are many.
  const int cluster = Kernel::pairs && (job.tiles_m % 2 == 0 || job.tiles_m > 16) ? 2 : 1;
  job.tiles_m = divide_up(job.tiles_m, cluster);
  Kernel kernel;
  Status status = make_operand(kernel.a, job.a, job.m, job.k, job.batch, 0, tf32, tile_m);
  if (status.ok()) status = make_operand(kernel.b, job.b, job.n, job.k, job.batch, 1, tf32, Kernel::b_lines);
  if (!status.ok()) return status;
  const int tiles = static_cast<int>(blocks_of(job)), most = multiprocessors() / cluster;
  return launch({.grid = {(tiles < most ? tiles : most) * cluster},
                 .block = {Kernel::max_threads},
                 .shared_bytes = Kernel::shared_bytes,
                 .cluster = {cluster},
                 .stream = stream},
                kernel, job, tiles);
}

template <bool tf32, bool a_along_k, bool b_along_k>
Status launch_width(Stream stream, const Job& job, int tile) {
  if (widths[tile] == 256) return launch_tiles<tf32, a_along_k, b_along_k, 256>(stream, job);
  if (widths[tile] == 128) return launch_tiles<tf32, a_along_k, b_along_k, 128>(stream, job);
  return launch_tiles<tf32, a_along_k, b_along_k, 64>(stream, job);
}

namespace sm90a {

int64_t workspace(const Gemm& g, const GemmBatch& batch) {
  const Cores cores = cores_for(g, batch);
  if (!suits(g, batch, cores)) return mma80::workspace(g, batch);
  return prepare(g, batch, cores, nullptr).bytes +
         split_bytes(g.m, g.n, entries_of(batch), plan_of(g, batch, cores).splits);
}

void gemm(Stream stream, const Gemm& g, const GemmBatch& batch, void* workspace) {
  const Cores cores = cores_for(g, batch);
  if (!suits(g, batch, cores)) return mma80::gemm(stream, g, batch, workspace);
  const Prepared prepared = prepare(g, batch, cores, workspace);
  run_copies(stream, prepared, batch);
  Job job = make_job(prepared.g, prepared.batch);
  const TilePlan plan = plan_of(g, batch, cores);
  const Output out = set_tiles(job, tiles[cores == Cores::tf32][plan.tile], plan.splits,
                               static_cast<char*>(workspace) + prepared.bytes);
  const bool a_along_k = !prepared.g.transpose_a, b_along_k = prepared.g.transpose_b;
  if (cores == Cores::tf32) {
    note(launch_width<true, true, true>(stream, job, plan.tile));
  } else if (a_along_k && b_along_k) {
    note(launch_width<false, true, true>(stream, job, plan.tile));
  } else if (a_along_k) {
    note(launch_width<false, true, false>(stream, job, plan.tile));
  } else if (b_along_k) {
    note(launch_width<false, false, true>(stream, job, plan.tile));
  } else {
    note(launch_width<false, false, false>(stream, job, plan.tile));
  }
  finish_splits(stream, job, out);
}

}  // namespace sm90a

}  // namespace

NONET_DEVICE_TABLE(MatmulDevice, sm90a, {sm90a::workspace, sm90a::gemm});

}  // namespace nonet::NONET_CUDA_NS
