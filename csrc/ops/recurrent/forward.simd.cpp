#include "ops/recurrent/input_part.h"

namespace nonet::NONET_NS {

namespace {

using namespace forward_pass;

// The states of sequences that begin at a step, for columns of this thread; zeros where none are given.
void load_states(const Steps& at, const float* from, int64_t size, const Range& sequences, const Range& columns,
                 float* to, int64_t to_row, bfloat16* pairs = nullptr) {
  for_elements(sequences, columns, [&](int64_t i, int64_t j, int64_t lanes) {
    const F value = from == nullptr ? F{} : load_lanes(from + state_of(at, i) * size + j, lanes);
    store_lanes(to + i * to_row + j, value, lanes);
    if (pairs != nullptr) store_lanes(pairs + i * to_row + j, value, lanes);
  });
}

void store_states(const Steps& at, const float* from, int64_t from_row, const Range& sequences, const Range& columns,
                  float* to, int64_t size) {
  for_elements(sequences, columns, [&](int64_t i, int64_t j, int64_t lanes) {
    store_lanes(to + state_of(at, i) * size + j, load_lanes(from + i * from_row + j, lanes), lanes);
  });
}

template <class T>
void fetch_gates(const Here<T>& s, int64_t i, int64_t j) {
  const int64_t gates = gates_of(s.f.cell);
  const float* from = s.x.first + i * s.x.row + j;
  for (int64_t g = 0; g < gates; ++g) fetch_block(from + g * s.x.gate);
  if (s.f.before == nullptr) return;
  const int64_t row = s.row_of(i);
  const int64_t kept = kept_of(s.f.cell);
  for (int64_t g = 0; g < kept; ++g) fetch_to_write((T*)s.f.kept + (row * kept + g) * s.f.hidden + j);
  if (s.f.cells != nullptr) fetch_to_write((T*)s.f.cells + row * s.f.hidden + j);
  if (!s.f.projected) fetch_to_write((T*)s.f.before + row * s.f.state + j);
}

// Of a row of sums z and the x-part, [gates][32].
template <class Rule, class T>
NONET_INLINE void activate_row(const Here<T>& s, int64_t i, int64_t column, int64_t cols, float* z) {
  const float* x = s.x.first + i * s.x.row + column;
  NONET_EACH_GATE
  for (int g = 0; g < Rule::activated; ++g) {
    for_vectors(cols, [&](int64_t j, int64_t lanes) NONET_IN_PLACE {
      float* at = z + g * panel_columns + j;
      store_lanes(at, Rule::activate(g, load_lanes(x + g * s.x.gate + j, lanes) + load_lanes(at, lanes)), lanes);
    });
  }
}

template <class Rule, class T>
void run_step(const Here<T>& s, const bfloat16* h_pairs, const Share& share, const Range& live) {
  const RecurrentForward& f = s.f;
  const StepProduct first{s.h, s.h_row, f.weights, f.state, f.hidden, f.at.batch, f.pairs, h_pairs};
  const auto fetch = [&](int64_t i, int64_t j) { fetch_gates(s, i, j); };
  const auto activate = [&](int64_t i, int64_t column, int64_t cols, float* z)
                            NONET_IN_PLACE { activate_row<Rule>(s, i, column, cols, z); };
  for_products<Rule::gates>(first, live, share.blocks(f.hidden), fetch, activate,
                            [&](int64_t i, int64_t j, int64_t lanes, const auto& z) NONET_IN_PLACE {
                              const F out = Rule::finish(s, i, j, lanes, z);
                              if constexpr (has_second<Rule>) {
                                s.store_middle(i, j, lanes, out);
                              } else {
                                finish_state(s, i, j, lanes, out);
                              }
                            });
  if constexpr (has_second<Rule>) {
    share.meet();
    const StepProduct second{s.middle, s.middle_row, f.middle_weights, f.hidden,
                             f.state,  f.at.batch,   f.pairs,          s.middle_pairs};
    for_products<1>(second, live, share.blocks(f.state), NoFetch{}, NoPreparation{},
                    [&](int64_t i, int64_t j, int64_t lanes, const auto& z)
                        NONET_IN_PLACE { finish_state(s, i, j, lanes, Rule::second(s, i, j, lanes, z)); });
  }
}

template <class Rule, class T>
void run_sequences(const RecurrentForward& f, const Share& share) {
  const int64_t h_row = padded(f.state);
  const int64_t middle_row = padded(f.hidden);
  float* h = f.workspace;
  float* next = h + f.at.batch * h_row;
  float* c = next + f.at.batch * h_row;
  float* middle = c + (f.cell == Cell::lstm ? f.at.batch * f.hidden : 0);
  bfloat16* h_pairs = nullptr;
  bfloat16* next_pairs = nullptr;
  bfloat16* middle_pairs = nullptr;
  if (f.pairs != nullptr) {
    h_pairs = (bfloat16*)(middle + (has_second<Rule> ? f.at.batch * middle_row : 0));
    next_pairs = h_pairs + f.at.batch * h_row;
    clear_odd_column(h_pairs, h_row, f.state, share);
    clear_odd_column(next_pairs, h_row, f.state, share);
    if (has_second<Rule>) {
      middle_pairs = next_pairs + f.at.batch * h_row;
      clear_odd_column(middle_pairs, middle_row, f.hidden, share);
    }
  }
  const Range states = share.own_columns(f.state);
  const Range units = share.own_columns(f.hidden);
  InputPart part(f, share);
  Range now{share.sequences.begin, share.sequences.begin};
  for (int64_t step = 0; step < f.at.steps; ++step) {
    const int64_t before = now.end;
    now = live_range(f.at, share, step);
    if (now.end > before) {
      const Range fresh{before, now.end};
      load_states(f.at, f.h0, f.state, fresh, states, h, h_row, h_pairs);
      if (f.cell == Cell::lstm) load_states(f.at, f.c0, f.hidden, fresh, units, c, f.hidden);
      share.meet();
    }
    const int64_t row = first_row(f.at, f.at.reverse ? f.at.steps - 1 - step : step);
    run_step<Rule, T>({f, row, part.at(step, row), h, next, h_row, c, middle, middle_row, next_pairs, middle_pairs},
                      h_pairs, share, now);
    const Range done{maximum(now.begin, live_range(f.at, share, step + 1).end), now.end};
    if (done.end > done.begin) {
      store_states(f.at, next, h_row, done, states, f.hn, f.state);
      if (f.cell == Cell::lstm) store_states(f.at, c, f.hidden, done, units, f.cn, f.hidden);
    }
    float* const swap = h;
    h = next;
    next = swap;
    bfloat16* const swap_pairs = h_pairs;
    h_pairs = next_pairs;
    next_pairs = swap_pairs;
    share.meet();
  }
}

template <class T>
void run_job(const RecurrentForward& f, const Share& share) {
  switch (f.cell) {
    case Cell::tanh:
      return run_sequences<RnnRule<TanhCell, T>, T>(f, share);
    case Cell::relu:
      return run_sequences<RnnRule<ReluCell, T>, T>(f, share);
    case Cell::lstm:
      return f.projected ? run_sequences<ProjectedRule<T>, T>(f, share) : run_sequences<LstmRule<T>, T>(f, share);
    case Cell::gru:
      return run_sequences<GruRule<T>, T>(f, share);
    case Cell::gru_reset_before:
      return run_sequences<GruBeforeRule<T>, T>(f, share);
  }
}

int64_t workspace(const RecurrentForward& f) {
  const int64_t middle = has_middle(f.cell, f.projected) ? padded(f.hidden) : 0;
  const int64_t pairs = f.pairs == nullptr ? 0 : padded(f.state) + (middle + 1) / 2;
  return f.at.batch * (2 * padded(f.state) + (f.cell == Cell::lstm ? f.hidden : 0) + middle + pairs);
}

Effort effort(const RecurrentForward& f) {
  const int64_t first = first_gates_of(f.cell) * f.hidden * f.state;
  const int64_t second = has_middle(f.cell, f.projected) ? f.hidden * f.state : 0;
  return {first + second, f.at.steps, f.at.batch, divide_up(f.hidden, panel_columns)};
}

void run(const RecurrentForward* jobs, int64_t count) {
  share_out(jobs, count, effort, [](const RecurrentForward& f, const Share& share) {
    f.bfloat16 ? run_job<bfloat16>(f, share) : run_job<float>(f, share);
  });
}

}  // namespace

constinit const RecurrentForwardKernels recurrent_forward_kernels = {workspace, run};

}  // namespace nonet::NONET_NS
