#include "ops/recurrent/steps.h"

namespace nonet::NONET_NS {

namespace {

// Where a thread finds everything at one step. dz holds the gradients that multiply W_hh, for all sequences, padded()
// floats apart: of the step behind, which is read, and of this one.
template <class T>
struct Here {
  const RecurrentBackward& b;
  int64_t row;  // of the first sequence
  const float* dz;
  float* next;
  int64_t dz_row;
  float* past;  // [B, H]: gradients that pass the products by: of c for LSTM, of h for GRU
  float* middle;
  int64_t middle_row;

  int64_t row_of(int64_t i) const { return row + i * b.at.stride; }
  template <int n>
  void load_kept(int64_t i, int64_t j, int64_t lanes, F (&value)[n]) const {
    const T* from = (const T*)b.kept + row_of(i) * kept_of(b.cell) * b.hidden + j;
#pragma GCC unroll 4
    for (int g = 0; g < n; ++g) value[g] = load_lanes(from + g * b.hidden, lanes);
  }
  void fetch(int64_t i, int64_t j) const {
    const int64_t row = row_of(i);
    const int64_t kept = kept_of(b.cell);
    for (int64_t g = 0; g < kept; ++g) fetch_block((const T*)b.kept + (row * kept + g) * b.hidden + j);
    if (b.cell == Cell::lstm) fetch_block((const T*)b.cells + row * b.hidden + j);
    if (b.cell == Cell::gru || b.cell == Cell::gru_reset_before) fetch_block((const T*)b.before + row * b.state + j);
    if (b.y != nullptr) fetch_block((const T*)b.y + row * b.y_row + j);
    if (b.dy != nullptr) fetch_block((const T*)b.dy + row * b.dy_row + j);
  }
  F before(int64_t i, int64_t j, int64_t lanes) const {
    return load_lanes((const T*)b.before + row_of(i) * b.state + j, lanes);
  }
  F dy(int64_t i, int64_t j, int64_t lanes) const {
    return b.dy == nullptr ? F{} : load_lanes((const T*)b.dy + row_of(i) * b.dy_row + j, lanes);
  }
  F passed(int64_t i, int64_t j, int64_t lanes) const { return load_lanes(past + i * b.hidden + j, lanes); }
  void pass(int64_t i, int64_t j, int64_t lanes, F value) const { store_lanes(past + i * b.hidden + j, value, lanes); }
  // Gate g among those that multiply W_hh, and among all gradients.
  void store_product(int64_t i, int64_t j, int64_t lanes, int64_t g, F value) const {
    store_lanes(next + i * dz_row + g * b.hidden + j, value, lanes);
  }
  void store_gradient(int64_t i, int64_t j, int64_t lanes, int64_t g, F value) const {
    store_lanes((T*)b.dz + (row_of(i) * gradients_of(b.cell) + g) * b.hidden + j, value, lanes);
  }
};

// A rule is a cell's part of a step: `first` gets the gradient of h, all of it but what a second product adds.
// `passes`: part of it reaches the h before past the products.
template <class OneCell, class T>
struct RnnRule {
  static constexpr bool passes = false;
  NONET_INLINE void first(const Here<T>& s, int64_t i, int64_t j, int64_t lanes, F dh) {
    const F h = load_lanes((const T*)s.b.y + s.row_of(i) * s.b.y_row + j, lanes);
    const F dz = OneCell::backward(h, dh);
    s.store_product(i, j, lanes, 0, dz);
    s.store_gradient(i, j, lanes, 0, dz);
  }
};

template <class T>
struct LstmRule {
  static constexpr bool passes = false;
  NONET_INLINE void first(const Here<T>& s, int64_t i, int64_t j, int64_t lanes, F dh) {
    F gate[4];
    F dz[4];
    s.load_kept(i, j, lanes, gate);
    const F c = load_lanes((const T*)s.b.cells + s.row_of(i) * s.b.hidden + j, lanes);
    F dc = s.passed(i, j, lanes);
    LstmCell::backward(gate, c, dh, dc, dz);
    s.pass(i, j, lanes, dc);
#pragma GCC unroll 4
    for (int g = 0; g < 4; ++g) {
      s.store_product(i, j, lanes, g, dz[g]);
      s.store_gradient(i, j, lanes, g, dz[g]);
    }
  }
};

template <class T>
struct ProjectedRule {
  static constexpr bool passes = false;
  NONET_INLINE void first(const Here<T>& s, int64_t i, int64_t j, int64_t lanes, F dh) {
    store_lanes(s.middle + i * s.middle_row + j, dh, lanes);
    store_lanes((T*)s.b.dstate + s.row_of(i) * s.b.state + j, dh, lanes);
  }
  NONET_INLINE void second(const Here<T>& s, int64_t i, int64_t j, int64_t lanes, F dm) {
    LstmRule<T>::first(s, i, j, lanes, dm);
  }
};

template <class T>
struct GruRule {
  static constexpr bool passes = true;
  NONET_INLINE void first(const Here<T>& s, int64_t i, int64_t j, int64_t lanes, F dh) {
    F kept[4];
    F dz[4];
    s.load_kept(i, j, lanes, kept);
    s.pass(i, j, lanes, GruCell::backward(kept, s.before(i, j, lanes), dh, dz));
#pragma GCC unroll 4
    for (int g = 0; g < 4; ++g) {
      if (g != 2) s.store_product(i, j, lanes, g == 3 ? 2 : g, dz[g]);
      s.store_gradient(i, j, lanes, g, dz[g]);
    }
  }
};

template <class T>
struct GruBeforeRule {
  static constexpr bool passes = true;
  NONET_INLINE void first(const Here<T>& s, int64_t i, int64_t j, int64_t lanes, F dh) {
    F kept[3];
    F du;
    F dn;
    s.load_kept(i, j, lanes, kept);
    s.pass(i, j, lanes, GruBeforeCell::backward(kept[1], kept[2], s.before(i, j, lanes), dh, du, dn));
    store_lanes(s.middle + i * s.middle_row + j, dn, lanes);
    s.store_product(i, j, lanes, 1, du);
    s.store_gradient(i, j, lanes, 1, du);
    s.store_gradient(i, j, lanes, 2, dn);
  }
  NONET_INLINE void second(const Here<T>& s, int64_t i, int64_t j, int64_t lanes, F drh) {
    F kept[1];
    F dr;
    s.load_kept(i, j, lanes, kept);
    const F more = GruBeforeCell::reset_backward(kept[0], s.before(i, j, lanes), drh, dr);
    s.pass(i, j, lanes, s.passed(i, j, lanes) + more);
    s.store_product(i, j, lanes, 0, dr);
    s.store_gradient(i, j, lanes, 0, dr);
  }
};

template <class Rule>
constexpr bool has_second = requires { &Rule::second; };

// The product with W_hh of the step behind, for sequences that it had.
template <class T, class Finish>
NONET_INLINE void for_gradients_of_h(const Here<T>& s, const Share& share, const Range& sequences,
                                     const Finish& finish) {
  const RecurrentBackward& b = s.b;
  const StepProduct p{s.dz, s.dz_row, b.weights, first_gates_of(b.cell) * b.hidden, b.state, b.at.batch};
  for_products<1>(
      p, sequences, share.blocks(b.state), [&](int64_t i, int64_t j) { s.fetch(i, j); },
      [&](int64_t i, int64_t j, int64_t lanes, const auto& z) { finish(i, j, lanes, z[0]); });
}

// The gradients of the initial states of sequences whose first step is done.
template <class Rule, class T>
void finish_sequences(const Here<T>& s, const Share& share, const Range& sequences) {
  const RecurrentBackward& b = s.b;
  if (sequences.end <= sequences.begin) return;
  if (b.dh0 != nullptr) {
    for_gradients_of_h(s, share, sequences, [&](int64_t i, int64_t j, int64_t lanes, F dh) {
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
void run_step(const Here<T>& s, const Share& share, const Range& live, int64_t fresh) {
  const RecurrentBackward& b = s.b;
  for_gradients_of_h(s, share, {live.begin, minimum(fresh, live.end)}, [&](int64_t i, int64_t j, int64_t lanes, F dh) {
    dh += s.dy(i, j, lanes);
    if constexpr (Rule::passes) dh += s.passed(i, j, lanes);
    Rule::first(s, i, j, lanes, dh);
  });
  const Range last{minimum(fresh, live.end), live.end};
  if (b.cell == Cell::lstm) {
    for_elements(last, share.own_columns(b.hidden), [&](int64_t i, int64_t j, int64_t lanes) {
      s.pass(i, j, lanes, b.dcn == nullptr ? F{} : load_lanes(b.dcn + state_of(b.at, i) * b.hidden + j, lanes));
    });
  }
  for_elements(last, share.own_columns(b.state), [&](int64_t i, int64_t j, int64_t lanes) {
    const F dh = b.dhn == nullptr ? F{} : load_lanes(b.dhn + state_of(b.at, i) * b.state + j, lanes);
    Rule::first(s, i, j, lanes, dh + s.dy(i, j, lanes));
  });
  if constexpr (has_second<Rule>) {
    share.meet();
    const StepProduct p{s.middle, s.middle_row, b.middle_weights, b.state, b.hidden, b.at.batch};
    for_products<1>(p, live, share.blocks(b.hidden), NoFetch{},
                    [&](int64_t i, int64_t j, int64_t lanes, const auto& z) { Rule::second(s, i, j, lanes, z[0]); });
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
  Range now{share.sequences.begin, share.sequences.begin};
  for (int64_t step = b.at.steps - 1; step >= 0; --step) {
    const int64_t t = b.at.reverse ? b.at.steps - 1 - step : step;
    const Range behind = now;
    now.end = maximum(now.begin, minimum(share.sequences.end, live_at(b.at, t)));
    const Here<T> here{b, first_row(b.at, t), dz, next, dz_row, past, middle, middle_row};
    finish_sequences<Rule>(here, share, {now.end, behind.end});
    run_step<Rule>(here, share, now, behind.end);
    next = dz;
    dz = here.next;
    share.meet();
  }
  finish_sequences<Rule>(Here<T>{b, 0, dz, next, dz_row, past, middle, middle_row}, share, now);
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
  return b.at.batch * (2 * padded(first_gates_of(b.cell) * b.hidden) + b.hidden + middle);
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
