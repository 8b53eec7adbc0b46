#include "ops/recurrent/steps.h"
//
#include "ops/recurrent/backward_rules.h"

namespace nonet::NONET_NS {

namespace {

using namespace backward_pass;

template <class T>
void fetch_kept(const Here<T>& s, int64_t i, int64_t j) {
  const RecurrentBackward& b = s.b;
  const int64_t row = s.row_of(i);
  const int64_t kept = kept_of(b.cell);
  for (int64_t g = 0; g < kept; ++g) fetch_block((const T*)b.kept + (row * kept + g) * b.hidden + j);
  if (b.cell == Cell::lstm) fetch_block((const T*)b.cells + row * b.hidden + j);
  if (b.cell == Cell::gru || b.cell == Cell::gru_reset_before) fetch_block((const T*)b.before + row * b.state + j);
  if (b.y != nullptr) fetch_block((const T*)b.y + row * b.y_row + j);
  if (b.dy != nullptr) fetch_block((const T*)b.dy + row * b.dy_row + j);
  const int64_t gradients = gradients_of(b.cell);
  for (int64_t g = 0; g < gradients; ++g) fetch_to_write((T*)b.dz + (row * gradients + g) * b.hidden + j);
}

// The product with W_hh of the step behind, for sequences that it had: finish(i, j, lanes, dh, prepared), the last only
// if `prepares`.
template <class Rule, bool prepares, class T, class Finish>
NONET_INLINE void for_gradients_of_h(const Here<T>& s, const bfloat16* dz_pairs, const Share& share,
                                     const Range& sequences, const Finish& finish) {
  const RecurrentBackward& b = s.b;
  const StepProduct p{s.dz,    s.dz_row,   b.weights, first_gates_of(b.cell) * b.hidden,
                      b.state, b.at.batch, b.pairs,   dz_pairs};
  const auto fetch = [&](int64_t i, int64_t j) { fetch_kept(s, i, j); };
  const auto prepare = [&](int64_t i, int64_t column, int64_t cols, float* z) NONET_IN_PLACE {
    if constexpr (prepares) {
      for_vectors(cols, [&](int64_t j, int64_t lanes) NONET_IN_PLACE {
        store_lanes(z + panel_columns + j, Rule::prepare(s, i, column + j, lanes), lanes);
      });
    }
  };
  for_products<1, prepares ? 1 : 0>(p, sequences, share.blocks(b.state), fetch, prepare,
                                    [&](int64_t i, int64_t j, int64_t lanes, const auto& z) NONET_IN_PLACE {
                                      F prepared{};
                                      if constexpr (prepares) prepared = z[1];
                                      finish(i, j, lanes, z[0], prepared);
                                    });
}

// The gradients of the initial states of sequences whose first step is done.
template <class Rule, class T>
void finish_sequences(const Here<T>& s, const bfloat16* dz_pairs, const Share& share, const Range& sequences) {
  const RecurrentBackward& b = s.b;
  if (sequences.end <= sequences.begin) return;
  if (b.dh0 != nullptr) {
    for_gradients_of_h<Rule, false>(s, dz_pairs, share, sequences,
                                    [&](int64_t i, int64_t j, int64_t lanes, F dh, F) NONET_IN_PLACE {
                                      if constexpr (Rule::passes) dh += s.passed(i, j, lanes);
                                      store_lanes(b.dh0 + state_of(b.at, i) * b.state + j, dh, lanes);
                                    });
  }
  if (b.cell == Cell::lstm && b.dc0 != nullptr) {
    for_elements(sequences, share.own_columns(b.hidden), [&](int64_t i, int64_t j, int64_t lanes) {
      store_lanes(b.dc0 + state_of(b.at, i) * b.hidden + j, s.passed(i, j, lanes), lanes);
    });
  }
}

// Of the live sequences, those from `fresh` on have their last step here.
template <class Rule, class T>
void run_step(const Here<T>& s, const bfloat16* dz_pairs, const Share& share, const Range& live, int64_t fresh) {
  const RecurrentBackward& b = s.b;
  for_gradients_of_h<Rule, Rule::prepares>(s, dz_pairs, share, {live.begin, minimum(fresh, live.end)},
                                           [&](int64_t i, int64_t j, int64_t lanes, F dh, F prepared) NONET_IN_PLACE {
                                             dh += s.dy(i, j, lanes);
                                             if constexpr (Rule::passes) dh += s.passed(i, j, lanes);
                                             Rule::first(s, i, j, lanes, dh, prepared);
                                           });
  const Range last{minimum(fresh, live.end), live.end};
  if (b.cell == Cell::lstm) {
    for_elements(last, share.own_columns(b.hidden), [&](int64_t i, int64_t j, int64_t lanes) {
      s.pass(i, j, lanes, b.dcn == nullptr ? F{} : load_lanes(b.dcn + state_of(b.at, i) * b.hidden + j, lanes));
    });
  }
  for_elements(last, share.own_columns(b.state), [&](int64_t i, int64_t j, int64_t lanes) {
    const F dh = b.dhn == nullptr ? F{} : load_lanes(b.dhn + state_of(b.at, i) * b.state + j, lanes);
    Rule::first(s, i, j, lanes, dh + s.dy(i, j, lanes), Rule::prepare(s, i, j, lanes));
  });
  if constexpr (has_second<Rule>) {
    share.meet();
    const StepProduct p{s.middle, s.middle_row, b.middle_weights, b.state,
                        b.hidden, b.at.batch,   b.pairs,          s.middle_pairs};
    for_products<1>(p, live, share.blocks(b.hidden), NoFetch{}, NoPreparation{},
                    [&](int64_t i, int64_t j, int64_t lanes, const auto& z)
                        NONET_IN_PLACE { Rule::second(s, i, j, lanes, z[0]); });
  }
}

template <class Rule, class T>
void run_sequences(const RecurrentBackward& b, const Share& share) {
  const int64_t dz_row = padded(first_gates_of(b.cell) * b.hidden);
  const int64_t middle_row = padded(b.state);
  float* dz = b.workspace;
  float* next = dz + b.at.batch * dz_row;
  float* past = next + b.at.batch * dz_row;
  float* middle = past + b.at.batch * b.hidden;
  bfloat16* dz_pairs = nullptr;
  bfloat16* next_pairs = nullptr;
  bfloat16* middle_pairs = nullptr;
  if (b.pairs != nullptr) {
    const int64_t columns = first_gates_of(b.cell) * b.hidden;
    dz_pairs = (bfloat16*)(middle + (has_second<Rule> ? b.at.batch * middle_row : 0));
    next_pairs = dz_pairs + b.at.batch * dz_row;
    clear_odd_column(dz_pairs, dz_row, columns, share);
    clear_odd_column(next_pairs, dz_row, columns, share);
    if (has_second<Rule>) {
      middle_pairs = next_pairs + b.at.batch * dz_row;
      clear_odd_column(middle_pairs, middle_row, b.state, share);
    }
    share.meet();
  }
  Range now{share.sequences.begin, share.sequences.begin};
  for (int64_t step = b.at.steps - 1; step >= 0; --step) {
    const int64_t t = b.at.reverse ? b.at.steps - 1 - step : step;
    const Range behind = now;
    now.end = maximum(now.begin, minimum(share.sequences.end, live_at(b.at, t)));
    const Here<T> here{b, first_row(b.at, t), dz, next, dz_row, past, middle, middle_row, next_pairs, middle_pairs};
    finish_sequences<Rule>(here, dz_pairs, share, {now.end, behind.end});
    run_step<Rule>(here, dz_pairs, share, now, behind.end);
    next = dz;
    dz = here.next;
    next_pairs = dz_pairs;
    dz_pairs = here.next_pairs;
    share.meet();
  }
  finish_sequences<Rule>(Here<T>{b, 0, dz, next, dz_row, past, middle, middle_row}, dz_pairs, share, now);
}

template <class T>
void run_job(const RecurrentBackward& b, const Share& share) {
  switch (b.cell) {
    case Cell::tanh:
      return run_sequences<RnnRule<TanhCell, T>, T>(b, share);
    case Cell::relu:
      return run_sequences<RnnRule<ReluCell, T>, T>(b, share);
    case Cell::lstm:
      return b.projected ? run_sequences<ProjectedRule<T>, T>(b, share) : run_sequences<LstmRule<T>, T>(b, share);
    case Cell::gru:
      return run_sequences<GruRule<T>, T>(b, share);
    case Cell::gru_reset_before:
      return run_sequences<GruBeforeRule<T>, T>(b, share);
  }
}

int64_t workspace(const RecurrentBackward& b) {
  const int64_t middle = has_middle(b.cell, b.projected) ? padded(b.state) : 0;
  const int64_t row = padded(first_gates_of(b.cell) * b.hidden);
  const int64_t pairs = b.pairs == nullptr ? 0 : row + (middle + 1) / 2;
  return b.at.batch * (2 * row + b.hidden + middle + pairs);
}

Effort effort(const RecurrentBackward& b) {
  const int64_t first = first_gates_of(b.cell) * b.hidden * b.state;
  const int64_t second = has_middle(b.cell, b.projected) ? b.hidden * b.state : 0;
  return {first + second, b.at.steps, b.at.batch, divide_up(b.state, panel_columns)};
}

void run(const RecurrentBackward* jobs, int64_t count) {
  share_out(jobs, count, effort, [](const RecurrentBackward& b, const Share& share) {
    b.bfloat16 ? run_job<bfloat16>(b, share) : run_job<float>(b, share);
  });
}

}  // namespace

constinit const RecurrentBackwardKernels recurrent_backward_kernels = {workspace, run};

}  // namespace nonet::NONET_NS
