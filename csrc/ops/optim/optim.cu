#include <limits>

#include "cuda/elements.cuh"
#include "cuda/scalar.cuh"
#include "cuda/table.cuh"
#include "cuda/warp.cuh"
#include "ops/optim/optim.h"
//
#include "ops/optim/rules.h"

namespace nonet::NONET_CUDA_NS {

namespace {

constexpr int threads = 256;
constexpr int pack = 4;

// The run or piece that a block belongs to: the last one that begins at it or before. (An empty one has no block.)
template <class Item>
NONET_DEVICE const Item& find(const Item* items, int64_t count, int64_t block) {
  int64_t low = 0;
  for (int64_t high = count; high - low > 1;) {
    const int64_t middle = (low + high) / 2;
    (items[middle].first <= block ? low : high) = middle;
  }
  return items[low];
}

// body(i, Count<pack>) for the packs of the block's elements, body(i, Count<1>) for the rest.
template <class Body>
NONET_DEVICE void for_block(int64_t block, int64_t n, bool packed, const Body& body) {
  const int64_t begin = block * OptimDevice::block;
  const int64_t end = begin + OptimDevice::block < n ? begin + OptimDevice::block : n;
  const int64_t edge = packed ? end - (end - begin) % pack : begin;
  for (int64_t i = begin + int64_t{thread_rank()} * pack; i < edge; i += threads * pack) body(i, Count<pack>{});
  for (int64_t i = edge + thread_rank(); i < end; i += threads) body(i, Count<1>{});
}

// ---------------------------------------------------------------- a step
template <class Rule, int n, class T>
NONET_DEVICE void move_pack(T* p, const T* g, float* const (&state)[Rule::states], int64_t i, const OptimFactors& f) {
  Pack<T, n> x = load_pack<n>(p + i);
  const Pack<T, n> d = load_pack<n>(g + i);
  Pack<float, n> s[3] = {};
  NONET_UNROLL
  for (int k = 0; k < Rule::states; ++k) {
    if (state[k] != nullptr) s[k] = load_pack<n>(state[k] + i);
  }
  NONET_UNROLL
  for (int j = 0; j < n; ++j) {
    float at = as_float(x[j]);
    float v[3] = {s[0][j], s[1][j], s[2][j]};
    move<Rule>(at, as_float(d[j]), v, f);
    x[j] = from_float<T>(at);
    NONET_UNROLL
    for (int k = 0; k < Rule::states; ++k) s[k][j] = v[k];
  }
  store_pack(p + i, x);
  NONET_UNROLL
  for (int k = 0; k < Rule::states; ++k) {
    if (state[k] != nullptr) store_pack(state[k] + i, s[k]);
  }
}

template <class Rule>
struct Step {
  NONET_DEVICE void operator()(const OptimRun* runs, int64_t count) const {
    const OptimRun& run = find(runs, count, block_index().x);
    if (run.bf16) {
      move_block<bfloat16>(run);
    } else {
      move_block<float>(run);
    }
  }

  template <class T>
  NONET_DEVICE void move_block(const OptimRun& run) const {
    const OptimFactors f = run.factors;
    T* p = static_cast<T*>(run.param);
    const T* g = static_cast<const T*>(run.grad);
    float* state[Rule::states];
    bool packed = is_aligned<pack>(p) && is_aligned<pack>(g);
    NONET_UNROLL
    for (int k = 0; k < Rule::states; ++k) {
      state[k] = run.state[k];
      packed = packed && is_aligned<pack>(state[k]);
    }
    for_block(block_index().x - run.first, run.n, packed,
              [&](int64_t i, auto size) { move_pack<Rule, decltype(size)::value>(p, g, state, i, f); });
  }
};

void step(Stream stream, OptimRule rule, const OptimRun* runs, int64_t count, int64_t blocks) {
  visit_rule(rule, [&](auto chosen) { run(stream, blocks, threads, 0, Step<decltype(chosen)>{}, runs, count); });
}

// ---------------------------------------------------------------- the norm
struct Fold {
  bool largest;
  NONET_DEVICE double operator()(double a, double b) const { return !largest ? a + b : (a > b || a != a ? a : b); }
};

struct NormOfBlock {
  NONET_DEVICE void operator()(const OptimPiece* pieces, int64_t count, double p, bool largest, double* parts) const {
    const OptimPiece& piece = find(pieces, count, block_index().x);
    const Fold fold{largest};
    double sum = 0;
    const auto add = [&](const auto* x) {
      for_block(block_index().x - piece.first, piece.n, is_aligned<pack>(x), [&](int64_t i, auto size) {
        constexpr int n = decltype(size)::value;
        const auto values = load_pack<n>(x + i);
        NONET_UNROLL
        for (int j = 0; j < n; ++j) {
          const double d = fabsf(as_float(values[j]));
          sum = fold(largest || p == 1. ? d : (p == 2. ? d * d : pow(d, p)), sum);
        }
      });
    };
    if (piece.bf16) {
      add(static_cast<const bfloat16*>(piece.data));
    } else {
      add(static_cast<const float*>(piece.data));
    }
    sum = block_reduce(sum, fold, shared_memory<double>());
    if (thread_rank() == 0) parts[block_index().x] = sum;
  }
};

struct NormOfParts {
  NONET_DEVICE void operator()(const double* parts, int64_t blocks, double p, bool largest, float* norm) const {
    const Fold fold{largest};
    double sum = 0;
    for (int64_t b = thread_rank(); b < blocks; b += threads) sum = fold(parts[b], sum);
    sum = block_reduce(sum, fold, shared_memory<double>());
    if (thread_rank() != 0) return;
    norm[0] = static_cast<float>(largest || p == 1. ? sum : (p == 2. ? ::sqrt(sum) : pow(sum, 1 / p)));
  }
};

void norm(Stream stream, const OptimPiece* pieces, int64_t count, int64_t blocks, double p, double* parts,
          float* norm) {
  constexpr int shared_bytes = threads / 32 * sizeof(double);
  const bool largest = p == std::numeric_limits<double>::infinity();
  run(stream, blocks, threads, shared_bytes, NormOfBlock{}, pieces, count, p, largest, parts);
  run(stream, 1, threads, shared_bytes, NormOfParts{}, parts, blocks, p, largest, norm);
}

// ---------------------------------------------------------------- maps in place
template <class Function>
NONET_DEVICE void map_block(const OptimPiece* pieces, int64_t count, const Function& f) {
  const OptimPiece& piece = find(pieces, count, block_index().x);
  const auto map = [&](auto* x) {
    for_block(block_index().x - piece.first, piece.n, is_aligned<pack>(x), [&](int64_t i, auto size) {
      using T = std::remove_pointer_t<decltype(x)>;
      map_pack<decltype(size)::value>([&](T v) { return from_float<T>(f(as_float(v))); }, x + i,
                                      load_pack<decltype(size)::value>(x + i));
    });
  };
  if (piece.bf16) {
    map(static_cast<bfloat16*>(piece.data));
  } else {
    map(static_cast<float*>(piece.data));
  }
}

struct Scale {
  NONET_DEVICE void operator()(const OptimPiece* pieces, int64_t count, const float* norm, double max_norm) const {
    const float factor = static_cast<float>(max_norm / (double{norm[0]} + 1e-6));
    if (factor >= 1.f) return;
    map_block(pieces, count, [=](float x) { return x * factor; });
  }
};

void scale(Stream stream, const OptimPiece* pieces, int64_t count, int64_t blocks, const float* norm, double max_norm) {
  run(stream, blocks, threads, 0, Scale{}, pieces, count, norm, max_norm);
}

struct Clamp {
  NONET_DEVICE void operator()(const OptimPiece* pieces, int64_t count, float bound) const {
    map_block(pieces, count, [=](float x) { return maximum(minimum(x, bound), -bound); });
  }
};

void clamp(Stream stream, const OptimPiece* pieces, int64_t count, int64_t blocks, float bound) {
  run(stream, blocks, threads, 0, Clamp{}, pieces, count, bound);
}

}  // namespace

NONET_DEVICE_TABLE(OptimDevice, simt, {step, norm, scale, clamp});

}  // namespace nonet::NONET_CUDA_NS
