// What the passes over sequences share: who computes which part of a step, and the products of a step. *.simd.cpp only.
#pragma once

#include "ops/matmul/brgemm.h"
#include "ops/recurrent/recurrent.h"
#include "simd/gate.h"
//
#include "ops/recurrent/places.h"

namespace nonet::NONET_NS {

// The part of a thread: some sequences for all hidden units, alone; or all sequences for some hidden units, with
// others.
struct Share {
  Range sequences;
  int64_t rank = 0;
  int64_t size = 1;
  Barrier* barrier = nullptr;

  // Blocks of 32 columns.
  Range blocks(int64_t columns) const {
    const int64_t all = divide_up(columns, panel_columns);
    return {all * rank / size, all * (rank + 1) / size};
  }
  Range own_columns(int64_t columns) const {
    const Range b = blocks(columns);
    return {b.begin * panel_columns, minimum(b.end * panel_columns, columns)};
  }
  void meet() const {
    if (size > 1) wait(*barrier, size);
  }
};

// Sequences of nearly equal numbers of steps together, of those of a batch that are sorted by length.
static inline Range balanced(const Steps& at, int64_t rank, int64_t size) {
  if (at.live == nullptr) return {at.batch * rank / size, at.batch * (rank + 1) / size};
  // Steps of the first n sequences: sum over t of min(live(t), n). Sequence n adds as many as it is long.
  const auto cut = [&](int64_t part) {
    const int64_t wanted = at.rows * part / size;
    int64_t done = 0;
    int64_t length = at.steps;
    for (int64_t n = 0; n < at.batch; ++n) {
      while (length > 0 && at.live[length - 1] <= n) --length;
      if (done + length / 2 >= wanted) return n;
      done += length;
    }
    return at.batch;
  };
  return {rank == 0 ? 0 : cut(rank), rank + 1 == size ? at.batch : cut(rank + 1)};
}

// ---------------------------------------------------------------- products
// Z[i, :] = a_i W for sequences i: W in panels [columns / 32][gates][k][32].
struct StepProduct {
  const float* a;
  int64_t lda;
  const float* panels;
  int64_t k, columns;
  int64_t batch;  // sequences of the whole call: they choose the order of a sum, whoever computes it
  const RecurrentPairKernels* pairs;  // or null; then a is not read, but
  const bfloat16* a16;                // the same, lda apart too
};

inline constexpr int64_t thin_batch = 3;  // up to so many sequences keep too few sums under way
inline constexpr int64_t most_rows = 3 * tile_rows;

// Chains of multiply-adds per sum, and vectors side by side, so that enough are under way and all fit into registers.
constexpr int thin_chains(int gates, bool single) {
  return gates == 1 ? (single ? 4 : 2) : gates == 2 && single ? 2 : 1;
}
constexpr int thin_vectors(int sums) {
  return 2 * sums <= (width == 16 ? 24 : 12) ? 2 : 1;
}

// z[r][g][32] for R sequences, its rows `row` apart.
template <int gates, int R, int chains>
static void thin_dots(const StepProduct& p, const float* a, const float* panel, float* z, int64_t row) {
  constexpr int V = thin_vectors(gates * R * chains);
  const int64_t step = divide_up(p.k, divide_up(p.k, k_chain * chains));
  for (int64_t first = 0; first < p.k; first += step) {
    const int64_t end = minimum(first + step, p.k);
    for (int64_t column = 0; column < panel_columns; column += V * width) {
      F acc[chains][R][gates][V];
#pragma GCC unroll 8
      for (auto& chain : acc) {
#pragma GCC unroll 4
        for (auto& of_row : chain) {
#pragma GCC unroll 4
          for (auto& gate : of_row) {
#pragma GCC unroll 2
            for (F& sum : gate) sum = F{};
          }
        }
      }
      const auto add = [&](int64_t i, auto& chain) __attribute__((always_inline)) {
#pragma GCC unroll 4
        for (int g = 0; g < gates; ++g) {
          F b[V];
#pragma GCC unroll 2
          for (int v = 0; v < V; ++v) b[v] = load(panel + (g * p.k + i) * panel_columns + column + v * width);
#pragma GCC unroll 4
          for (int r = 0; r < R; ++r) {
#pragma GCC unroll 2
            for (int v = 0; v < V; ++v) chain[r][g][v] = fma(broadcast(a[r * p.lda + i]), b[v], chain[r][g][v]);
          }
        }
      };
      int64_t i = first;
      for (; i + chains <= end; i += chains) {
#pragma GCC unroll 8
        for (int c = 0; c < chains; ++c) add(i + c, acc[c]);
      }
      for (; i < end; ++i) add(i, acc[0]);
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
        for (int g = 0; g < gates; ++g) {
#pragma GCC unroll 2
          for (int v = 0; v < V; ++v) {
            F sum = acc[0][r][g][v];
#pragma GCC unroll 8
            for (int c = 1; c < chains; ++c) sum += acc[c][r][g][v];
            float* to = z + r * row + g * panel_columns + column + v * width;
            store(to, first == 0 ? sum : load(to) + sum);
          }
        }
      }
    }
  }
}

template <int gates>
static void thin_rows(const StepProduct& p, const float* a, int64_t rows, const float* panel, float* z, int64_t row) {
  constexpr int many = thin_chains(gates, false);
  if (p.batch == 1) return thin_dots<gates, 1, thin_chains(gates, true)>(p, a, panel, z, row);
  if (rows == 1) return thin_dots<gates, 1, many>(p, a, panel, z, row);
  if (rows == 2) return thin_dots<gates, 2, many>(p, a, panel, z, row);
  thin_dots<gates, 3, many>(p, a, panel, z, row);
}

// Of lambdas that end a product: where they are calls, the places of a row's values are computed for every vector.
#define NONET_IN_PLACE __attribute__((always_inline))

struct NoFetch {
  void operator()(int64_t, int64_t) const {}
};
struct NoPreparation {
  void operator()(int64_t, int64_t, int64_t, float*) const {}
};

// Asks for the columns of a block in a row, so that they are there when its products are.
template <class T>
NONET_INLINE void fetch_block(const T* p) {
  __builtin_prefetch(p);
  if constexpr (sizeof(T) == sizeof(float)) __builtin_prefetch(p + panel_columns / 2);
}

template <class T>
NONET_INLINE void fetch_to_write(T* p) {
  __builtin_prefetch(p, 1);
  if constexpr (sizeof(T) == sizeof(float)) __builtin_prefetch(p + panel_columns / 2, 1);
}

// finish(i, j, lanes, z): the products of sequence i, columns [j, j + lanes), gate by gate; for sequences of a range
// and blocks of columns of another. Sums wait in the first cache for the few rows and columns that finish follows with.
// fetch(i, j): called ahead of the products for a block of columns from j on. prepare(i, column, cols, z): what can be
// done with the sums of a row [gates + more][32] ahead of `finish`, for all rows first; `more` is room for its results.
template <int gates, int more = 0, class Fetch, class Prepare, class Finish>
NONET_INLINE void for_products(const StepProduct& p, const Range& sequences, const Range& blocks, const Fetch& fetch,
                               const Prepare& prepare, const Finish& finish) {
  constexpr int64_t z_row = (gates + more) * panel_columns;
  alignas(64) float z[most_rows * z_row];
  for (int64_t block = blocks.begin; block < blocks.end; ++block) {
    const int64_t column = block * panel_columns;
    const int64_t cols = minimum(panel_columns, p.columns - column);
    const float* panel = p.panels + block * gates * p.k * panel_columns;
    const bfloat16* pair_panel = (const bfloat16*)p.panels + block * gates * recurrent_pair_panel(p.k);
    for_tiles(sequences.end - sequences.begin, most_rows, [&](int64_t first, int64_t rows) {
      const int64_t i = sequences.begin + first;
      const float* a = p.a + i * p.lda;
      for (int64_t r = 0; r < rows; ++r) fetch(i + r, column);
      if (p.pairs != nullptr) {
        p.pairs->dots(p.a16 + i * p.lda, p.lda, p.k, pair_panel, gates, rows, p.batch, {z, z_row, panel_columns});
      } else if (p.batch <= thin_batch) {
        thin_rows<gates>(p, a, rows, panel, z, z_row);
      } else {
        for (int64_t g = 0; g < gates; ++g) {
          const Term term{a, panel + g * p.k * panel_columns};
          const Product product{&term, 1, p.k, p.lda, panel_columns, z + g * panel_columns, z_row, false};
          brgemm(rows, cols, product, NoEpilogue{});
        }
      }
      for (int64_t r = 0; r < rows; ++r) prepare(i + r, column, cols, z + r * z_row);
      for (int64_t r = 0; r < rows; ++r) {
        for_vectors(cols, [&](int64_t j, int64_t lanes) NONET_IN_PLACE {
          F of_gate[gates + more];
#pragma GCC unroll 4
          for (int g = 0; g < gates + more; ++g) of_gate[g] = load_lanes(z + r * z_row + g * panel_columns + j, lanes);
          finish(i + r, column + j, lanes, of_gate);
        });
      }
    });
  }
}

// Rows of bfloat16 are read in pairs.
NONET_INLINE void clear_odd_column(bfloat16* rows, int64_t row, int64_t columns, const Share& share) {
  if (columns % 2 == 0 || share.rank > 0) return;
  for (int64_t i = share.sequences.begin; i < share.sequences.end; ++i) rows[i * row + columns].bits = 0;
}

// finish(i, j, lanes) for the same without a product.
template <class Finish>
NONET_INLINE void for_elements(const Range& sequences, const Range& columns, const Finish& finish) {
  for (int64_t i = sequences.begin; i < sequences.end; ++i) {
    for_vectors(columns.end - columns.begin, [&](int64_t j, int64_t lanes) { finish(i, columns.begin + j, lanes); });
  }
}

// ---------------------------------------------------------------- threads
// The work of a step in units of a multiply-add, and whether it pays to share it out, and how.
struct Effort {
  int64_t weights;  // of a step
  int64_t steps, batch;
  int64_t blocks;  // of 32 columns
};

inline constexpr int64_t call_work = 400'000;  // less is not worth a second thread
inline constexpr int64_t step_work = 150'000;  // of a thread that waits for others at every step
inline constexpr int64_t least_sequences = 4;  // of a thread: fewer would only read weights

// Threads that help, at most.
static inline int64_t threads_for(const Effort& e) {
  const int64_t work = e.weights * e.steps * maximum(e.batch, 2);
  const int64_t by_call = work / call_work;
  const int64_t by_batch = e.batch / least_sequences;
  const int64_t by_step = minimum(e.blocks, e.weights * maximum(e.batch, 2) / step_work);
  return maximum(1, minimum(by_call, maximum(by_batch, by_step)));
}

// body(job, share) on all threads that take part; jobs run side by side.
template <class Job, class EffortOf, class Body>
static void share_out(const Job* jobs, int64_t count, const EffortOf& effort_of, const Body& body) {
  int64_t wanted = 0;
  for (int64_t j = 0; j < count; ++j) wanted += threads_for(effort_of(jobs[j]));
  Barrier barriers[2];
  parallel_team(wanted, [&](int64_t rank, int64_t size) {
    for (int64_t j = 0; j < count; ++j) {
      // With two jobs and several threads, every other thread is the first job's.
      const bool apart = count == 2 && size > 1;
      if (apart && rank % 2 != j) continue;
      const Job& job = jobs[j];
      const Effort e = effort_of(job);
      const int64_t others = apart ? (size + 1 - j) / 2 : size;
      const int64_t own = apart ? rank / 2 : rank;
      const int64_t helpers = minimum(others, threads_for(e));
      if (own >= helpers) continue;
      if (helpers == 1 || e.batch >= least_sequences * helpers) {
        body(job, Share{balanced(job.at, own, helpers)});
      } else {
        body(job, Share{{0, job.at.batch}, own, helpers, &barriers[j]});
      }
    }
  });
}

}  // namespace nonet::NONET_NS
