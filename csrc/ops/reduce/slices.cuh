// Maps of slices: what becomes of an element depends on it and on a reduction of its slice, the middle axis of
// [outer, n, inner]. For slices that are no rows of registers (cuda/rows.cuh): columns, and long rows.
//
// A rule is one of fold.cuh without finish, and with
//
//     struct Shared;                                              // what a slice's elements want to know: 16 bytes at
//     most Shared share(State, int64_t first, int64_t result) const;   // writes what there is one of per slice, too
//     void store<count>(int64_t at, int64_t j, const Items&, const Of& of) const;
//                       // writes what becomes of the items; of(k): the Shared of the k-th
//
//     bool maps() const;  // optional: whether there is anything to store
//
// and its head() is that of all arrays it reads or writes in packs.
#pragma once

#include "ops/reduce/fold.cuh"

namespace nonet::NONET_CUDA_NS {

namespace detail {

template <class Rule>
struct ShareRule : Rule {
  typename Rule::Shared* shared;
  NONET_DEVICE void finish(typename Rule::State state, int64_t first, int64_t result) const {
    shared[result] = this->share(state, first, result);
  }
};

template <class Rule>
constexpr bool maps(const Rule& rule) {
  if constexpr (requires { rule.maps(); }) {
    return rule.maps();
  } else {
    return true;
  }
}

// A block to a part of a row.
template <class Rule>
struct MapRows {
  static constexpr int max_threads = fold_threads;
  Rule rule;

  NONET_DEVICE void operator()(const ReducePlan& plan, const typename Rule::Shared* shared) const {
    const int64_t row = block_index().x / static_cast<uint32_t>(plan.spans);
    const int64_t begin = (block_index().x - row * plan.spans) * plan.span;
    const int64_t end = begin + plan.span < plan.n ? begin + plan.span : plan.n;
    const int64_t first = row * plan.n;
    const auto own = shared[row];
    for_span<Rule::pack>(begin, end, rule.head(first + begin), thread_rank(), block_size().x,
                         [&](int64_t j, auto count) {
                           constexpr int size = decltype(count)::value;
                           const auto items = rule.template load<size>(first + j, j);
                           rule.template store<size>(first + j, j, items, [&](int) { return own; });
                         });
  }
};

// A block takes the whole of its columns, whose second reading is from a cache.
template <class Rule>
struct ColumnsTwice {
  static constexpr int max_threads = fold_threads;
  static constexpr int pack = FoldColumns<Rule>::pack;
  FoldColumns<Rule> fold;

  NONET_DEVICE void operator()(const ReducePlan& plan, int columns, bool packed) const {
    if constexpr (pack > 1) {
      if (packed) return run<pack>(plan, columns);
    }
    run<1>(plan, columns);
  }

  template <int count>
  NONET_DEVICE static int shared_offset() {
    return block_size().x * count * static_cast<int>(sizeof(typename Rule::State));
  }

  template <int count>
  NONET_DEVICE void run(const ReducePlan& plan, int columns) const {
    using Shared = typename Rule::Shared;
    const Rule& rule = fold.rule;
    const Tiles tiles(plan.inner, columns, count);
    const int64_t o = tiles.part;
    const int column = group_lane(columns);
    const int64_t i = tiles.column;
    const int64_t first = o * plan.n * plan.inner + i;
    const int64_t result = o * plan.inner + i;
    const int row = tiles.row;
    const int rows = tiles.rows;
    const bool inside = i < plan.inner;
    typename Rule::State state[count];
    NONET_UNROLL
    for (int k = 0; k < count; ++k) state[k] = rule.identity();
    if (inside) fold.template columns<count>(state, first, result, plan.inner, row, plan.n, rows);
    const auto* joined = fold.template join_rows<count>(state, row, rows, columns);
    // Behind the states lies what they become.
    auto* shared = shared_memory<Shared>(shared_offset<count>()) + column;
    if (row == 0 && inside) {
      NONET_ROLLED
      for (int k = 0; k < count; ++k) {
        shared[k * columns] = rule.share(joined[k * block_size().x], first + k, result + k);
      }
    }
    block_sync();
    if (!inside || !maps(rule)) return;
    Shared own[count];
    NONET_UNROLL
    for (int k = 0; k < count; ++k) own[k] = shared[k * columns];
    NONET_ROLLED
    for (int64_t j = row; j < plan.n; j += rows) {
      const int64_t at = first + j * plan.inner;
      rule.template store<count>(at, j, rule.template load<count>(at, j), [&](int k) { return own[k]; });
    }
  }
};

inline void* parts_behind(void* scratch, const ReducePlan& plan) {
  return plan.spans > 1 ? static_cast<char*>(scratch) + plan.outer * plan.inner * reduce_part_bytes : nullptr;
}

}  // namespace detail

// inner = 1; scratch: slice_scratch() of the plan.
template <class Rule>
void run_row_slices(Stream stream, const Rule& rule, const ReducePlan& plan, void* scratch) {
  using Shared = typename Rule::Shared;
  static_assert(sizeof(Shared) <= reduce_part_bytes);
  const detail::ShareRule<Rule> sharing{rule, static_cast<Shared*>(scratch)};
  void* parts = detail::parts_behind(scratch, plan);
  detail::run_rows(stream, sharing, plan, static_cast<typename Rule::State*>(parts));
  join_parts(stream, sharing, plan, parts);
  if (!detail::maps(rule)) return;
  run(stream, plan.outer * plan.spans, detail::fold_threads, 0, detail::MapRows<Rule>{rule}, plan,
      static_cast<const Shared*>(scratch));
}

// inner > 1, each column by one block: columns_fit() the plan (ops/reduce/device.h), of which the spans do not matter.
template <class Rule>
void run_column_slices(Stream stream, const Rule& rule, const ReducePlan& plan, bool aligned) {
  ReducePlan whole = plan;
  whole.span = plan.n;
  whole.spans = 1;
  constexpr int pack = detail::FoldColumns<Rule>::pack;
  const detail::ColumnsLaunch go(whole, aligned, pack);
  const auto bytes =
      static_cast<int>(pack * (go.threads * sizeof(typename Rule::State) + go.columns * sizeof(typename Rule::Shared)));
  run(stream, go.blocks, go.threads, bytes, detail::ColumnsTwice<Rule>{{rule}}, whole, go.columns, go.packed);
}

}  // namespace nonet::NONET_CUDA_NS
