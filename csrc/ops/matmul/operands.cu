// Which products tensor cores compute, and the copies of operands that they cannot read as they lie.
#include "ops/matmul/gemm.cuh"

namespace nonet::NONET_CUDA_NS {

namespace {

constexpr int threads = 256;
constexpr int side = 64;  // of a tile that a block copies

// A block reads a tile along the direction in which it is contiguous, and writes it along K.
template <class From, class To>
struct CopyAlongK {
  static constexpr int pitch = side + 1;  // columns of the tile lie in different banks
  static constexpr int shared_bytes = side * pitch * static_cast<int>(sizeof(float));
  NONET_DEVICE void operator()(const OperandCopy& x, const GemmBatch& batch, bool packs) const {
    float* tile = shared_memory<float>();
    const int64_t tiles_k = divide_up<int64_t>(x.k, side), tiles = divide_up<int64_t>(x.lines, side) * tiles_k;
    const int64_t entry = block_index().x / tiles, rest = block_index().x % tiles;
    const int64_t line = rest / tiles_k * side, k = rest % tiles_k * side;
    const From* from =
        static_cast<const From*>(x.from) + source_of(batch, x.which, entry) + line * x.line_step + k * x.k_step;
    const bool along_k = x.k_step == 1;
    const int64_t lines_left = x.lines - line, k_left = x.k - k;
    for (int pack = thread_rank(); pack < side * side / 4; pack += threads) {
      const int across = pack / (side / 4), along = pack % (side / 4) * 4;
      const int64_t left = (along_k ? k_left : lines_left) - along;
      if (across >= (along_k ? lines_left : k_left) || left <= 0) continue;
      const Four four = load_four(from + across * (along_k ? x.line_step : x.k_step) + along,
                                  left < 4 ? static_cast<int>(left) : 4, packs);
      NONET_UNROLL
      for (int i = 0; i < 4; ++i) tile[along_k ? across * pitch + along + i : (along + i) * pitch + across] = four[i];
    }
    block_sync();
    To* to = static_cast<To*>(x.to) + (entry * x.lines + line) * x.pitch + k;
    for (int pack = thread_rank(); pack < side * side / 4; pack += threads) {
      const int own = pack / (side / 4), along = pack % (side / 4) * 4;
      const int64_t left = k_left - along;
      if (own >= lines_left || left <= 0) continue;
      Four four{};
      NONET_UNROLL
      for (int i = 0; i < 4; ++i) {
        if (i < left) four[i] = tile[own * pitch + along + i];
      }
      store_four(to + own * x.pitch + along, four, left < 4 ? static_cast<int>(left) : 4, true);
    }
  }

  // Where an operand's entry begins: the loops in which it does not move have one.
  NONET_DEVICE static int64_t source_of(const GemmBatch& batch, int which, int64_t entry) {
    int64_t at = 0;
    for (int level = batch.levels - 1; level >= 0; --level) {
      const int64_t stride = batch.stride[level][which];
      if (stride == 0) continue;
      at += entry % batch.size[level] * stride;
      entry /= batch.size[level];
    }
    return at;
  }
};

bool is_aligned_to(const void* p, int64_t bytes) {
  return reinterpret_cast<uintptr_t>(p) % static_cast<uintptr_t>(bytes) == 0;
}

struct Stored {
  const void* data;
  int64_t distance;
  bool is_bfloat16, along_k;
  int64_t lines;
};
Stored stored(const Gemm& g, int which) {
  if (which == 0) return {g.a, g.lda, g.a_is_bfloat16, !g.transpose_a, g.m};
  return {g.b, g.ldb, g.b_is_bfloat16, g.transpose_b, g.n};
}

bool wants_copy(const Gemm& g, const GemmBatch& batch, Cores cores, int which) {
  const Stored x = stored(g, which);
  if (x.is_bfloat16 != (cores == Cores::bf16) || (cores == Cores::tf32 && !x.along_k)) return true;
  const int64_t multiple = x.is_bfloat16 ? 8 : 4;
  if (!is_aligned_to(x.data, 16) || x.distance % multiple != 0) return true;
  for (int level = 0; level < batch.levels; ++level) {
    if (batch.stride[level][which] % multiple != 0) return true;
  }
  return false;
}

}  // namespace

Cores cores_for(const Gemm& g, const GemmBatch& batch) {
  if (g.precision == Precision::ieee || g.m <= 4 || g.n <= 4 || g.k < 16) return Cores::fma;
  Cores cores = Cores::fma;
  if ((g.a_is_bfloat16 && g.b_is_bfloat16) || g.precision == Precision::medium) {
    cores = Cores::bf16;
  } else if (g.precision == Precision::high) {
    cores = Cores::tf32;
  }
  if (cores == Cores::fma) return cores;
  constexpr int64_t pays = 64;  // a copy, from that size on
  const bool large = g.m >= pays && g.n >= pays && g.k >= pays;
  if (!large && (wants_copy(g, batch, cores, 0) || wants_copy(g, batch, cores, 1))) return Cores::fma;
  return cores;
}

Prepared prepare(const Gemm& g, const GemmBatch& batch, Cores cores, void* workspace) {
  Prepared out{g, batch, {}, 0, 0};
  for (int which = 0; which < 2; ++which) {
    if (!wants_copy(g, batch, cores, which)) continue;
    const Stored x = stored(g, which);
    const bool to_bfloat16 = cores == Cores::bf16;
    const int64_t multiple = to_bfloat16 ? 8 : 4;
    const int64_t pitch = divide_up(g.k, multiple) * multiple;
    int64_t entries = 1;
    for (int level = batch.levels - 1; level >= 0; --level) {
      if (batch.stride[level][which] == 0) continue;
      out.batch.stride[level][which] = entries * x.lines * pitch;
      entries *= batch.size[level];
    }
    void* to = static_cast<char*>(workspace) + out.bytes;
    out.copy[out.copies++] = {x.data,
                              x.is_bfloat16,
                              x.along_k ? x.distance : 1,
                              x.along_k ? 1 : x.distance,
                              to,
                              to_bfloat16,
                              pitch,
                              x.lines,
                              g.k,
                              entries,
                              which};
    out.bytes += divide_up<int64_t>(entries * x.lines * pitch * (to_bfloat16 ? 2 : 4), 256) * 256;
    (which == 0 ? out.g.a : out.g.b) = to;
    (which == 0 ? out.g.lda : out.g.ldb) = pitch;
    (which == 0 ? out.g.a_is_bfloat16 : out.g.b_is_bfloat16) = to_bfloat16;
    if (which == 0) {
      out.g.transpose_a = false;
    } else {
      out.g.transpose_b = true;
    }
  }
  return out;
}

void run_copies(Stream stream, const Prepared& prepared, const GemmBatch& batch) {
  for (int i = 0; i < prepared.copies; ++i) {
    const OperandCopy& x = prepared.copy[i];
    bool packs = is_aligned_to(x.from, x.is_bfloat16 ? 8 : 16) && (x.line_step * x.k_step) % 4 == 0;
    for (int level = 0; level < batch.levels; ++level) packs = packs && batch.stride[level][x.which] % 4 == 0;
    const int64_t blocks = divide_up<int64_t>(x.lines, side) * divide_up<int64_t>(x.k, side) * x.entries;
    const auto copy = [&](auto kernel) {
      run(stream, blocks, threads, decltype(kernel)::shared_bytes, kernel, x, batch, packs);
    };
    if (x.is_bfloat16 && x.to_bfloat16) {
      copy(CopyAlongK<bfloat16, bfloat16>{});
    } else if (x.is_bfloat16) {
      copy(CopyAlongK<bfloat16, float>{});
    } else if (x.to_bfloat16) {
      copy(CopyAlongK<float, bfloat16>{});
    } else {
      copy(CopyAlongK<float, float>{});
    }
  }
}

}  // namespace nonet::NONET_CUDA_NS
