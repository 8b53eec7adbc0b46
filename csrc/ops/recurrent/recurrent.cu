#include "base/dtype.h"
#include "ops/recurrent/products.cuh"
//
#include "ops/recurrent/forward_rules.h"

namespace nonet::NONET_CUDA_NS::forward_pass {

namespace {

template <class Rule, class T, int rows>
struct Forward {
  static constexpr int max_threads = step_threads;

  NONET_DEVICE void operator()(const RecurrentForward& f, GridBarrier* barrier) const {
    const int64_t h_row = padded(f.state);
    float* h = f.workspace;
    float* next = h + f.at.batch * h_row;
    float* c = next + f.at.batch * h_row;
    float* middle = c + (f.cell == Cell::lstm ? f.at.batch * f.hidden : 0);
    int64_t live = 0;
    NONET_ROLLED
    for (int64_t step = 0; step < f.at.steps; ++step) {
      const int64_t before = live;
      live = live_in(f, step);
      if (live > before) {
        load_states(f, {before, live}, h, h_row, c);
        grid_sync(barrier);
      }
      const int64_t t = f.at.reverse ? f.at.steps - 1 - step : step;
      const int64_t row = first_row(f.at, t);
      const Here<T> here{f, row, given_part(f, row), h, next, h_row, c, middle, padded(f.hidden)};
      products(here, live, barrier);
      grid_sync(barrier);
      const int64_t after = live_in(f, step + 1);
      if (after < live) store_states(f, {after, live}, next, h_row, c);
      float* const swap = h;
      h = next;
      next = swap;
    }
  }

 private:
  static NONET_DEVICE int64_t live_in(const RecurrentForward& f, int64_t step) {
    return step < f.at.steps ? live_at(f.at, f.at.reverse ? f.at.steps - 1 - step : step) : 0;
  }

  NONET_DEVICE void products(const Here<T>& s, int64_t live, GridBarrier* barrier) const {
    const RecurrentForward& f = s.f;
    const DeviceProduct first{s.h, s.h_row, f.weights, f.state, f.hidden};
    for_products<Rule::gates, rows, false>(first, {0, live},
                                           [&](int64_t i, int64_t j, int64_t lanes, const float (&z)[Rule::gates]) {
                                             const float out = Rule::finish(s, i, j, lanes, activated(s, i, j, z).of);
                                             if constexpr (has_second<Rule>) {
                                               s.store_middle(i, j, lanes, out);
                                             } else {
                                               finish_state(s, i, j, lanes, out);
                                             }
                                           });
    if constexpr (has_second<Rule>) {
      grid_sync(barrier);
      const DeviceProduct second{s.middle, s.middle_row, f.middle_weights, f.hidden, f.state};
      for_products<1, rows, false>(second, {0, live}, [&](int64_t i, int64_t j, int64_t lanes, const float (&z)[1]) {
        finish_state(s, i, j, lanes, Rule::second(s, i, j, lanes, z));
      });
    }
  }

  // What Rule::finish takes, of the sums of an element.
  struct Sums {
    float of[Rule::gates];
  };
  static NONET_DEVICE Sums activated(const Here<T>& s, int64_t i, int64_t j, const float (&z)[Rule::gates]) {
    Sums out;
    NONET_UNROLL
    for (int g = 0; g < Rule::gates; ++g) {
      out.of[g] = g < Rule::activated ? Rule::activate(g, s.gate(i, j, 1, g) + z[g]) : z[g];
    }
    return out;
  }

  // Of sequences that begin, zeros where none are given.
  NONET_DEVICE void load_states(const RecurrentForward& f, const Range& fresh, float* h, int64_t h_row,
                                float* c) const {
    for_elements(fresh, f.state, [&](int64_t i, int64_t j, int64_t) {
      h[i * h_row + j] = f.h0 == nullptr ? 0.f : f.h0[state_of(f.at, i) * f.state + j];
    });
    if (f.cell != Cell::lstm) return;
    for_elements(fresh, f.hidden, [&](int64_t i, int64_t j, int64_t) {
      c[i * f.hidden + j] = f.c0 == nullptr ? 0.f : f.c0[state_of(f.at, i) * f.hidden + j];
    });
  }
  NONET_DEVICE void store_states(const RecurrentForward& f, const Range& done, const float* h, int64_t h_row,
                                 const float* c) const {
    for_elements(done, f.state,
                 [&](int64_t i, int64_t j, int64_t) { f.hn[state_of(f.at, i) * f.state + j] = h[i * h_row + j]; });
    if (f.cell != Cell::lstm) return;
    for_elements(done, f.hidden,
                 [&](int64_t i, int64_t j, int64_t) { f.cn[state_of(f.at, i) * f.hidden + j] = c[i * f.hidden + j]; });
  }
};

template <class Rule, class T>
void run_rule(Stream stream, const RecurrentForward& f, uint32_t* barrier) {
  const int64_t columns = f.hidden > f.state ? f.hidden : f.state;
  const auto start = [&](auto kernel, int rows) {
    run_steps(stream, f.at.batch, columns, rows, step_shared_bytes(Rule::gates, rows), kernel, f, barrier);
  };
  takes_rows(f.at.batch, columns) ? start(Forward<Rule, T, 2>{}, 2) : start(Forward<Rule, T, 1>{}, 1);
}

template <class T>
void run_cell(Stream stream, const RecurrentForward& f, uint32_t* barrier) {
  switch (f.cell) {
    case Cell::tanh:
      return run_rule<RnnRule<TanhCell, T>, T>(stream, f, barrier);
    case Cell::relu:
      return run_rule<RnnRule<ReluCell, T>, T>(stream, f, barrier);
    case Cell::lstm:
      return f.projected ? run_rule<ProjectedRule<T>, T>(stream, f, barrier)
                         : run_rule<LstmRule<T>, T>(stream, f, barrier);
    case Cell::gru:
      return run_rule<GruRule<T>, T>(stream, f, barrier);
    case Cell::gru_reset_before:
      return run_rule<GruBeforeRule<T>, T>(stream, f, barrier);
  }
}

void forward(Stream stream, const RecurrentForward& f, uint32_t* barrier) {
  f.bfloat16 ? run_cell<bfloat16>(stream, f, barrier) : run_cell<float>(stream, f, barrier);
}

// ---------------------------------------------------------------- around the steps
template <class T>
struct JoinBias {
  NONET_DEVICE void operator()(const T* x, const T* z, float* to, int64_t both, int64_t n) const {
    for_grid(n, [&](int64_t i) { to[i] = as_float(x[i]) + (i < both ? as_float(z[i]) : 0.f); });
  }
};

void join_bias(Stream stream, DType dtype, const void* x, const void* z, float* to, int64_t both, int64_t n) {
  visit_floating(dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    run_elements(stream, n, JoinBias<T>{}, static_cast<const T*>(x), static_cast<const T*>(z), to, both, n);
  });
}

template <class T>
struct MoveRows {
  NONET_DEVICE void operator()(const T* from, T* to, const int64_t* source, int64_t count, int64_t size,
                               bool gather) const {
    for_grid(count * size, [&](int64_t n) {
      const int64_t row = n / size;
      const int64_t far = source[row] * size + n % size;
      to[gather ? n : far] = from[gather ? far : n];
    });
  }
};

void move_rows(Stream stream, DType dtype, const void* from, void* to, const int64_t* source, int64_t count,
               int64_t size, bool gather) {
  visit_floating(dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    run_elements(stream, count * size, MoveRows<T>{}, static_cast<const T*>(from), static_cast<T*>(to), source, count,
                 size, gather);
  });
}

}  // namespace

NONET_DEVICE_TABLE(RecurrentForwardDevice, simt, {forward, join_bias, move_rows});

}  // namespace nonet::NONET_CUDA_NS::forward_pass
