// Stable sorting of rows by unsigned keys. An item is a key and its position in the row, so that no two are equal.
//
// A Source has load(row, i, key, position), a Sink put(row, i, key, position).
#pragma once

#include "cuda/scan.cuh"
#include "cuda/table.cuh"
#include "ops/sort/plan.h"

namespace nonet::NONET_CUDA_NS {

// Items of rows of n in scratch memory: a Source and a Sink.
template <class Key>
struct SortItems {
  Key* keys;
  uint32_t* positions;
  int64_t n;

  NONET_DEVICE void load(int64_t row, int64_t i, Key& key, uint32_t& position) const {
    key = keys[row * n + i];
    position = positions[row * n + i];
  }
  NONET_DEVICE void put(int64_t row, int64_t i, Key key, uint32_t position) const {
    keys[row * n + i] = key;
    positions[row * n + i] = position;
  }
};

// ---------------------------------------------------------------- in the shared memory of a block
// Batcher's bitonic network ("Sorting networks and their applications", AFIPS 1968) on rows, or parts of them, of
// `length` items, a power of two; a block has `items`, one part or several rows. The first k of a part are put.
template <class Key, class Source, class Sink>
struct SortParts {
  static constexpr int max_threads = 512;

  struct Network {
    Key* keys;
    uint32_t* positions;
    int length, items, threads;

    // On the way to ordered runs of `size`; every other run goes down, so that two of them can be merged.
    NONET_DEVICE void exchange(int pair, int step, int size) const {
      const int i = 2 * pair - (pair & (step - 1));
      const int j = i + step;
      const bool up = (i & (length - 1) & size) == 0;
      const Key a = keys[i];
      const Key b = keys[j];
      const uint32_t p = positions[i];
      const uint32_t q = positions[j];
      if ((a > b || (a == b && p > q)) != up) return;
      keys[i] = b;
      keys[j] = a;
      positions[i] = q;
      positions[j] = p;
    }
    // The steps up to 32: the pairs of a warp lie among 64 neighbours, which are nobody else's.
    NONET_DEVICE void finish(int size) const {
      for (int pair = thread_rank(); pair < items / 2; pair += threads) {
        for (int step = size < 64 ? size / 2 : 32; step > 0; step /= 2) {
          exchange(pair, step, size);
          warp_sync();
        }
      }
    }
  };

  NONET_DEVICE void operator()(const Source& source, const Sink& sink, int64_t rows, int64_t n, int64_t k,
                               int64_t parts, int length, int items) const {
    Key* keys = shared_memory<Key>();
    auto* positions = shared_memory<uint32_t>(items * static_cast<int>(sizeof(Key)));
    const int threads = block_size().x;
    const int64_t part = block_index().x % parts;
    const int64_t first = block_index().x / parts * (items / length);
    for (int i = thread_rank(); i < items; i += threads) {
      const int64_t row = first + i / length;
      const int64_t at = part * length + i % length;
      keys[i] = static_cast<Key>(-1);  // behind all others
      positions[i] = static_cast<uint32_t>(-1);
      if (row < rows && at < n) source.load(row, at, keys[i], positions[i]);
    }
    block_sync();
    const Network network = {keys, positions, length, items, threads};
    for (int size = 2; size <= length && size <= 64; size *= 2) network.finish(size);
    block_sync();
    for (int size = 128; size <= length; size *= 2) {
      for (int step = size / 2; step > 32; step /= 2) {
        for (int pair = thread_rank(); pair < items / 2; pair += threads) network.exchange(pair, step, size);
        block_sync();
      }
      network.finish(size);
      block_sync();
    }
    for (int i = thread_rank(); i < items; i += threads) {
      const int64_t row = first + i / length;
      const int64_t at = i % length;
      if (row < rows && at < k) sink.put(row, part * k + at, keys[i], positions[i]);
    }
  }
};

template <class Key, class Source, class Sink>
void sort_parts(Stream stream, const Source& source, const Sink& sink, int64_t rows, int64_t n, int64_t k) {
  constexpr int64_t fewest = 512;  // items of a block
  int64_t length = 2;
  while (length < n && length < SortPlan::part) length *= 2;
  const int64_t items = length < fewest ? fewest : length;
  const int64_t parts = (n + length - 1) / length;
  const int64_t blocks = parts > 1 ? rows * parts : (rows * length + items - 1) / items;
  const int threads = static_cast<int>(items / 2 < 512 ? items / 2 : 512);
  run(stream, blocks, threads, static_cast<int>(items * (sizeof(Key) + sizeof(uint32_t))),
      SortParts<Key, Source, Sink>{}, source, sink, rows, n, k, parts, static_cast<int>(length),
      static_cast<int>(items));
}

// ---------------------------------------------------------------- by digits
namespace radix {

constexpr int threads = 256;  // one per digit, too
constexpr int warps = threads / 32;
constexpr int rounds = SortPlan::part / threads;

template <class Key>
NONET_DEVICE int digit_of(Key key, int shift) {
  return static_cast<int>(key >> shift & 255);
}

// counts[row, digit, part]
template <class Key>
struct Count {
  NONET_DEVICE void operator()(const Key* keys, int shift, uint32_t* counts, int64_t n, int64_t parts) const {
    auto* own = shared_memory<uint32_t>();
    own[thread_rank()] = 0;
    block_sync();
    const int64_t row = block_index().x / parts;
    const int64_t part = block_index().x % parts;
    const int64_t end = (part + 1) * SortPlan::part < n ? (part + 1) * SortPlan::part : n;
    for (int64_t i = part * SortPlan::part + thread_rank(); i < end; i += threads) {
      atomic_add(&own[digit_of(keys[row * n + i], shift)], uint32_t{1});
    }
    block_sync();
    counts[(row * 256 + thread_rank()) * parts + part] = own[thread_rank()];
  }
};

// counts[row, digit, part]: of the parts before; totals[row, digit]. A warp per digit.
struct Scan {
  NONET_DEVICE void operator()(uint32_t* counts, uint32_t* totals, int64_t digits, int64_t parts) const {
    const int64_t digit = static_cast<int64_t>(block_index().x) * warps + warp_index();
    if (digit >= digits) return;
    uint32_t before = 0;
    for (int64_t first = 0; first < parts; first += 32) {
      const int64_t part = first + lane_index();
      uint32_t* at = counts + digit * parts + part;
      const uint32_t own = part < parts ? *at : 0;
      const uint32_t sum = before + warp_scan(own);
      if (part < parts) *at = sum;
      before = shuffle(sum + own, 31);
    }
    if (lane_index() == 0) totals[digit] = before;
  }
};

// Puts every item behind those with a lower digit, and behind those before it with the same. A warp takes consecutive
// items, 32 at a time: lanes with the same digit find each other by votes.
template <class Key>
struct Scatter {
  NONET_DEVICE void operator()(const SortItems<Key>& from, const SortItems<Key>& to, int shift, const uint32_t* counts,
                               const uint32_t* totals, int64_t n, int64_t parts) const {
    auto* seen = shared_memory<uint32_t>();  // [warps][256]: of a digit, by this warp so far; then where they go
    auto* scratch = seen + warps * 256;
    uint32_t* own = seen + warp_index() * 256;
    for (int i = lane_index(); i < 256; i += 32) own[i] = 0;
    warp_sync();
    const int64_t row = block_index().x / parts;
    const int64_t part = block_index().x % parts;
    const int64_t first = part * SortPlan::part + warp_index() * (rounds * 32) + lane_index();
    Key keys[rounds];
    uint32_t positions[rounds];
    uint32_t ranks[rounds];
    NONET_UNROLL
    for (int r = 0; r < rounds; ++r) {
      const bool valid = first + r * 32 < n;
      keys[r] = 0;
      positions[r] = 0;
      if (valid) from.load(row, first + r * 32, keys[r], positions[r]);
      const int digit = digit_of(keys[r], shift);
      uint32_t same = ballot(valid);
      NONET_UNROLL
      for (int bit = 0; bit < 8; ++bit) {
        const bool set = digit >> bit & 1;
        const uint32_t others = ballot(set);
        same &= set ? others : ~others;
      }
      const uint32_t before = same & ((uint32_t{1} << lane_index()) - 1);
      const uint32_t so_far = own[digit];
      ranks[r] = so_far + static_cast<uint32_t>(count_bits(before));
      warp_sync();
      if (valid && before == 0) own[digit] = so_far + static_cast<uint32_t>(count_bits(same));
      warp_sync();
    }
    block_sync();
    const int digit = thread_rank();
    uint32_t all;
    uint32_t place = block_scan(totals[row * 256 + digit], scratch, all);
    place += counts[(row * 256 + digit) * parts + part];
    for (int w = 0; w < warps; ++w) {
      const uint32_t count = seen[w * 256 + digit];
      seen[w * 256 + digit] = place;
      place += count;
    }
    block_sync();
    NONET_UNROLL
    for (int r = 0; r < rounds; ++r) {
      if (first + r * 32 >= n) continue;
      to.put(row, own[digit_of(keys[r], shift)] + ranks[r], keys[r], positions[r]);
    }
  }
};

template <class Key>
void pass(Stream stream, const SortItems<Key>& from, const SortItems<Key>& to, int shift, uint32_t* counts,
          int64_t rows, int64_t n, int64_t parts) {
  constexpr int word = sizeof(uint32_t);
  uint32_t* totals = counts + rows * 256 * parts;
  run(stream, rows * parts, threads, 256 * word, Count<Key>{}, static_cast<const Key*>(from.keys), shift, counts, n,
      parts);
  run(stream, rows * 256 / warps, threads, 0, Scan{}, counts, totals, rows * 256, parts);
  run(stream, rows * parts, threads, (warps * 256 + warps) * word, Scatter<Key>{}, from, to, shift,
      static_cast<const uint32_t*>(counts), static_cast<const uint32_t*>(totals), n, parts);
}

}  // namespace radix

// ---------------------------------------------------------------- all ways
// The first k items of each row, from a source to a sink. A row of one kind is `n` long.
template <class Key, class Source, class Sink>
struct MoveItems {
  NONET_DEVICE void operator()(const Source& source, const Sink& sink, int64_t rows, int64_t k) const {
    for_grid(rows * k, [&](int64_t i) {
      const int64_t row = i / k;
      Key key;
      uint32_t position;
      source.load(row, i - row * k, key, position);
      sink.put(row, i - row * k, key, position);
    });
  }
};

// Puts the first k items of each row in their order. `bits` of the keys are used; scratch as sort_plan() says.
template <class Key, class Source, class Sink>
void sort_rows(Stream stream, const Source& source, const Sink& sink, int bits, int64_t rows, int64_t n, int64_t k,
               void* scratch) {
  using Items = SortItems<Key>;
  if (rows == 0 || n == 0 || k == 0) return;
  const SortPlan plan = sort_plan(sizeof(Key), rows, n, k);
  if (plan.way == SortWay::block) return sort_parts<Key>(stream, source, sink, rows, n, k);
  const bool few = plan.way == SortWay::rounds;
  auto* memory = static_cast<char*>(scratch);
  const auto buffer = [&](int64_t begin, int64_t items) {
    auto* keys = reinterpret_cast<Key*>(memory + begin);
    return Items{keys, reinterpret_cast<uint32_t*>(keys + rows * items), items};
  };
  Items from = buffer(0, n);
  Items to = buffer(plan.second, few ? plan.parts * k : n);
  const auto swap = [&] {
    const Items other = from;
    from = to;
    to = other;
  };
  run_elements(stream, rows * n, MoveItems<Key, Source, Items>{}, source, from, rows, n);
  if (few) {
    for (int64_t left = n; left > k; swap()) {
      const int64_t parts = (left + SortPlan::part - 1) / SortPlan::part;
      to.n = parts * k;
      sort_parts<Key>(stream, from, to, rows, left, k);
      left = parts * k;
    }
  } else {
    auto* counts = reinterpret_cast<uint32_t*>(memory + plan.counts);
    for (int shift = 0; shift < bits; shift += 8, swap()) {
      radix::pass<Key>(stream, from, to, shift, counts, rows, n, plan.parts);
    }
  }
  run_elements(stream, rows * k, MoveItems<Key, Items, Sink>{}, from, sink, rows, k);
}

}  // namespace nonet::NONET_CUDA_NS
