#include "ops/recurrent/products.cuh"
//
#include "ops/recurrent/backward_rules.h"

namespace nonet::NONET_CUDA_NS::backward_pass {

namespace {

template <class Rule, class T, int rows>
struct Backward {
  static constexpr int max_threads = step_threads;

  NONET_DEVICE void operator()(const RecurrentBackward& b, GridBarrier* barrier) const {
    const int64_t dz_row = padded(first_gates_of(b.cell) * b.hidden);
    float* dz = b.workspace;
    float* next = dz + b.at.batch * dz_row;
    float* past = next + b.at.batch * dz_row;
    float* middle = past + b.at.batch * b.hidden;
    int64_t live = 0;
    NONET_ROLLED
    for (int64_t step = b.at.steps - 1; step >= 0; --step) {
      const int64_t t = b.at.reverse ? b.at.steps - 1 - step : step;
      const int64_t behind = live;
      live = live_at(b.at, t);
      const Here<T> here{b, first_row(b.at, t), dz, next, dz_row, past, middle, padded(b.state)};
      finish_sequences(here, {live, behind});
      one_step(here, live, behind, barrier);
      next = dz;
      dz = here.next;
      grid_sync(barrier);
    }
    finish_sequences({b, 0, dz, next, dz_row, past, middle, padded(b.state)}, {0, live});
  }

 private:
  // The product with W_hh of the step behind, for sequences that it had.
  template <class Finish>
  NONET_DEVICE void for_gradients_of_h(const Here<T>& s, const Range& sequences, const Finish& finish) const {
    const RecurrentBackward& b = s.b;
    const DeviceProduct p{s.dz, s.dz_row, b.weights, first_gates_of(b.cell) * b.hidden, b.state};
    for_products<1, rows, true>(
        p, sequences, [&](int64_t i, int64_t j, int64_t lanes, const float (&z)[1]) { finish(i, j, lanes, z[0]); });
  }

  // The gradients of the initial states of sequences whose first step is done.
  NONET_DEVICE void finish_sequences(const Here<T>& s, const Range& sequences) const {
    const RecurrentBackward& b = s.b;
    if (sequences.end <= sequences.begin) return;
    if (b.dh0 != nullptr) {
      for_gradients_of_h(s, sequences, [&](int64_t i, int64_t j, int64_t lanes, float dh) {
        if constexpr (Rule::passes) dh += s.passed(i, j, lanes);
        b.dh0[state_of(b.at, i) * b.state + j] = dh;
      });
    }
    if (b.cell == Cell::lstm && b.dc0 != nullptr) {
      for_elements(sequences, b.hidden, [&](int64_t i, int64_t j, int64_t lanes) {
        b.dc0[state_of(b.at, i) * b.hidden + j] = s.passed(i, j, lanes);
      });
    }
  }

  // Of the live sequences, those from `fresh` on have their last step here.
  NONET_DEVICE void one_step(const Here<T>& s, int64_t live, int64_t fresh, GridBarrier* barrier) const {
    const RecurrentBackward& b = s.b;
    const int64_t old = fresh < live ? fresh : live;
    for_gradients_of_h(s, {0, old}, [&](int64_t i, int64_t j, int64_t lanes, float dh) {
      dh += s.dy(i, j, lanes);
      if constexpr (Rule::passes) dh += s.passed(i, j, lanes);
      Rule::first(s, i, j, lanes, dh, Rule::prepare(s, i, j, lanes));
    });
    const Range last{old, live};
    if (b.cell == Cell::lstm) {
      for_elements(last, b.hidden, [&](int64_t i, int64_t j, int64_t lanes) {
        s.pass(i, j, lanes, b.dcn == nullptr ? 0.f : b.dcn[state_of(b.at, i) * b.hidden + j]);
      });
    }
    // Without a projection the thread of an element is the one that has written what passes by it.
    for_elements(last, b.state, [&](int64_t i, int64_t j, int64_t lanes) {
      const float dh = b.dhn == nullptr ? 0.f : b.dhn[state_of(b.at, i) * b.state + j];
      Rule::first(s, i, j, lanes, dh + s.dy(i, j, lanes), Rule::prepare(s, i, j, lanes));
    });
    if constexpr (has_second<Rule>) {
      grid_sync(barrier);
      const DeviceProduct p{s.middle, s.middle_row, b.middle_weights, b.state, b.hidden};
      for_products<1, rows, true>(p, {0, live}, [&](int64_t i, int64_t j, int64_t lanes, const float (&z)[1]) {
        Rule::second(s, i, j, lanes, z[0]);
      });
    }
  }
};

template <class Rule, class T>
void run_rule(Stream stream, const RecurrentBackward& b, uint32_t* barrier) {
  const int64_t columns = b.hidden > b.state ? b.hidden : b.state;
  const auto start = [&](auto kernel, int rows) {
    run_steps(stream, b.at.batch, columns, rows, step_shared_bytes(1, rows), kernel, b, barrier);
  };
  takes_rows(b.at.batch, columns) ? start(Backward<Rule, T, 2>{}, 2) : start(Backward<Rule, T, 1>{}, 1);
}

template <class T>
void run_cell(Stream stream, const RecurrentBackward& b, uint32_t* barrier) {
  switch (b.cell) {
    case Cell::tanh:
      return run_rule<RnnRule<TanhCell, T>, T>(stream, b, barrier);
    case Cell::relu:
      return run_rule<RnnRule<ReluCell, T>, T>(stream, b, barrier);
    case Cell::lstm:
      return b.projected ? run_rule<ProjectedRule<T>, T>(stream, b, barrier)
                         : run_rule<LstmRule<T>, T>(stream, b, barrier);
    case Cell::gru:
      return run_rule<GruRule<T>, T>(stream, b, barrier);
    case Cell::gru_reset_before:
      return run_rule<GruBeforeRule<T>, T>(stream, b, barrier);
  }
}

void backward(Stream stream, const RecurrentBackward& b, uint32_t* barrier) {
  b.bfloat16 ? run_cell<bfloat16>(stream, b, barrier) : run_cell<float>(stream, b, barrier);
}

}  // namespace

NONET_DEVICE_TABLE(RecurrentBackwardDevice, simt, {backward});

}  // namespace nonet::NONET_CUDA_NS::backward_pass
