// Products by fused multiply-adds of float32, on any GPU.
#include "ops/matmul/gemm.cuh"

namespace nonet::NONET_CUDA_NS {

namespace {

// ---------------------------------------------------------------- tiles

// A tile of an operand in shared memory is [depth][lines], depth of K being a step's, with gaps behind every fourth
// row: the lanes that store the four values of k of a pack, a line each, then meet 32 banks.
template <int lines, int depth>
constexpr int row_of(int k) {
  return k * lines + k / 4 * (128 / depth);
}
template <int lines, int depth>
constexpr int panel_floats = row_of<lines, depth>(depth);

// What a thread moves of an operand's tiles: packs of four values that lie side by side in memory. even: they are
// aligned, and either within the operand or outside.
template <int lines, int threads, int depth, bool even>
struct Loader {
  static constexpr int packs = lines * depth / 4 / threads;
  static constexpr int line_packs = lines / 4, k_packs = depth / 4;
  static_assert(threads % (4 * k_packs) == 0 && threads % (4 * line_packs) == 0, "packs of a thread lie alike");
  const unsigned char* from;  // of the first pack
  int to;                     // its place in shared memory
  int need[packs];            // the values of k that a step must exceed for a pack to be there
  int full[packs];            // values of the pack within the operand's lines
  uint32_t raw[packs][4];

  // Towards a step of the product at `offset`, of lines from `line` on, below `end`.
  NONET_DEVICE void start(const Operand& x, int64_t offset, int64_t line, int64_t end, int step) {
    const int rank = fresh(thread_rank());
    const int own = x.along_k ? rank / k_packs : rank % line_packs * 4;
    const int k = x.along_k ? rank % k_packs * 4 : rank / line_packs;
    to = row_of<lines, depth>(k) + own;
    from = static_cast<const unsigned char*>(x.data) +
           (offset + (line + own) * x.line_step + (static_cast<int64_t>(step) * depth + k) * x.k_step) *
               (x.is_bfloat16 ? 2 : 4);
    NONET_UNROLL
    for (int i = 0; i < packs; ++i) {
      const int64_t left = end - line - own - (x.along_k ? i * (threads / k_packs) : 0);
      full[i] = x.along_k || left >= 4 ? 4 : static_cast<int>(left);
      need[i] = left <= 0 ? depth : k + (x.along_k ? 0 : i * (threads / line_packs));
    }
  }

  // Reads a step, of which `left` values of k are there, and moves on.
  NONET_DEVICE void fetch(const Operand& x, int left) {
    const int size = x.is_bfloat16 ? 2 : 4;
    const int64_t next = x.along_k ? threads / k_packs * x.line_step : threads / line_packs * x.k_step;
    NONET_UNROLL
    for (int i = 0; i < packs; ++i) {
      int count = left <= need[i] ? 0 : (even ? 4 : full[i]);
      if (!even && x.along_k && count != 0) count = min_of(count, left - need[i]);
      const unsigned char* p = from + i * next * size;
      if (x.is_bfloat16) {
        fetch_bfloat16(reinterpret_cast<const uint16_t*>(p), count, raw[i]);
      } else {
        fetch_float(reinterpret_cast<const uint32_t*>(p), count, raw[i]);
      }
    }
    from += x.step_bytes;
  }
  NONET_DEVICE static void fetch_float(const uint32_t* p, int count, uint32_t (&to)[4]) {
    if constexpr (even) {
      Pack<uint32_t, 4> four{};
      if (count != 0) four = load_readonly(reinterpret_cast<const Pack<uint32_t, 4>*>(p));
      NONET_UNROLL
      for (int j = 0; j < 4; ++j) to[j] = four[j];
    } else {
      NONET_UNROLL
      for (int j = 0; j < 4; ++j) to[j] = j < count ? load_readonly(p + j) : 0;
    }
  }
  // Two to a word: converted when they are there, which must not be waited for here.
  NONET_DEVICE static void fetch_bfloat16(const uint16_t* p, int count, uint32_t (&to)[4]) {
    if constexpr (even) {
      Pack<uint32_t, 2> two{};
      if (count != 0) two = load_readonly(reinterpret_cast<const Pack<uint32_t, 2>*>(p));
      NONET_UNROLL
      for (int j = 0; j < 2; ++j) to[j] = two[j];
    } else {
      uint32_t half[4];
      NONET_UNROLL
      for (int j = 0; j < 4; ++j) half[j] = j < count ? load_readonly(p + j) : 0;
      NONET_UNROLL
      for (int j = 0; j < 2; ++j) to[j] = half[2 * j] | half[2 * j + 1] << 16;
    }
  }

  NONET_DEVICE void put(const Operand& x, float* panel) const {
    NONET_UNROLL
    for (int i = 0; i < packs; ++i) {
      Pack<float, 4> v;
      NONET_UNROLL
      for (int j = 0; j < 4; ++j) {
        const uint32_t word = raw[i][j / 2];
        v[j] = bits_as<float>(!x.is_bfloat16 ? raw[i][j] : (j % 2 ? word & 0xffff0000u : word << 16));
      }
      if (x.along_k) {
        float* own = panel + to + i * (threads / k_packs);
        NONET_UNROLL
        for (int j = 0; j < 4; ++j) own[j * lines] = v[j];
      } else {
        store_pack(panel + to + row_of<lines, depth>(i * (threads / line_packs)), v);
      }
    }
  }
};

// A block of warps_m x warps_n warps multiplies a tile; a thread has rows x columns fragments of 4 x 4 values of it, 16
// rows and 32 columns apart. Two buffers in shared memory: while one is multiplied, the next step is on its way.
template <int warps_m, int warps_n, int rows, int columns, int depth, int blocks, bool even>
struct FmaTiles {
  static constexpr int max_threads = 32 * warps_m * warps_n, min_blocks = blocks;
  static constexpr int warp_m = 16 * rows, warp_n = 32 * columns;
  static constexpr int tile_m = warp_m * warps_m, tile_n = warp_n * warps_n;
  static constexpr int buffer = panel_floats<tile_m, depth> + panel_floats<tile_n, depth>;
  static constexpr int staged = 16 * stage_pitch(warp_n);
  static constexpr int floats = 2 * buffer > warps_m * warps_n * staged ? 2 * buffer : warps_m * warps_n * staged;
  static constexpr int place_at = floats * static_cast<int>(sizeof(float));
  static constexpr int shared_bytes = place_at + static_cast<int>(sizeof(Place));

  NONET_DEVICE void operator()(const Job& job) const {
    float* shared = shared_memory<float>();
    // In shared memory, since the registers are all needed.
    Place& place = *shared_memory<Place>(place_at);
    if (thread_rank() == 0) place = place_of(job, block_index().x);
    block_sync();
    Loader<tile_m, max_threads, depth, even> a;
    Loader<tile_n, max_threads, depth, even> b;
    const auto put = [&](int buffer_index) {
      float* to = shared + buffer_index * buffer;
      a.put(job.a, to);
      b.put(job.b, to + panel_floats<tile_m, depth>);
    };

    float sum[rows * 4][columns * 4] = {};
    for (int step = place.from; step < place.to;) {  // a product, or the part of one, of those that are added up
      int64_t offsets[3] = {place.at[0], place.at[1], 0};
      int at = product_at(job, step, offsets);
      a.start(job.a, offsets[0], static_cast<int64_t>(place.row) * tile_m, job.m, at);
      b.start(job.b, offsets[1], static_cast<int64_t>(place.column) * tile_n, job.n, at);
      const auto fetch = [&] {
        const int left = ++at == job.k_steps ? job.k_left : depth;
        a.fetch(job.a, left);
        b.fetch(job.b, left);
      };
      const int count = min_of(place.to - step, job.k_steps - at);
      step += count;
      fetch();
      put(0);
      block_sync();
      for (int i = 0; i < count; ++i) {
        if (i + 1 < count) fetch();
        const float* from = shared + i % 2 * buffer;
        multiply(from + own_row(thread_rank()), from + panel_floats<tile_m, depth> + own_column(thread_rank()), sum);
        if (i + 1 < count) put((i + 1) % 2);
        block_sync();
      }
    }

    const int rank = fresh(thread_rank()), warp = rank / 32;
    float* stage = shared + warp * staged;
    float* own = stage + own_row(rank) % warp_m * stage_pitch(warp_n) + own_column(rank) % warp_n;
    const int64_t row = static_cast<int64_t>(place.row) * tile_m + warp / warps_n * warp_m;
    const int64_t column = static_cast<int64_t>(place.column) * tile_n + warp % warps_n * warp_n;
    for (int f = 0; f < rows; ++f) {
      put_fragment(f, sum, own);
      warp_sync();
      finish_staged<warp_n>(job.out, place.at[2], row + 16 * f, column, rank % 32, stage, stage_pitch(warp_n));
      warp_sync();
    }
  }

  // Of a thread's first value in the tile.
  NONET_DEVICE static int own_row(int rank) {
    return rank / 32 / warps_n * warp_m + (rank % 2 + rank % 32 / 16 * 2) * 4;
  }
  NONET_DEVICE static int own_column(int rank) { return rank / 32 % warps_n * warp_n + rank / 2 % 8 * 4; }

  NONET_DEVICE static void multiply(const float* a, const float* b, float (&sum)[rows * 4][columns * 4]) {
    NONET_UNROLL
    for (int k = 0; k < depth; ++k) {
      Pack<float, 4> x[rows], y[columns];
      NONET_UNROLL
      for (int i = 0; i < rows; ++i) x[i] = load_pack<4>(a + row_of<tile_m, depth>(k) + 16 * i);
      NONET_UNROLL
      for (int j = 0; j < columns; ++j) y[j] = load_pack<4>(b + row_of<tile_n, depth>(k) + 32 * j);
      NONET_UNROLL
      for (int i = 0; i < rows * 4; ++i) {
        NONET_UNROLL
        for (int j = 0; j < columns * 4; ++j) sum[i][j] = fmaf(x[i / 4][i % 4], y[j / 4][j % 4], sum[i][j]);
      }
    }
  }

  // Registers have no index: the fragment is chosen by comparing, so that the epilogue is there only once.
  NONET_DEVICE static void put_fragment(int fragment, const float (&sum)[rows * 4][columns * 4], float* to) {
    NONET_UNROLL
    for (int f = 0; f < rows; ++f) {
      if (f != fragment) continue;
      NONET_UNROLL
      for (int i = 0; i < 4; ++i) {
        NONET_UNROLL
        for (int j = 0; j < columns; ++j) {
          Pack<float, 4> four;
          NONET_UNROLL
          for (int l = 0; l < 4; ++l) four[l] = sum[f * 4 + i][j * 4 + l];
          store_pack(to + i * stage_pitch(warp_n) + 32 * j, four);
        }
      }
    }
  }
};

constexpr TileShape tiles[] = {{128, 128, 8, 0.9f}, {64, 64, 16, 0.7f}, {32, 32, 16, 0.4f}};
constexpr float fma_rate = 128;

template <int warps_m, int warps_n, int rows, int columns, int depth, int blocks>
void run_tiles(Stream stream, const Job& job, bool even) {
  const auto run_as = [&](auto tiles) {
    using Tiles = decltype(tiles);
    run(stream, blocks_of(job), Tiles::max_threads, Tiles::shared_bytes, tiles, job);
  };
  if (even) return run_as(FmaTiles<warps_m, warps_n, rows, columns, depth, blocks, true>{});
  run_as(FmaTiles<warps_m, warps_n, rows, columns, depth, 1, false>{});
}

bool is_even(const Operand& x, int64_t lines, int64_t k) {
  return x.packs && (x.along_k ? k : lines) % 4 == 0;
}

}  // namespace

namespace simt {

int64_t workspace(const Gemm& g, const GemmBatch& batch) {
  if (suits_matvec(g, batch)) return matvec_workspace(g, batch);
  const int64_t entries = entries_of(batch);
  const TilePlan plan = plan_tiles(tiles, 3, g.m, g.n, g.k, entries, sums_of(batch), fma_rate);
  return split_bytes(g.m, g.n, entries, plan.splits);
}

void gemm(Stream stream, const Gemm& g, const GemmBatch& batch, void* workspace) {
  if (suits_matvec(g, batch)) return matvec(stream, g, batch, workspace);
  Job job = make_job(g, batch);
  const TilePlan plan = plan_tiles(tiles, 3, g.m, g.n, g.k, job.entries, job.sums, fma_rate);
  const Output out = set_tiles(job, tiles[plan.tile], plan.splits, workspace);
  const bool even = is_even(job.a, job.m, job.k) && is_even(job.b, job.n, job.k);
  if (plan.tile == 0) {
    run_tiles<4, 2, 2, 2, 8, 2>(stream, job, even);
  } else if (plan.tile == 1) {
    run_tiles<2, 2, 2, 1, 16, 4>(stream, job, even);
  } else {
    run_tiles<2, 1, 1, 1, 16, 8>(stream, job, even);
  }
  finish_splits(stream, job, out);
}

}  // namespace simt

NONET_DEVICE_TABLE(MatmulDevice, simt, {simt::workspace, simt::gemm});

}  // namespace nonet::NONET_CUDA_NS
