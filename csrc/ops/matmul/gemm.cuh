// What the kernels of the matrix product share: where a block works, how long sums are split, and what happens to
// complete sums on their way to C.
#pragma once

#include "base/dtype.h"
#include "cuda/elements.cuh"
#include "cuda/scalar.cuh"
#include "cuda/table.cuh"
#include "cuda/warp.cuh"
//
#include "ops/matmul/map_fused.h"

namespace nonet::NONET_CUDA_NS {

// Element (line, k) of an operand, a row of A or a column of B, is data[line * line_step + k * k_step]; one step is 1.
struct Operand {
  const void* data;
  int64_t line_step, k_step;
  bool is_bfloat16;
  bool along_k;        // lines run along K: its step is 1
  bool packs;          // four elements from a multiple of 4 on are one aligned load
  int64_t step_bytes;  // from a step of the job to the next
};

// Complete sums on their way to C, as in Gemm.
struct Output {
  void* c;
  int64_t m, n;
  bool is_bfloat16;
  bool accumulate;
  bool packs;  // four elements are one aligned access, in every array that is laid out like C, and in bias
  bool plain;  // nothing but bias and relu is done, and 16 bytes of C are one aligned access
  FusedActivation activation;
  float scale;
  const float* bias;
  const void* residual;
  void* before;
  float *row_max, *row_sum;
};

// A product as kernels see it. Its steps along K are those of all products that are added up, one after the other.
struct Job {
  int64_t m, n, k;
  Operand a, b;
  GemmBatch batch;
  int entries;  // of C
  int sums;     // products per entry
  int k_steps;  // per product
  int k_left;   // in the last of them
  int split_steps;
  int splits;  // of an entry's steps; more than one: `out` receives [splits, entries, m, n] float32
  int tiles_m, tiles_n;
  int strip;  // tile rows that are walked together
  Output out;
};

template <class T>
constexpr T divide_up(T a, T b) {
  return (a + b - 1) / b;
}

NONET_DEVICE int min_of(int a, int b) {
  return a < b ? a : b;
}

// ---------------------------------------------------------------- where

// Adds to `at`, offsets of a, b and c, those of entry i of the loops [first, last).
NONET_DEVICE void add_offsets(const GemmBatch& batch, int first, int last, int i, int64_t (&at)[3]) {
  for (int level = last - 1; level >= first; --level) {
    const int size = static_cast<int>(batch.size[level]), index = i % size;
    i /= size;
    NONET_UNROLL
    for (int j = 0; j < 3; ++j) at[j] += index * batch.stride[level][j];
  }
}

struct Place {
  int row, column;  // tiles
  int entry;
  int64_t at[3];  // its offsets in a, b and c
  int from, to;   // steps
};

// Of block `index` among tiles_m * tiles_n * entries * splits. Blocks that run side by side share rows and columns:
// strips of tile rows are walked column by column.
NONET_DEVICE Place place_of(const Job& job, int index) {
  const int tiles = job.tiles_m * job.tiles_n;
  const int part = index / tiles, tile = index - part * tiles;  // part: split * entries + entry
  const int first = tile / (job.strip * job.tiles_n) * job.strip;
  const int height = job.tiles_m - first < job.strip ? job.tiles_m - first : job.strip;
  const int rest = tile - first * job.tiles_n;
  const int split = part / job.entries;
  Place out{first + rest % height, rest / height, part - split * job.entries, {0, 0, 0}, 0, 0};
  const int steps = job.k_steps * job.sums;
  out.from = split * job.split_steps;
  out.to = steps - out.from < job.split_steps ? steps : out.from + job.split_steps;
  add_offsets(job.batch, 0, job.batch.levels - job.batch.sums, out.entry, out.at);
  if (job.splits > 1) out.at[2] = part * (job.m * job.n);
  return out;
}

// The product that a step belongs to: its offsets in a and b are added to `at`. Returns the step within it.
NONET_DEVICE int product_at(const Job& job, int step, int64_t (&at)[3]) {
  if (job.sums == 1) return step;
  const int product = step / job.k_steps;
  add_offsets(job.batch, job.batch.levels - job.batch.sums, job.batch.levels, product, at);
  return step - product * job.k_steps;
}

// ---------------------------------------------------------------- the epilogue

// Up to four values side by side.
struct Four {
  float v[4];
  NONET_DEVICE float& operator[](int i) { return v[i]; }
  NONET_DEVICE const float& operator[](int i) const { return v[i]; }
};

template <class T>
NONET_DEVICE Four load_four(const T* p, int count, bool packs) {
  Four out{};
  if (packs && count == 4) {
    const auto pack = load_pack<4>(p);
    NONET_UNROLL
    for (int i = 0; i < 4; ++i) out[i] = as_float(pack[i]);
    return out;
  }
  NONET_UNROLL
  for (int i = 0; i < 4; ++i) {
    if (i < count) out[i] = as_float(p[i]);
  }
  return out;
}
template <class T>
NONET_DEVICE void store_four(T* p, const Four& v, int count, bool packs) {
  if (packs && count == 4) {
    Pack<T, 4> pack;
    NONET_UNROLL
    for (int i = 0; i < 4; ++i) pack[i] = from_float<T>(v[i]);
    return store_pack(p, pack);
  }
  NONET_UNROLL
  for (int i = 0; i < 4; ++i) {
    if (i < count) p[i] = from_float<T>(v[i]);
  }
}
NONET_DEVICE Four load_four(const void* p, int64_t at, bool is_bfloat16, int count, bool packs) {
  return is_bfloat16 ? load_four(static_cast<const bfloat16*>(p) + at, count, packs)
                     : load_four(static_cast<const float*>(p) + at, count, packs);
}
NONET_DEVICE void store_four(void* p, int64_t at, bool is_bfloat16, const Four& v, int count, bool packs) {
  if (is_bfloat16) {
    store_four(static_cast<bfloat16*>(p) + at, v, count, packs);
  } else {
    store_four(static_cast<float*>(p) + at, v, count, packs);
  }
}

// What C becomes of the sums of `count` columns from `column` on, element `at` of C; it is stored.
NONET_DEVICE Four finish_four(const Output& out, int64_t at, int64_t column, Four z, int count) {
  const bool packs = out.packs;
  if (out.accumulate) {
    const Four c = load_four(out.c, at, false, count, packs);
    NONET_UNROLL
    for (int i = 0; i < 4; ++i) z[i] += c[i];
    store_four(out.c, at, false, z, count, packs);
    return z;
  }
  NONET_UNROLL
  for (int i = 0; i < 4; ++i) z[i] *= out.scale;
  if (out.bias != nullptr) {
    const Four bias = load_four(out.bias + column, count, packs);
    NONET_UNROLL
    for (int i = 0; i < 4; ++i) z[i] += bias[i];
  }
  if (out.residual != nullptr) {
    const Four residual = load_four(out.residual, at, out.is_bfloat16, count, packs);
    NONET_UNROLL
    for (int i = 0; i < 4; ++i) z[i] += residual[i];
  }
  if (out.before != nullptr) store_four(out.before, at, out.is_bfloat16, z, count, packs);
  visit_fused(out.activation, [&](auto map) {
    NONET_UNROLL
    for (int i = 0; i < 4; ++i) z[i] = decltype(map)::forward(z[i]);
  });
  store_four(out.c, at, out.is_bfloat16, z, count, packs);
  return z;
}

// The statistics of 32 columns of a row, four of which each of eight neighbouring lanes has.
NONET_DEVICE void store_statistics(const Output& out, int64_t row, int64_t column, const Four& z, int count) {
  float most = -INFINITY;
  NONET_UNROLL
  for (int i = 0; i < 4; ++i) {
    if (i < count) most = Max{}(z[i], most);
  }
  most = warp_max(most, 8);
  float sum = 0;
  if (out.row_sum != nullptr) {
    NONET_UNROLL
    for (int i = 0; i < 4; ++i) {
      if (i < count) sum += expf(z[i] - most);
    }
    sum = warp_sum(sum, 8);
  }
  if (lane_index() % 8 != 0 || count == 0) return;
  const int64_t at = row * divide_up<int64_t>(out.n, 32) + column / 32;
  out.row_max[at] = most;
  if (out.row_sum != nullptr) out.row_sum[at] = sum;
}

// A warp finishes 16 rows and `width` columns, 32 or 64, of an entry of C that begins at `entry`. sums(r, j) gives
// those of four columns; it is asked within C only.
template <int width, class Sums>
NONET_DEVICE void finish_rows(const Output& out, int64_t entry, int64_t row, int64_t column, int lane,
                              const Sums& sums) {
  constexpr int lanes = width / 4;
  const int j = lane % lanes * 4;
  const int64_t left = out.n - column - j;
  const int columns = left >= 4 ? 4 : (left > 0 ? static_cast<int>(left) : 0);
  for (int r = lane / lanes; r < 16; r += 32 / lanes) {
    const int count = row + r < out.m ? columns : 0;
    Four z{};
    if (count > 0) z = finish_four(out, entry + (row + r) * out.n + column + j, column + j, sums(r, j), count);
    if (out.row_max != nullptr) store_statistics(out, row + r, column + j, z, count);
  }
}

// From shared memory of the warp's own, rows `pitch` apart.
template <int width>
NONET_DEVICE void finish_staged(const Output& out, int64_t entry, int64_t row, int64_t column, int lane,
                                const float* staged, int pitch) {
  finish_rows<width>(out, entry, row, column, lane, [=](int r, int j) {
    const auto pack = load_pack<4>(staged + r * pitch + j);
    return Four{pack[0], pack[1], pack[2], pack[3]};
  });
}
// Distance of staged rows: accumulators of mma.sync and wgmma are stored and read without bank conflicts.
constexpr int stage_pitch(int width) {
  return width + 8;
}

// ---- 16 rows and 32 columns of sums as mma.sync and wgmma leave them: lane 4 g + t has in v[4 j] and the three behind
// it columns 8 j + 2 t and the next of the rows g and g + 8.
inline constexpr int panel_stage = 16 * stage_pitch(32);  // floats of shared memory that a warp finishes it in

template <class T>
NONET_DEVICE void finish_plain(const Output& out, int64_t entry, int64_t row, int64_t column, const float (&v)[16],
                               T* stage) {
  constexpr int pitch = stage_pitch(32), pack = 16 / sizeof(T), lanes = 32 / pack;
  const int g = lane_index() / 4, t = lane_index() % 4;
  NONET_UNROLL
  for (int j = 0; j < 4; ++j) {
    Pack<float, 2> bias{0.f, 0.f};
    if (out.bias != nullptr && column + 8 * j < out.n) bias = load_pack<2>(out.bias + column + 8 * j + 2 * t);
    NONET_UNROLL
    for (int half = 0; half < 2; ++half) {
      float x = v[4 * j + 2 * half] + bias[0], y = v[4 * j + 2 * half + 1] + bias[1];
      if (out.activation == FusedActivation::relu) {
        x = FusedRelu::forward(x);
        y = FusedRelu::forward(y);
      }
      T* to = stage + (g + 8 * half) * pitch + 8 * j + 2 * t;
      if constexpr (sizeof(T) == 2) {
        store(reinterpret_cast<uint32_t*>(to), pack_bf16(x, y));
      } else {
        store_pack(to, Pack<float, 2>{x, y});
      }
    }
  }
  warp_sync();
  const int i = lane_index() % lanes * pack;
  T* c = static_cast<T*>(out.c) + entry + column + i;
  NONET_UNROLL
  for (int r = lane_index() / lanes; r < 16; r += 32 / lanes) {
    if (row + r < out.m && column + i < out.n)
      store_pack(c + (row + r) * out.n, load_pack<pack>(stage + r * pitch + i));
  }
}

// By a warp, in `stage` of its own.
NONET_DEVICE void finish_panel(const Output& out, int64_t entry, int64_t row, int64_t column, const float (&v)[16],
                               float* stage) {
  warp_sync();  // the panel before has left the stage
  if (out.plain) {
    if (out.is_bfloat16) return finish_plain(out, entry, row, column, v, reinterpret_cast<bfloat16*>(stage));
    return finish_plain(out, entry, row, column, v, stage);
  }
  constexpr int pitch = stage_pitch(32);
  const int g = lane_index() / 4, t = lane_index() % 4;
  NONET_UNROLL
  for (int j = 0; j < 4; ++j) {
    NONET_UNROLL
    for (int half = 0; half < 2; ++half) {
      store_pack(stage + (g + 8 * half) * pitch + 8 * j + 2 * t,
                 Pack<float, 2>{v[4 * j + 2 * half], v[4 * j + 2 * half + 1]});
    }
  }
  warp_sync();
  finish_staged<32>(out, entry, row, column, lane_index(), stage, pitch);
}

// ---------------------------------------------------------------- the host's side: gemm.cu

// A tile that a kernel computes: its size, the K of a step, the share of the peak it reaches when the device is full.
struct TileShape {
  int m, n, k;
  float efficiency;
};
struct TilePlan {
  int tile;
  int splits;
  double cycles;
};
// The tile and the number of splits that are fastest by a model of the device, which multiplies `rate` pairs of values
// per cycle and multiprocessor.
TilePlan plan_tiles(const TileShape* tiles, int count, int64_t m, int64_t n, int64_t k, int64_t entries, int64_t sums,
                    float rate);

// The job of a Gemm, in steps of tile.k, whose operands are read as they are.
Job make_job(const Gemm& g, const GemmBatch& batch);
// Its tiles; with several splits C becomes `workspace`, and finish_splits() does what is left for the output before.
Output set_tiles(Job& job, const TileShape& tile, int splits, void* workspace);
void finish_splits(Stream stream, const Job& job, const Output& out);
inline int64_t split_bytes(int64_t m, int64_t n, int64_t entries, int splits) {
  return splits == 1 ? 0 : m * n * entries * splits * 4;
}
inline int64_t blocks_of(const Job& job) {
  return int64_t{job.tiles_m} * job.tiles_n * job.entries * job.splits;
}
int64_t entries_of(const GemmBatch& batch);
int64_t sums_of(const GemmBatch& batch);

// Products with at most four rows or columns, which are bound by the memory of the other operand: matvec.cu. Whether it
// takes one, the bytes it wants to work in, and the product.
bool suits_matvec(const Gemm& g, const GemmBatch& batch);
int64_t matvec_workspace(const Gemm& g, const GemmBatch& batch);
void matvec(Stream stream, const Gemm& g, const GemmBatch& batch, void* workspace);

// What multiplies: chains of fused multiply-adds, or tensor cores with operands in bfloat16 or TF32.
enum class Cores : int { fma, bf16, tf32 };
Cores cores_for(const Gemm& g, const GemmBatch& batch);

// How tensor cores read operands: bfloat16 or, for TF32, float32, in 16-byte pieces, for TF32 along K. What is stored
// otherwise is copied so.
struct OperandCopy {
  const void* from;
  bool is_bfloat16;
  int64_t line_step, k_step;
  void* to;  // [entries][lines][pitch]
  bool to_bfloat16;
  int64_t pitch;
  int64_t lines, k, entries;
  int which;  // of a Gemm's operands
};
struct Prepared {
  Gemm g;  // with the copies in the place of operands
  GemmBatch batch;
  OperandCopy copy[2];
  int copies = 0;
  int64_t bytes = 0;  // of the copies, which begin at the workspace's begin
};
// operands.cu. The copies are made by run_copies() on the batch of the original.
Prepared prepare(const Gemm& g, const GemmBatch& batch, Cores cores, void* workspace);
void run_copies(Stream stream, const Prepared& prepared, const GemmBatch& batch);

// The tiers' launchers.
namespace simt {
int64_t workspace(const Gemm& g, const GemmBatch& batch);
void gemm(Stream stream, const Gemm& g, const GemmBatch& batch, void* workspace);
}  // namespace simt
namespace mma80 {
int64_t workspace(const Gemm& g, const GemmBatch& batch);
void gemm(Stream stream, const Gemm& g, const GemmBatch& batch, void* workspace);
double cycles(const Gemm& g, const GemmBatch& batch, Cores cores);  // by the model
}  // namespace mma80

}  // namespace nonet::NONET_CUDA_NS
