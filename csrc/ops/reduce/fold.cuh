// Reductions of the middle axis of [outer, n, inner], for .cu files that say by a type what is reduced:
//
//   struct Rule {
//     struct State;                       // what is known of a part: trivially copyable, 4, 8 or 16 bytes
//     struct Local;                       // what a result wants to know of its first element, or of another array
//     static constexpr int pack;          // elements of a vector load
//     static constexpr int batch;         // optional: how many loads are under way; 4, or 2 of larger packs
//     State identity() const;
//     Local local(int64_t first, int64_t result) const;           // first: offset of x[o, 0, i]; read if n > 0
//     int head(int64_t at) const;         // elements from offset `at` to where packs are aligned; -1: none are
//     Items<count> load<count>(int64_t at, int64_t j) const;      // elements at … at + count - 1 of the input(s)
//     void take(State&, const Local&, const Items&, int k, int64_t j) const;  // the k-th of these, which is x[o, j, i]
//     State join(State, State) const;     // of two parts, in any order
//     void finish(State, int64_t first, int64_t result) const;    // writes the result
//   };
//
// OneInput<T> is the part of it that reads an array. run_fold(stream, rule, plan, aligned, parts) launches.
#pragma once

#include <algorithm>

#include "base/dtype.h"
#include "cuda/elements.cuh"
#include "cuda/table.cuh"
#include "cuda/warp.cuh"
#include "ops/reduce/reduce.h"

namespace nonet::NONET_CUDA_NS {

template <class T>
struct OneInput {
  static constexpr int pack = pack_size<T>() < 8 ? pack_size<T>() : 8;
  const T* x;

  NONET_DEVICE int head(int64_t at) const { return head_of<pack>(x + at); }
  template <int count>
  NONET_DEVICE Pack<T, count> load(int64_t at, int64_t) const {
    return load_pack<count>(x + at);
  }
};

// A float result in either floating dtype.
struct FloatOutput {
  void* y;
  bool bf16;
  NONET_DEVICE void put(int64_t i, float value) const {
    if (bf16) {
      static_cast<bfloat16*>(y)[i] = from_float<bfloat16>(value);
    } else {
      static_cast<float*>(y)[i] = value;
    }
  }
};

struct Nothing {};

namespace detail {

constexpr int fold_threads = 256;

template <class Rule>
constexpr int batch_of() {
  if constexpr (requires { Rule::batch; }) {
    return Rule::batch;
  } else {
    return Rule::pack > 4 ? 2 : 4;
  }
}

// Over j in [begin, end), which lie side by side; lane `lane` of `width`.
template <class Rule>
NONET_DEVICE typename Rule::State fold_row(const Rule& rule, const typename Rule::Local& local, int64_t first,
                                           int64_t begin, int64_t end, int lane, int width) {
  using State = typename Rule::State;
  constexpr int pack = Rule::pack;
  constexpr int batch = batch_of<Rule>();
  constexpr int chains = pack * batch < 4 ? 1 : 4;  // independent of each other: for speed, and less rounding
  State part[chains];
  NONET_UNROLL
  for (int k = 0; k < chains; ++k) part[k] = rule.identity();
  int64_t edge = begin;  // where the packs begin
  int64_t last = begin;  // and end
  if (const int head = rule.head(first + begin); head >= 0) {
    edge = begin + head < end ? begin + head : end;
    last = edge + (end - edge) / pack * pack;
  }
  const int64_t step = int64_t{width} * pack;
  int64_t j = edge + int64_t{lane} * pack;
  if constexpr (batch > 1) {
    NONET_ROLLED
    for (; j + (batch - 1) * step < last; j += batch * step) {
      decltype(rule.template load<pack>(0, 0)) items[batch];
      NONET_UNROLL
      for (int b = 0; b < batch; ++b) items[b] = rule.template load<pack>(first + j + b * step, j + b * step);
      NONET_UNROLL
      for (int b = 0; b < batch; ++b) {
        NONET_UNROLL
        for (int k = 0; k < pack; ++k) rule.take(part[(b * pack + k) % chains], local, items[b], k, j + b * step + k);
      }
    }
  }
  NONET_ROLLED
  for (; j < last; j += step) {
    const auto items = rule.template load<pack>(first + j, j);
    NONET_UNROLL
    for (int k = 0; k < pack; ++k) rule.take(part[k % chains], local, items, k, j + k);
  }
  if constexpr (pack > 1) {  // what is left before and behind the packs
    const int64_t rest = edge - begin + end - last;
    NONET_ROLLED
    for (int64_t i = lane; i < rest; i += width) {
      const int64_t at = i < edge - begin ? begin + i : last + i - (edge - begin);
      rule.take(part[0], local, rule.template load<1>(first + at, at), 0, at);
    }
  }
  if constexpr (chains == 1) return part[0];
  return rule.join(rule.join(part[0], part[1 % chains]), rule.join(part[2 % chains], part[3 % chains]));
}

// Of `width` threads, a power of two up to 32 or the whole block; the result counts in the first of them.
template <class Rule>
NONET_DEVICE typename Rule::State join_threads(const Rule& rule, typename Rule::State state, int width) {
  using State = typename Rule::State;
  const auto join = [&](State a, State b) { return rule.join(a, b); };
  if (width <= 32) return warp_reduce(state, join, width);
  state = warp_reduce(state, join);
  State* scratch = shared_memory<State>();
  if (lane_index() == 0) scratch[warp_index()] = state;
  block_sync();
  if (thread_rank() == 0) {
    NONET_ROLLED
    for (int w = 1; w < width / 32; ++w) state = rule.join(state, scratch[w]);
  }
  return state;
}

// part / spans. There are 2^32 parts only where each is a result.
NONET_DEVICE int64_t result_of_part(int64_t part, int64_t spans) {
  return spans == 1 ? part : static_cast<uint32_t>(part) / static_cast<uint32_t>(spans);
}

// inner = 1: `width` threads to a part.
template <class Rule>
struct FoldRows {
  static constexpr int max_threads = fold_threads;
  Rule rule;

  NONET_DEVICE void operator()(const ReducePlan& plan, int width, typename Rule::State* parts) const {
    const int64_t part = group_index(width);
    const int64_t row = result_of_part(part, plan.spans);
    auto state = rule.identity();
    if (row < plan.outer) {
      const int64_t begin = (part - row * plan.spans) * plan.span;
      const int64_t end = begin + plan.span < plan.n ? begin + plan.span : plan.n;
      if (begin < end) {
        const int64_t first = row * plan.n;
        state = fold_row(rule, rule.local(first, row), first, begin, end, group_lane(width), width);
      }
    }
    state = join_threads(rule, state, width);
    if (row >= plan.outer || group_lane(width) != 0) return;
    if (parts != nullptr) {
      parts[part] = state;
    } else {
      rule.finish(state, row * plan.n, row);
    }
  }
};

// How threads share columns: `columns` of them side by side, a power of two, with `count` columns each.
struct Tiles {
  int64_t part;    // which block of those with the same columns
  int64_t column;  // the first of the thread
  int row;         // of the thread in the block
  int rows;

  NONET_DEVICE Tiles(int64_t inner, int columns, int count) {
    const int shift = count_bits(static_cast<uint32_t>(columns - 1));
    const int64_t tile = int64_t{columns} * count;
    const auto tiles = static_cast<uint32_t>((inner + tile - 1) >> count_bits(static_cast<uint32_t>(tile - 1)));
    part = static_cast<uint32_t>(block_index().x) / tiles;
    column = (block_index().x - part * tiles) * tile + group_lane(columns) * count;
    row = thread_rank() >> shift;
    rows = block_size().x >> shift;
  }
};

// inner > 1: `columns` threads side by side, each with `pack` columns, and below them more threads for other j.
template <class Rule>
struct FoldColumns {
  static constexpr int max_threads = fold_threads;
  static constexpr int pack = Rule::pack < 4 ? Rule::pack : 4;
  Rule rule;

  NONET_DEVICE void operator()(const ReducePlan& plan, int columns, bool packed, typename Rule::State* parts) const {
    if constexpr (pack > 1) {
      if (packed) return fold<pack>(plan, columns, parts);
    }
    fold<1>(plan, columns, parts);
  }

  template <int count>
  NONET_DEVICE void fold(const ReducePlan& plan, int columns, typename Rule::State* parts) const {
    using State = typename Rule::State;
    const Tiles tiles(plan.inner, columns, count);
    const int64_t part = tiles.part;  // o * spans + s
    const int64_t o = result_of_part(part, plan.spans);
    const int64_t i = tiles.column;
    const int64_t begin = (part - o * plan.spans) * plan.span;
    const int64_t end = begin + plan.span < plan.n ? begin + plan.span : plan.n;
    const int64_t first = o * plan.n * plan.inner + i;
    const int row = tiles.row;
    const int rows = tiles.rows;
    State state[count];
    NONET_UNROLL
    for (int k = 0; k < count; ++k) state[k] = rule.identity();
    if (i < plan.inner && begin < end) {
      this->columns<count>(state, first, o * plan.inner + i, plan.inner, begin + row, end, rows);
    }
    const State* joined = join_rows<count>(state, row, rows, columns);
    if (row > 0 || i >= plan.inner) return;
    NONET_ROLLED
    for (int k = 0; k < count; ++k) {
      const State own = joined[k * block_size().x];
      if (parts != nullptr) {
        parts[part * plan.inner + i + k] = own;
      } else {
        rule.finish(own, first + k, o * plan.inner + i + k);
      }
    }
  }

  // `count` columns from offset `first` on, elements j, j + step …
  template <int count, class State>
  NONET_DEVICE void columns(State (&state)[count], int64_t first, int64_t result, int64_t inner, int64_t j, int64_t end,
                            int step) const {
    constexpr int batch = batch_of<Rule>();
    typename Rule::Local local[count];
    NONET_UNROLL
    for (int k = 0; k < count; ++k) local[k] = rule.local(first + k, result + k);
    if constexpr (batch > 1) {
      NONET_ROLLED
      for (; j + (batch - 1) * step < end; j += batch * step) {
        decltype(rule.template load<count>(0, 0)) items[batch];
        NONET_UNROLL
        for (int b = 0; b < batch; ++b) {
          items[b] = rule.template load<count>(first + (j + b * step) * inner, j + b * step);
        }
        NONET_UNROLL
        for (int b = 0; b < batch; ++b) {
          NONET_UNROLL
          for (int k = 0; k < count; ++k) rule.take(state[k], local[k], items[b], k, j + b * step);
        }
      }
    }
    NONET_ROLLED
    for (; j < end; j += step) {
      const auto items = rule.template load<count>(first + j * inner, j);
      NONET_UNROLL
      for (int k = 0; k < count; ++k) rule.take(state[k], local[k], items, k, j);
    }
  }

  // By a tree into shared memory: what is returned is read by the first row of threads only, the k-th state from
  // k * block_size().x on.
  template <int count, class State>
  NONET_DEVICE const State* join_rows(State (&state)[count], int row, int rows, int columns) const {
    State* own = shared_memory<State>() + thread_rank();
    const int threads = block_size().x;
    NONET_ROLLED
    for (int half = rows / 2; half > 0; half /= 2) {
      if (row >= half && row < 2 * half) {
        NONET_UNROLL
        for (int k = 0; k < count; ++k) own[k * threads] = state[k];
      }
      block_sync();
      if (row < half) {
        NONET_UNROLL
        for (int k = 0; k < count; ++k) state[k] = rule.join(state[k], own[k * threads + half * columns]);
      }
    }
    if (row == 0) {
      NONET_UNROLL
      for (int k = 0; k < count; ++k) own[k * threads] = state[k];
    }
    return own;
  }
};

// The parts of every result, `width` threads to one.
template <class Rule>
struct FoldParts {
  static constexpr int max_threads = fold_threads;
  Rule rule;

  NONET_DEVICE void operator()(const ReducePlan& plan, int width, const typename Rule::State* parts) const {
    const int64_t result = group_index(width);
    const int64_t o = static_cast<uint32_t>(result) / static_cast<uint32_t>(plan.inner);
    const int64_t i = result - o * plan.inner;
    auto state = rule.identity();
    if (o < plan.outer) {
      NONET_ROLLED
      for (int64_t s = group_lane(width); s < plan.spans; s += width) {
        state = rule.join(state, parts[(o * plan.spans + s) * plan.inner + i]);
      }
    }
    state = join_threads(rule, state, width);
    if (o < plan.outer && group_lane(width) == 0) rule.finish(state, o * plan.n * plan.inner + i, result);
  }
};

inline int power_of_two_from(int64_t n, int most) {
  int out = 1;
  while (out < n && out < most) out *= 2;
  return out;
}

// Blocks of groups of `width` threads, `count` groups in all.
template <class Kernel, class... Args>
void run_groups(Stream stream, int64_t count, int width, int shared_bytes, const Kernel& kernel, const Args&... args) {
  int threads = width;
  while (threads < 32 || (threads < fold_threads && threads < count * width)) threads *= 2;
  const int64_t groups = threads / width;
  run(stream, (count + groups - 1) / groups, threads, shared_bytes, kernel, args...);
}

template <class Rule>
void run_rows(Stream stream, const Rule& rule, const ReducePlan& plan, typename Rule::State* parts) {
  constexpr int shared_bytes = fold_threads / 32 * sizeof(typename Rule::State);
  // A warp is enough where every lane gets a few packs.
  const int64_t packs = (plan.span + Rule::pack - 1) / Rule::pack;
  const int width = packs > 512 ? fold_threads : power_of_two_from(packs, 32);
  run_groups(stream, plan.outer * plan.spans, width, shared_bytes, FoldRows<Rule>{rule}, plan, width, parts);
}

// How columns are dealt out to blocks of threads.
struct ColumnsLaunch {
  ColumnsLaunch(const ReducePlan& plan, bool aligned, int pack) : packed(aligned && plan.inner % pack == 0) {
    const int64_t wide = packed ? plan.inner / pack : plan.inner;
    columns = power_of_two_from(wide, 32);
    // Threads that would have less than a few elements each go beside the others instead of below.
    while (columns < wide && columns < fold_threads && fold_threads / columns > plan.span / 4) columns *= 2;
    threads = columns;
    while (threads < 32 || (threads < fold_threads && threads / columns < plan.span)) threads *= 2;
    blocks = plan.outer * plan.spans * ((wide + columns - 1) / columns);
  }
  bool packed;
  int columns;
  int threads;
  int64_t blocks;
};

template <class Rule>
void run_columns(Stream stream, const Rule& rule, const ReducePlan& plan, bool aligned, typename Rule::State* parts) {
  constexpr int pack = FoldColumns<Rule>::pack;
  const ColumnsLaunch go(plan, aligned, pack);
  const auto shared_bytes = static_cast<int>(pack * go.threads * sizeof(typename Rule::State));
  run(stream, go.blocks, go.threads, shared_bytes, FoldColumns<Rule>{rule}, plan, go.columns, go.packed, parts);
}

}  // namespace detail

// The states of all parts, [outer, spans, inner]; `aligned`: the inputs begin at a multiple of 16 bytes.
template <class Rule>
void run_fold_parts(Stream stream, const Rule& rule, const ReducePlan& plan, bool aligned, void* parts) {
  static_assert(sizeof(typename Rule::State) <= reduce_part_bytes);
  auto* states = static_cast<typename Rule::State*>(parts);
  if (plan.inner == 1) {
    detail::run_rows(stream, rule, plan, states);
  } else {
    detail::run_columns(stream, rule, plan, aligned, states);
  }
}

// The results of states of parts; nothing is left to do where they are null.
template <class Rule>
void join_parts(Stream stream, const Rule& rule, const ReducePlan& plan, void* parts) {
  if (parts == nullptr) return;
  using State = typename Rule::State;
  constexpr int shared_bytes = detail::fold_threads / 32 * sizeof(State);
  const int width = plan.spans > 256 ? detail::fold_threads : detail::power_of_two_from(plan.spans, 32);
  detail::run_groups(stream, plan.outer * plan.inner, width, shared_bytes, detail::FoldParts<Rule>{rule}, plan, width,
                     static_cast<const State*>(parts));
}

// inner > 1, or no common case.
template <class Rule>
void run_fold_columns(Stream stream, const Rule& rule, const ReducePlan& plan, bool aligned, void* parts) {
  detail::run_columns(stream, rule, plan, aligned, static_cast<typename Rule::State*>(parts));
  join_parts(stream, rule, plan, parts);
}

// parts: null if the plan has one per result.
template <class Rule>
void run_fold(Stream stream, const Rule& rule, const ReducePlan& plan, bool aligned, void* parts) {
  run_fold_parts(stream, rule, plan, aligned, parts);
  join_parts(stream, rule, plan, parts);
}

// Whether packs of all arrays are aligned at their beginning.
template <class... Pointers>
bool begins_aligned(const Pointers*... pointers) {
  return ((reinterpret_cast<uintptr_t>(pointers) % 16 == 0) && ...);
}

}  // namespace nonet::NONET_CUDA_NS
