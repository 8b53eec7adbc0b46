// Products by the tensor cores of sm_80: mma.sync on operands that cp.async brings into a ring of shared memory.
//
// A step is 64 bytes along K: 32 values of bfloat16 or 16 of TF32. A tile of an operand whose lines run along K is
// [lines][64 bytes], of one whose lines lie side by side (bfloat16 only) [32][lines]; load_matrix transposes the
// latter. Their 16-byte chunks are permuted so that eight rows of a matrix never meet in a bank.
#include "ops/matmul/gemm.cuh"

namespace nonet::NONET_CUDA_NS {

namespace {

constexpr int step_bytes = 64, chunk = 16;
constexpr int stages = 4;

template <bool along_k, int lines>
struct Panel {
  static constexpr int bytes = lines * step_bytes;
  static constexpr int row_chunks = along_k ? step_bytes / chunk : lines * 2 / chunk;

  static_assert(row_chunks * chunk * (along_k ? lines : 32) == bytes);

  // Byte of a chunk of a row: a line, or a value of k.
  NONET_DEVICE static int place(int row, int c) {
    return along_k ? row * step_bytes + (c ^ (row >> 1 & 3)) * chunk : (row * row_chunks + (c ^ (row & 7))) * chunk;
  }
  // 16 lines from `line` on, and 32 bytes along K, the half `part` of a step: rows of A as mma.sync wants them.
  NONET_DEVICE static void load_a(uint32_t (&r)[4], const unsigned char* panel, int line, int part) {
    const int lane = lane_index();
    if constexpr (along_k) {
      load_matrix<4>(r, panel + place(line + lane % 16, 2 * part + lane / 16));
    } else {
      load_matrix<4, true>(r, panel + place(16 * part + lane / 16 * 8 + lane % 8, line / 8 + lane / 8 % 2));
    }
  }
  // The same as columns of B: two registers for each 8.
  NONET_DEVICE static void load_b(uint32_t (&r)[4], const unsigned char* panel, int line, int part) {
    const int lane = lane_index();
    if constexpr (along_k) {
      load_matrix<4>(r, panel + place(line + lane / 16 * 8 + lane % 8, 2 * part + lane / 8 % 2));
    } else {
      load_matrix<4, true>(r, panel + place(16 * part + lane / 8 % 2 * 8 + lane % 8, line / 8 + lane / 16));
    }
  }
};

// The chunks that a thread copies of an operand's tiles: every `rows`-th row, always in the same column.
template <bool along_k, int lines, int threads, int size>
struct Loader {
  using Tile = Panel<along_k, lines>;
  static constexpr int chunk_values = chunk / size;
  static constexpr int rows = threads / Tile::row_chunks, count = lines * step_bytes / chunk / threads;
  static_assert(rows % 8 == 0, "the permutation of chunks is the same for all of them");
  const unsigned char* from;
  int valid;  // along_k: how many chunks are of lines that the operand has, else bytes of each chunk

  NONET_DEVICE static int row() { return thread_rank() / Tile::row_chunks; }
  NONET_DEVICE static int column() { return thread_rank() % Tile::row_chunks; }

  // Towards a step of the product at `offset`, of lines from `line` on, below `end`.
  NONET_DEVICE void start(const Operand& x, int64_t offset, int64_t line, int64_t end, int step) {
    int64_t k = static_cast<int64_t>(step) * (step_bytes / size);
    if constexpr (along_k) {
      line += row();
      k += column() * chunk_values;
      const int64_t left = divide_up<int64_t>(end - line, rows);
      valid = left < 0 ? 0 : (left < count ? static_cast<int>(left) : count);
    } else {
      line += column() * chunk_values;
      k += row();
      const int64_t left = (end - line) * size;
      valid = left < 0 ? 0 : (left < chunk ? static_cast<int>(left) : chunk);
    }
    from = static_cast<const unsigned char*>(x.data) + (offset + line * x.line_step + k * x.k_step) * size;
  }

  // Starts the copies of a step, of which `left` values of k are there, and moves on.
  NONET_DEVICE void fetch(const Operand& x, unsigned char* panel, int left) {
    unsigned char* to = panel + Tile::place(row(), column());
    int bytes = valid;
    if constexpr (along_k) {
      bytes = (left - column() * chunk_values) * size;
      bytes = bytes < 0 ? 0 : (bytes < chunk ? bytes : chunk);
    }
    NONET_UNROLL
    for (int i = 0; i < count; ++i) {
      const bool there = along_k ? i < valid : row() + i * rows < left;
      const int own = there ? bytes : 0;
      const int64_t next = (along_k ? x.line_step : x.k_step) * (i * rows * size);
      copy_async<chunk>(to + i * rows * Tile::row_chunks * chunk, own > 0 ? from + next : x.data, own);
    }
    from += x.step_bytes;
  }
};

// A block of 2 x 2 warps multiplies a tile; a warp has rows x columns fragments of 16 x 8 values of it.
template <bool tf32, bool a_along_k, bool b_along_k, int rows, int columns>
struct MmaTiles {
  static constexpr int max_threads = 128, min_blocks = 2;
  static constexpr int warp_m = 16 * rows, warp_n = 8 * columns, tile_m = 2 * warp_m, tile_n = 2 * warp_n;
  static constexpr int panels_n = columns / 4, panels = rows * panels_n;
  static constexpr int size = tf32 ? 4 : 2, depth = step_bytes / size;
  static_assert(panels * 16 * 32 == warp_m * warp_n && panels_n * 32 == warp_n && size * depth == step_bytes);
  using A = Panel<a_along_k, tile_m>;
  using B = Panel<b_along_k, tile_n>;
  static constexpr int stage_bytes = A::bytes + B::bytes;
  static constexpr int staged = panel_stage * static_cast<int>(sizeof(float));
  static constexpr int place_at = stages * stage_bytes > 4 * staged ? stages * stage_bytes : 4 * staged;
  static constexpr int shared_bytes = place_at + static_cast<int>(sizeof(Place));

  NONET_DEVICE void operator()(const Job& job) const {
    if constexpr (arch >= 80) multiply_tile(job);  // sm_75 needs no code of it
  }

  NONET_DEVICE static void multiply_tile(const Job& job) {
    auto* ring = shared_memory<unsigned char>();
    Place& place = *shared_memory<Place>(place_at);
    if (thread_rank() == 0) place = place_of(job, block_index().x);
    block_sync();
    const int warp_row = warp_index() / 2 * warp_m, warp_column = warp_index() % 2 * warp_n;

    Loader<a_along_k, tile_m, max_threads, size> a;
    Loader<b_along_k, tile_n, max_threads, size> b;
    const int end = place.to;
    int next = place.from, at = job.k_steps;  // the step that is fetched next, and which one of its product it is
    const auto fetch = [&] {
      if (next < end) {
        if (at == job.k_steps || next == place.from) {
          int64_t offsets[3] = {place.at[0], place.at[1], 0};
          at = product_at(job, next, offsets);
          a.start(job.a, offsets[0], static_cast<int64_t>(place.row) * tile_m, job.m, at);
          b.start(job.b, offsets[1], static_cast<int64_t>(place.column) * tile_n, job.n, at);
        }
        const int left = ++at == job.k_steps ? job.k_left : depth;
        unsigned char* to = ring + next % stages * stage_bytes;
        a.fetch(job.a, to, left);
        b.fetch(job.b, to + A::bytes, left);
        ++next;
      }
      copy_async_commit();
    };

    float sum[rows][columns][4] = {};
    for (int i = 0; i < stages - 1; ++i) fetch();
    for (int step = place.from; step < end; ++step) {
      copy_async_wait<stages - 2>();
      block_sync();
      fetch();  // into the stage that was multiplied before the barrier
      const unsigned char* from = ring + step % stages * stage_bytes;
      multiply(from, warp_row, from + A::bytes, warp_column, sum);
    }
    copy_async_wait<0>();
    block_sync();

    float* stage = shared_memory<float>(warp_index() * staged);
    const int64_t row = static_cast<int64_t>(place.row) * tile_m + warp_row;
    const int64_t column = static_cast<int64_t>(place.column) * tile_n + warp_column;
    for (int panel = 0; panel < panels; ++panel) {
      float v[16];
      pick(panel, sum, v);
      finish_panel(job.out, place.at[2], row + panel / panels_n * 16, column + panel % panels_n * 32, v, stage);
    }
  }

  NONET_DEVICE static void multiply(const unsigned char* a, int row, const unsigned char* b, int column,
                                    float (&sum)[rows][columns][4]) {
    NONET_UNROLL
    for (int part = 0; part < 2; ++part) {
      uint32_t x[rows][4], y[columns / 2][4];
      NONET_UNROLL
      for (int i = 0; i < rows; ++i) A::load_a(x[i], a, row + 16 * i, part);
      NONET_UNROLL
      for (int j = 0; j < columns / 2; ++j) B::load_b(y[j], b, column + 16 * j, part);
      if constexpr (tf32) {
        NONET_UNROLL
        for (int r = 0; r < 4; ++r) {
          NONET_UNROLL
          for (int i = 0; i < rows; ++i) x[i][r] = to_tf32(bits_as<float>(x[i][r]));
          NONET_UNROLL
          for (int j = 0; j < columns / 2; ++j) y[j][r] = to_tf32(bits_as<float>(y[j][r]));
        }
      }
      NONET_UNROLL
      for (int i = 0; i < rows; ++i) {
        NONET_UNROLL
        for (int j = 0; j < columns; ++j) {
          const uint32_t own[2] = {y[j / 2][j % 2 * 2], y[j / 2][j % 2 * 2 + 1]};
          if constexpr (tf32) {
            mma_tf32(sum[i][j], x[i], own);
          } else {
            mma_bf16(sum[i][j], x[i], own);
          }
        }
      }
    }
  }

  // Registers have no index: the panel is chosen by comparing, so that the epilogue is there only once.
  NONET_DEVICE static void pick(int panel, const float (&sum)[rows][columns][4], float (&v)[16]) {
    NONET_UNROLL
    for (int p = 0; p < panels; ++p) {
      if (p != panel) continue;
      NONET_UNROLL
      for (int i = 0; i < 16; ++i) v[i] = sum[p / panels_n][p % panels_n * 4 + i / 4][i % 4];
    }
  }
};

constexpr TileShape tiles[2][2] = {{{128, 128, 32, 0.6f}, {64, 64, 32, 0.4f}},
                                   {{128, 128, 16, 0.6f}, {64, 64, 16, 0.4f}}};
constexpr float rates[2] = {1024, 512};  // of bfloat16, of TF32

template <bool tf32, bool a_along_k, bool b_along_k>
void run_tiles(Stream stream, const Job& job, int tile) {
  const auto run_as = [&](auto kernel) {
    run(stream, blocks_of(job), decltype(kernel)::max_threads, decltype(kernel)::shared_bytes, kernel, job);
  };
  if (tile == 0) return run_as(MmaTiles<tf32, a_along_k, b_along_k, 4, 8>{});
  run_as(MmaTiles<tf32, a_along_k, b_along_k, 2, 4>{});
}

TilePlan plan_of(const Gemm& g, const GemmBatch& batch, Cores cores) {
  const int which = cores == Cores::tf32;
  return plan_tiles(tiles[which], 2, g.m, g.n, g.k, entries_of(batch), sums_of(batch), rates[which]);
}

}  // namespace

namespace mma80 {

double cycles(const Gemm& g, const GemmBatch& batch, Cores cores) {
  return plan_of(g, batch, cores).cycles;
}

int64_t workspace(const Gemm& g, const GemmBatch& batch) {
  const Cores cores = cores_for(g, batch);
  if (cores == Cores::fma) return simt::workspace(g, batch);
  return prepare(g, batch, cores, nullptr).bytes +
         split_bytes(g.m, g.n, entries_of(batch), plan_of(g, batch, cores).splits);
}

void gemm(Stream stream, const Gemm& g, const GemmBatch& batch, void* workspace) {
  const Cores cores = cores_for(g, batch);
  if (cores == Cores::fma) return simt::gemm(stream, g, batch, workspace);
  const Prepared prepared = prepare(g, batch, cores, workspace);
  run_copies(stream, prepared, batch);
  Job job = make_job(prepared.g, prepared.batch);
  const TilePlan plan = plan_of(g, batch, cores);
  const Output out = set_tiles(job, tiles[cores == Cores::tf32][plan.tile], plan.splits,
                               static_cast<char*>(workspace) + prepared.bytes);
  const bool a_along_k = !prepared.g.transpose_a, b_along_k = prepared.g.transpose_b;
  if (cores == Cores::tf32) {
    run_tiles<true, true, true>(stream, job, plan.tile);
  } else if (a_along_k && b_along_k) {
    run_tiles<false, true, true>(stream, job, plan.tile);
  } else if (a_along_k) {
    run_tiles<false, true, false>(stream, job, plan.tile);
  } else if (b_along_k) {
    run_tiles<false, false, true>(stream, job, plan.tile);
  } else {
    run_tiles<false, false, false>(stream, job, plan.tile);
  }
  finish_splits(stream, job, out);
}

}  // namespace mma80

NONET_DEVICE_TABLE(MatmulDevice, mma80, {mma80::workspace, mma80::gemm});

}  // namespace nonet::NONET_CUDA_NS
