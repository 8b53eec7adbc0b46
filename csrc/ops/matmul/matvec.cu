// Products in which one side has at most four rows or columns, by fused multiply-adds: the other operand, which is read
// once, sets the time.
#include "ops/matmul/gemm.cuh"

namespace nonet::NONET_CUDA_NS {

namespace {

constexpr int threads = 256;
constexpr int few = 4;

struct Plan {
  bool lines_are_rows;  // the long operand is A, the short one B
  bool along_k;         // the long one's lines are contiguous
  bool whole_block;     // works on a line, not a warp
  bool even;            // eight values along K are 16-byte loads, of both operands
  int splits;
  int64_t split_k;
};

// The long operand has `lines`, the short one `count`.
struct MatvecJob {
  Job job;
  Operand wide, thin;
  Plan plan;
  int64_t lines;
  int count;
};

// Four values from k on, of which those below `end` are read.
NONET_DEVICE Four values_along_k(const Operand& x, int64_t at, int64_t k, int64_t end) {
  const int64_t left = end - k;
  const int count = left < 4 ? static_cast<int>(left) : 4;
  if (x.along_k) return load_four(x.data, at + k, x.is_bfloat16, count, x.packs);
  Four out{};
  NONET_UNROLL
  for (int i = 0; i < 4; ++i) {
    if (i < count) out[i] = load_four(x.data, at + (k + i) * x.k_step, x.is_bfloat16, 1, false)[0];
  }
  return out;
}

struct Eight {
  float v[8];
};
NONET_DEVICE Eight eight_along_k(const Operand& x, int64_t at) {
  Eight out;
  if (x.is_bfloat16) {
    const auto pack = load_pack<8>(static_cast<const bfloat16*>(x.data) + at);
    NONET_UNROLL
    for (int i = 0; i < 8; ++i) out.v[i] = as_float(pack[i]);
    return out;
  }
  NONET_UNROLL
  for (int half = 0; half < 2; ++half) {
    const auto pack = load_pack<4>(static_cast<const float*>(x.data) + at + 4 * half);
    NONET_UNROLL
    for (int i = 0; i < 4; ++i) out.v[4 * half + i] = pack[i];
  }
  return out;
}

// Sums of values (line, s) on their way to C.
NONET_DEVICE void finish_line(const MatvecJob& x, const Place& place, int64_t line, int s, float sum) {
  const int64_t row = x.plan.lines_are_rows ? line : s, column = x.plan.lines_are_rows ? s : line;
  finish_four(x.job.out, place.at[2] + row * x.job.n + column, column, Four{sum}, 1);
}

NONET_DEVICE float pick(const Four& x, int i) {
  return i < 2 ? (i == 0 ? x[0] : x[1]) : (i == 2 ? x[2] : x[3]);
}

// A warp, or a block, per line: its lanes share K.
template <int count, bool whole_block, bool even>
struct Dots {
  static constexpr int max_threads = threads, min_blocks = even ? 2 : 1;
  NONET_DEVICE void operator()(const MatvecJob& x) const {
    constexpr int group = whole_block ? threads : 32, pack = even ? 8 : 4;
    const Job& job = x.job;
    const int64_t index = (static_cast<int64_t>(block_index().x) * threads + thread_rank()) / group;
    if (index >= x.lines * job.entries * job.splits) return;
    const int64_t part = index / x.lines, line = index - part * x.lines;
    const Place place = place_of(job, static_cast<int>(part));
    const int64_t at = (x.plan.lines_are_rows ? place.at[0] : place.at[1]) + line * x.wide.line_step;
    const int64_t thin_at = (x.plan.lines_are_rows ? place.at[1] : place.at[0]);
    float sum[count] = {};
    NONET_UNROLL
    for (int64_t k = place.from + thread_rank() % group * pack; k < place.to; k += group * pack) {
      add_products(x, at, thin_at, k, place.to, sum);
    }
    const int lane = thread_rank() % group;
    float own = 0;
    NONET_UNROLL
    for (int s = 0; s < count; ++s) {
      if constexpr (whole_block) {
        sum[s] = block_sum(sum[s], shared_memory<float>());
      } else {
        sum[s] = warp_sum(sum[s]);
      }
      if (lane == s) own = sum[s];
    }
    if (lane < x.count) finish_line(x, place, line, lane, own);
  }

  NONET_DEVICE static void add_products(const MatvecJob& x, int64_t at, int64_t thin_at, int64_t k, int64_t end,
                                        float (&sum)[count]) {
    if constexpr (even) {
      const Eight w = eight_along_k(x.wide, at + k);
      NONET_UNROLL
      for (int s = 0; s < count; ++s) {
        if (s >= x.count) break;
        const Eight v = eight_along_k(x.thin, thin_at + s * x.thin.line_step + k);
        NONET_UNROLL
        for (int i = 0; i < 8; ++i) sum[s] = fmaf(w.v[i], v.v[i], sum[s]);
      }
    } else {
      const Four w = values_along_k(x.wide, at, k, end);
      NONET_UNROLL
      for (int s = 0; s < count; ++s) {
        if (s >= x.count) break;
        const Four v = values_along_k(x.thin, thin_at + s * x.thin.line_step, k, end);
        NONET_UNROLL
        for (int i = 0; i < 4; ++i) sum[s] = fmaf(w[i], v[i], sum[s]);
      }
    }
  }
};

// A block per 128 lines that lie side by side, four to a lane: its warps share K.
template <int count>
struct Columns {
  static constexpr int width = 128, warps = threads / 32;
  static constexpr int shared_bytes = warps * count * width * static_cast<int>(sizeof(float));
  NONET_DEVICE void operator()(const MatvecJob& x) const {
    const Job& job = x.job;
    const Operand& wide = x.wide;
    const Operand& thin = x.thin;
    const int groups = static_cast<int>(divide_up<int64_t>(x.lines, width));
    const int part = block_index().x / groups;
    const Place place = place_of(job, part);
    const int64_t line = int64_t{block_index().x - part * groups} * width + lane_index() * 4;
    const int64_t left = x.lines - line;
    const int columns = left >= 4 ? 4 : (left > 0 ? static_cast<int>(left) : 0);
    const int64_t at = (x.plan.lines_are_rows ? place.at[0] : place.at[1]) + line;
    const int64_t thin_at = (x.plan.lines_are_rows ? place.at[1] : place.at[0]);
    Four sum[count] = {};
    NONET_UNROLL
    for (int64_t k = place.from + warp_index(); k < place.to; k += warps) {
      const Four w = load_four(wide.data, at + k * wide.k_step, wide.is_bfloat16, columns, wide.packs);
      NONET_UNROLL
      for (int s = 0; s < count; ++s) {
        if (s >= x.count) break;
        const int64_t own = thin_at + s * thin.line_step + k * thin.k_step;
        const float v = load_four(thin.data, own, thin.is_bfloat16, 1, false)[0];
        NONET_UNROLL
        for (int i = 0; i < 4; ++i) sum[s][i] = fmaf(w[i], v, sum[s][i]);
      }
    }
    float* shared = shared_memory<float>();
    NONET_UNROLL
    for (int s = 0; s < count; ++s) {
      store_pack(shared + (warp_index() * count + s) * width + lane_index() * 4,
                 Pack<float, 4>{sum[s][0], sum[s][1], sum[s][2], sum[s][3]});
    }
    block_sync();
    const int s = warp_index();
    if (s >= x.count) return;
    Four total{};
    for (int w = 0; w < warps; ++w) {
      const auto four = load_pack<4>(shared + (w * count + s) * width + lane_index() * 4);
      NONET_UNROLL
      for (int i = 0; i < 4; ++i) total[i] += four[i];
    }
    if (columns == 0) return;
    if (!x.plan.lines_are_rows) {
      finish_four(job.out, place.at[2] + s * job.n + line, line, total, columns);
      return;
    }
    for (int i = 0; i < columns; ++i) finish_line(x, place, line + i, s, pick(total, i));
  }
};

Plan plan_of(const Gemm& g, const GemmBatch& batch) {
  Plan plan{};
  plan.lines_are_rows = g.n <= few && g.m >= g.n;
  plan.along_k = plan.lines_are_rows ? !g.transpose_a : g.transpose_b;
  const int64_t lines = plan.lines_are_rows ? g.m : g.n;
  const int64_t wanted = 4 * multiprocessors();
  int64_t groups = lines * entries_of(batch);  // of warps or blocks
  int64_t shortest = 4096;
  if (plan.along_k) {
    plan.whole_block = groups < 4 * wanted && g.k >= 1024;
    if (!plan.whole_block) groups = wanted;
  } else {
    groups = divide_up<int64_t>(lines, Columns<1>::width) * entries_of(batch);
    shortest = 64;
  }
  int64_t splits = groups >= wanted ? 1 : divide_up(wanted, groups);
  if (splits > g.k / shortest) splits = g.k / shortest;
  if (splits > 64) splits = 64;
  if (splits < 1) splits = 1;
  constexpr int64_t multiple = 8;  // packs along K stay aligned
  plan.split_k = divide_up(divide_up(g.k, splits), multiple) * multiple;
  plan.splits = static_cast<int>(divide_up(g.k, plan.split_k));
  return plan;
}

template <int count>
void run_matvec(Stream stream, const MatvecJob& x) {
  const int64_t parts = int64_t{x.job.entries} * x.job.splits;
  if (!x.plan.along_k) {
    using Kernel = Columns<count>;
    return run(stream, divide_up<int64_t>(x.lines, Kernel::width) * parts, threads, Kernel::shared_bytes, Kernel{}, x);
  }
  const auto run_dots = [&](auto kernel, bool whole_block) {
    const int64_t blocks = whole_block ? x.lines * parts : divide_up<int64_t>(x.lines * parts, threads / 32);
    run(stream, blocks, threads, threads / 32 * static_cast<int>(sizeof(float)), kernel, x);
  };
  if (x.plan.whole_block) {
    if (x.plan.even) return run_dots(Dots<count, true, true>{}, true);
    return run_dots(Dots<count, true, false>{}, true);
  }
  if (x.plan.even) return run_dots(Dots<count, false, true>{}, false);
  run_dots(Dots<count, false, false>{}, false);
}

// Whether every eight values along K, from a multiple of eight on, are at a 16-byte address.
bool is_even(const Operand& x, const GemmBatch& batch, int which) {
  bool even = x.along_k && x.line_step % 8 == 0 && reinterpret_cast<uintptr_t>(x.data) % 16 == 0;
  for (int level = 0; level < batch.levels; ++level) even = even && batch.stride[level][which] % 8 == 0;
  return even;
}

}  // namespace

bool suits_matvec(const Gemm& g, const GemmBatch& batch) {
  if (g.k == 0 || g.row_max != nullptr || sums_of(batch) != 1 || (g.m > few && g.n > few)) return false;
  const Plan plan = plan_of(g, batch);
  return plan.along_k ? g.k >= 64 : (plan.lines_are_rows ? g.m : g.n) >= 32;
}

int64_t matvec_workspace(const Gemm& g, const GemmBatch& batch) {
  return split_bytes(g.m, g.n, entries_of(batch), plan_of(g, batch).splits);
}

void matvec(Stream stream, const Gemm& g, const GemmBatch& batch, void* workspace) {
  MatvecJob x{make_job(g, batch), {}, {}, plan_of(g, batch), 0, 0};
  const Output out = set_tiles(x.job, {static_cast<int>(g.m), static_cast<int>(g.n), 1, 1}, x.plan.splits, workspace);
  x.job.split_steps = static_cast<int>(x.plan.split_k);
  x.wide = x.plan.lines_are_rows ? x.job.a : x.job.b;
  x.thin = x.plan.lines_are_rows ? x.job.b : x.job.a;
  x.plan.even = g.k % 8 == 0 && is_even(x.job.a, batch, 0) && is_even(x.job.b, batch, 1);
  x.lines = x.plan.lines_are_rows ? g.m : g.n;
  x.count = static_cast<int>(x.plan.lines_are_rows ? g.n : g.m);
  if (x.count == 1) {
    run_matvec<1>(stream, x);
  } else if (x.count == 2) {
    run_matvec<2>(stream, x);
  } else {
    run_matvec<few>(stream, x);
  }
  finish_splits(stream, x.job, out);
}

}  // namespace nonet::NONET_CUDA_NS
