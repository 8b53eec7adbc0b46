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
    const int64_t row = quotient(block_index().x, plan.spans);
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

template <class Rule>
struct MapColumns {
  Rule rule;

  NONET_DEVICE void operator()(const ReducePlan& plan, const typename Rule::Shared* shared) const {
    const bool packed = plan.inner % Rule::pack == 0 && rule.head(0) == 0;
    for_packs<Rule::pack>(plan.outer * plan.n * plan.inner, packed, [&](int64_t at, auto count) {
      constexpr int size = decltype(count)::value;
      const int64_t row = quotient(at, plan.inner);
      const int64_t o = quotient(row, plan.n);
      const int64_t result = o * plan.inner + at - row * plan.inner;
      const int64_t j = row - o * plan.n;
      const auto items = rule.template load<size>(at, j);
      rule.template store<size>(at, j, items, [&](int k) { return shared[result + k]; });
    });
  }
};

// FoldColumns and MapColumns in one: a block takes the whole of its columns, whose second reading is from a cache.
template <class Rule>
struct ColumnsTwice {
  static constexpr int max_threads = fold_threads;
  static constexpr int pack = FoldColumns<Rule>::pack;
  FoldColumns<Rule> fold;

  NONET_DEVICE void operator()(const ReducePlan& plan, int columns, bool packed) const {
    if (packed) {
      run<pack>(plan, columns);
    } else {
      run<1>(plan, columns);
    }
  }

  template <int count>
  NONET_DEVICE void run(const ReducePlan& plan, int columns) const {
    using Shared = typename Rule::Shared;
    const Rule& rule = fold.rule;
    const int64_t tile = int64_t{columns} * count;
    const int64_t tiles = (plan.inner + tile - 1) / tile;
    const int64_t o = quotient(block_index().x, tiles);
    const int column = thread_rank() % columns;
    const int64_t i = (block_index().x - o * tiles) * tile + int64_t{column} * count;
    const int64_t first = o * plan.n * plan.inner + i;
    const int64_t result = o * plan.inner + i;
    const int row = thread_rank() / columns;
    const int rows = block_size().x / columns;
    const bool inside = i < plan.inner;
    typename Rule::State state[count];
    NONET_UNROLL
    for (int k = 0; k < count; ++k) state[k] = rule.identity();
    if (inside) fold.template columns<count>(state, first, result, plan.inner, row, plan.n, rows);
    if (rows > 1) fold.template join_rows<count>(state, row, rows, columns);
    Shared own[count]{};
    auto* shared = shared_memory<Shared>();
    if (rows > 1) block_sync();  // the joins have read what this overwrites
    NONET_UNROLL
    for (int k = 0; k < count; ++k) {
      if (row == 0 && inside) own[k] = rule.share(state[k], first + k, result + k);
      if (row == 0 && rows > 1) shared[k * columns + column] = own[k];
    }
    if (rows > 1) {
      block_sync();
      NONET_UNROLL
      for (int k = 0; k < count; ++k) own[k] = shared[k * columns + column];
    }
    if (!inside || !maps(rule)) return;
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

// scratch: null for columns that one block may take; else slice_scratch() of the plan.
template <class Rule>
void run_slices(Stream stream, const Rule& rule, const ReducePlan& plan, bool aligned, void* scratch) {
  using Shared = typename Rule::Shared;
  static_assert(sizeof(Shared) <= reduce_part_bytes);
  if (plan.inner == 1) return run_row_slices(stream, rule, plan, scratch);
  if (scratch == nullptr) {
    ReducePlan whole = plan;
    whole.span = plan.n;
    whole.spans = 1;
    const detail::ColumnsLaunch go(whole, aligned, detail::FoldColumns<Rule>::pack);
    const auto bytes = static_cast<int>(detail::FoldColumns<Rule>::pack * go.threads *
                                        std::max(sizeof(Shared), sizeof(typename Rule::State)));
    return run(stream, go.blocks, go.threads, go.threads > go.columns ? bytes : 0, detail::ColumnsTwice<Rule>{{rule}},
               whole, go.columns, go.packed);
  }
  const detail::ShareRule<Rule> sharing{rule, static_cast<Shared*>(scratch)};
  void* parts = detail::parts_behind(scratch, plan);
  detail::run_columns(stream, sharing, plan, aligned, static_cast<typename Rule::State*>(parts));
  join_parts(stream, sharing, plan, parts);
  if (!detail::maps(rule)) return;
  run_elements(stream, (plan.outer * plan.n * plan.inner + Rule::pack - 1) / Rule::pack, detail::MapColumns<Rule>{rule},
               plan, static_cast<const Shared*>(scratch));
}

}  // namespace nonet::NONET_CUDA_NS
