#include "ops/recurrent/sequence.h"

#include <algorithm>

#include "ops/dropout/dropout.h"
#include "ops/recurrent/panels.h"

namespace nonet {

namespace {

bool is_bfloat16(const Array& x) {
  return x.dtype() == DType::bfloat16;
}
bool is_bfloat16(const RecurrentTape& tape) {
  return tape.dtype == DType::bfloat16;
}

// Of a layer and direction, as they were given.
struct Weights {
  Array w_ih, w_hh, b_ih, b_hh, w_hr;
};
Weights weights_of(const std::vector<Array>& all, const RecurrentOptions& o, int64_t number) {
  const Array* w = &all[number * o.weights()];
  Weights out{w[0], w[1], {}, {}, {}};
  if (o.bias) {
    out.b_ih = w[2];
    out.b_hh = w[3];
  }
  if (o.projected) out.w_hr = w[o.weights() - 1];
  return out;
}

struct Sizes {
  int64_t inputs, hidden, state;
};
Sizes sizes_of(const std::vector<Array>& weights, const RecurrentOptions& o) {
  const Weights first = weights_of(weights, o, 0);
  check_rank(first.w_ih, 2, o.op, "weight_ih_l0", "[g H, I]");
  check_rank(first.w_hh, 2, o.op, "weight_hh_l0", "[g H, S]");
  return {first.w_ih.dim(1), first.w_ih.dim(0) / gates_of(o.cell), first.w_hh.dim(1)};
}

void check_weights(const std::vector<Array>& weights, const Sizes& s, DType dtype, const RecurrentOptions& o) {
  const int64_t directions = o.directions();
  const int64_t rows = gates_of(o.cell) * s.hidden;
  check(s.hidden > 0 && (o.projected || s.state == s.hidden), o.op,
        ": weight_hh_l0 must have shape [g H, H] = ", Shape{rows, s.hidden}, ", got ",
        weights_of(weights, o, 0).w_hh.shape());
  for (int64_t i = 0; i < o.layers * directions; ++i) {
    const Weights w = weights_of(weights, o, i);
    const std::string end = "_l" + std::to_string(i / directions) + (i % directions == 1 ? "_reverse" : "");
    const auto check_one = [&](const Array& a, const char* name, const Shape& want) {
      if (!a.defined()) return;
      if (a.shape() != want || a.dtype() != weights[0].dtype()) [[unlikely]] {
        check_shape(a, want, o.op, (name + end).c_str(), "[like the layer]");
        check_dtype(a, weights[0].dtype(), o.op, (name + end).c_str());
      }
    };
    check_one(w.w_ih, "weight_ih", {rows, i < directions ? s.inputs : directions * s.state});
    check_one(w.w_hh, "weight_hh", {rows, s.state});
    check_one(w.b_ih, "bias_ih", {rows});
    check_one(w.b_hh, "bias_hh", {rows});
    check_one(w.w_hr, "weight_hr", {s.state, s.hidden});
  }
  check<TypeError>(weights[0].dtype() == dtype || (o.numerics.mixed && is_floating(weights[0].dtype())), o.op,
                   ": weights must be ", dtype, " like input, got ", weights[0].dtype());
}

// [L D, B, size] in float32, if it is given.
Array check_state(const Array& state, const char* name, const Shape& shape, const Array& x, const RecurrentOptions& o) {
  if (!state.defined()) return {};
  check_shape(state, shape, o.op, name, "[layers, B, size] without the axes that input lacks");
  check<TypeError>(state.dtype() == x.dtype() || (o.numerics.mixed && is_floating(state.dtype())), o.op, ": ", name,
                   " must be ", x.dtype(), " like input, got ", state.dtype());
  return state.to(DType::float32);
}

const float* part(const Array& states, int64_t number, int64_t floats) {
  return states.defined() ? states.data<float>() + number * floats : nullptr;
}

// Every bias that is added to the x-part; what GRU adds to the h-part of its candidate is not.
Array joined_bias(const Weights& w, Cell cell, int64_t hidden) {
  if (!w.b_ih.defined()) return {};
  const Array a = w.b_ih.to(DType::float32);
  const Array b = w.b_hh.to(DType::float32);
  const Array out(a.shape());
  const float* x = a.data<float>();
  const float* z = b.data<float>();
  float* to = out.data<float>();
  const int64_t both = (cell == Cell::gru ? 2 : gates_of(cell)) * hidden;
  for (int64_t i = 0; i < out.numel(); ++i) to[i] = i < both ? x[i] + z[i] : x[i];
  return out;
}

Array input_part(const Array& in, const Weights& w, const Array& bias, const Numerics& numerics) {
  const int64_t columns = w.w_ih.dim(0);
  const Array out(Shape{in.dim(0), columns});
  const Gemm g{.m = in.dim(0),
               .n = columns,
               .k = in.dim(1),
               .a = in.raw<void>(),
               .lda = in.dim(1),
               .transpose_a = false,
               .b = w.w_ih.raw<void>(),
               .ldb = in.dim(1),
               .transpose_b = true,
               .c = out.data<float>(),
               .a_is_bfloat16 = is_bfloat16(in),
               .b_is_bfloat16 = is_bfloat16(w.w_ih),
               .bias = bias.defined() ? bias.data<float>() : nullptr,
               .precision = numerics.precision};
  run_gemm(g, &w.w_ih);
  return out;
}

// A job and what it points to.
template <class Job>
struct Owned {
  Job job{};
  std::vector<Array> memory;

  template <class T>
  T* hold(Array array) {
    memory.push_back(std::move(array));
    return memory.back().template raw<T>();
  }
};

// States of sequences without a step pass.
void pass_states(const StepLayout& layout, const float* from, float* to, int64_t size) {
  for (const int64_t i : layout.empty()) {
    if (from == nullptr) {
      std::fill_n(to + i * size, size, 0.f);
    } else {
      std::copy_n(from + i * size, size, to + i * size);
    }
  }
}

void forward_layer(RecurrentTape& tape, int64_t layer, const Array& in, const Array& h0, const Array& c0,
                   const Sizes& s, const Array& y, const Array& hn, const Array& cn, bool keep) {
  const RecurrentOptions& o = tape.options;
  const StepLayout& layout = tape.layout;
  const int64_t batch = layout.batch();
  const int64_t rows = layout.rows();
  Owned<RecurrentForward> owned[2];
  RecurrentForward jobs[2];
  for (int64_t d = 0; d < o.directions(); ++d) {
    const int64_t number = layer * o.directions() + d;
    const Weights w = weights_of(tape.weights, o, number);
    auto& own = owned[d];
    RecurrentForward& f = own.job;
    f.cell = o.cell;
    f.at = layout.at(d == 1);
    f.hidden = s.hidden;
    f.state = s.state;
    f.projected = o.projected;
    f.bfloat16 = is_bfloat16(tape);
    f.gates = own.hold<float>(input_part(in, w, joined_bias(w, o.cell, s.hidden), o.numerics));
    const int64_t first = first_gates_of(o.cell);
    f.weights = own.hold<float>(panels_of_rows(w.w_hh, 0, first, s.hidden));
    if (o.projected) f.middle_weights = own.hold<float>(panels_of_rows(w.w_hr, 0, 1, s.state));
    if (o.cell == Cell::gru_reset_before)
      f.middle_weights = own.hold<float>(panels_of_rows(w.w_hh, first * s.hidden, 1, s.hidden));
    if (o.cell == Cell::gru && o.bias) f.bias = own.hold<float>(w.b_hh.to(DType::float32)) + 2 * s.hidden;
    f.h0 = part(h0, number, batch * s.state);
    f.c0 = part(c0, number, batch * s.hidden);
    f.hn = hn.data<float>() + number * batch * s.state;
    f.cn = cn.defined() ? cn.data<float>() + number * batch * s.hidden : nullptr;
    f.y_row = o.directions() * s.state;
    f.y = y.raw<char>() + d * s.state * item_size(y.dtype());
    if (keep) {
      auto& kept = tape.layers[layer].direction[d];
      const auto make = [&](int64_t columns) { return Array(Shape{rows, columns}, tape.dtype); };
      if (kept_of(o.cell) > 0) kept.kept = make(kept_of(o.cell) * s.hidden);
      if (o.cell == Cell::lstm) kept.cells = make(s.hidden);
      kept.before = make(s.state);
      if (has_middle(o.cell, o.projected)) kept.middle = make(s.hidden);
      f.kept = kept.kept.defined() ? kept.kept.raw<void>() : nullptr;
      f.cells = kept.cells.defined() ? kept.cells.raw<void>() : nullptr;
      f.before = kept.before.raw<void>();
      f.middle = kept.middle.defined() ? kept.middle.raw<void>() : nullptr;
    }
    f.workspace = own.hold<float>(Array(Shape{recurrent_forward_kernels().workspace(f)}));
    pass_states(layout, f.h0, f.hn, s.state);
    if (f.cn != nullptr) pass_states(layout, f.c0, f.cn, s.hidden);
    jobs[d] = f;
  }
  recurrent_forward_kernels().run(jobs, o.directions());
}

PhiloxKey no_key() {
  return {0, 0};
}

}  // namespace

RecurrentOutput recurrent_forward(const Array& x, const StepLayout& layout, const Array& h0, const Array& c0,
                                  std::vector<Array> weights, const std::vector<PhiloxKey>& keys,
                                  const RecurrentOptions& o, bool keep) {
  check_floating(x, o.op, "input");
  check_on_cpu(x, o.op);
  check(static_cast<int64_t>(weights.size()) == o.layers * o.directions() * o.weights() && o.layers > 0, o.op,
        ": expected ", o.layers * o.directions() * o.weights(), " weights, got ", weights.size());
  check(!o.projected || o.cell == Cell::lstm, o.op, ": only LSTM has a projection");
  const Sizes s = sizes_of(weights, o);
  check(x.shape().back() == s.inputs, o.op, ": input must have shape [..., I] = [..., ", s.inputs, "], got ",
        x.shape());
  check_weights(weights, s, x.dtype(), o);
  const auto tape = std::make_shared<RecurrentTape>();
  tape->options = o;
  if (keys.empty()) tape->options.dropout = 0;
  tape->layout = layout;
  tape->x_shape = x.shape();
  tape->x_dtype = x.dtype();
  tape->dtype = o.numerics.mixed ? DType::bfloat16 : x.dtype();
  tape->weights = std::move(weights);
  tape->layers.resize(o.layers);
  tape->h_shape = layout.state_shape(o.layers * o.directions(), s.state);
  tape->c_shape = layout.state_shape(o.layers * o.directions(), s.hidden);
  tape->h_dtype = h0.defined() ? h0.dtype() : tape->dtype;
  tape->c_dtype = c0.defined() ? c0.dtype() : tape->dtype;
  const Array h = check_state(h0, "h0", tape->h_shape, x, o);
  const Array c = check_state(c0, "c0", tape->c_shape, x, o);
  const Array hn(tape->h_shape);
  const Array cn = o.cell == Cell::lstm ? Array(tape->c_shape) : Array();
  Array in = layout.to_rows(x);
  for (int64_t layer = 0; layer < o.layers; ++layer) {
    const Array y(Shape{layout.rows(), o.directions() * s.state}, tape->dtype);
    forward_layer(*tape, layer, in, h, c, s, y, hn, cn, keep);
    RecurrentTape::Layer& kept = tape->layers[layer];
    kept.key = layer < static_cast<int64_t>(keys.size()) ? keys[layer] : no_key();
    if (keep) {
      kept.in = in;
      if (kept_of(o.cell) == 0) kept.y = y;
    }
    in = y;
    if (layer + 1 < o.layers && !keys.empty()) {
      const float scale = o.dropout == 1.f ? 0.f : 1.f / (1.f - o.dropout);
      in = dropout(y, kept.key, o.dropout, {scale, 0, 0}, y.numel());
    }
  }
  const Array y = layout.from_rows(in);
  tape->y_shape = y.shape();
  return {y, hn.to(tape->dtype), cn.defined() ? cn.to(tape->dtype) : Array(), keep ? tape : nullptr};
}

// ---------------------------------------------------------------- backward

namespace {

// Rows [first, first + count) of a weight's gradient = a^T b: a [rows, lda] from column `from` on, b [rows, n].
struct Part {
  const Array& a;
  int64_t from, count;
  const Array& b;
  int64_t first;
};
void weight_gradient(const Part& p, const Array& out, const Numerics& numerics) {
  const Gemm g{.m = p.count,
               .n = p.b.dim(1),
               .k = p.a.dim(0),
               .a = p.a.raw<char>() + p.from * item_size(p.a.dtype()),
               .lda = p.a.dim(1),
               .transpose_a = true,
               .b = p.b.raw<void>(),
               .ldb = p.b.dim(1),
               .transpose_b = false,
               .c = out.raw<char>() + p.first * p.b.dim(1) * item_size(out.dtype()),
               .a_is_bfloat16 = is_bfloat16(p.a),
               .b_is_bfloat16 = is_bfloat16(p.b),
               .c_is_bfloat16 = is_bfloat16(out),
               .precision = numerics.precision};
  run_gemm(g);
}

// Calls fill(target) and hands the result over, if the gradient is wanted.
template <class Fill>
void deliver(Array* out, const Array& like, const char* op, const Fill& fill) {
  if (out == nullptr) return;
  const Array target = gradient_target(*out, like.shape(), op, like.dtype());
  fill(target);
  deliver_gradient(target, like.dtype(), *out, op);
}

// dW and db of a layer and direction.
void weight_gradients(const RecurrentTape& tape, int64_t layer, int64_t number, const Array& dz, const Array& dstate,
                      const RecurrentGradients& out) {
  const RecurrentOptions& o = tape.options;
  const Weights w = weights_of(tape.weights, o, number);
  const RecurrentTape::Layer& kept = tape.layers[layer];
  const RecurrentTape::Direction& own = kept.direction[number % o.directions()];
  Array* const* wanted = &out.weights[number * o.weights()];
  const int64_t rows = w.w_ih.dim(0);
  const int64_t hidden = rows / gates_of(o.cell);
  deliver(wanted[0], w.w_ih, o.op,
          [&](const Array& dw) { weight_gradient({dz, 0, rows, kept.in, 0}, dw, o.numerics); });
  deliver(wanted[1], w.w_hh, o.op, [&](const Array& dw) {
    const int64_t first = o.cell == Cell::gru ? 2 * hidden : first_gates_of(o.cell) * hidden;
    weight_gradient({dz, 0, first, own.before, 0}, dw, o.numerics);
    if (o.cell == Cell::gru) weight_gradient({dz, 3 * hidden, hidden, own.before, first}, dw, o.numerics);
    if (o.cell == Cell::gru_reset_before) weight_gradient({dz, first, hidden, own.middle, first}, dw, o.numerics);
  });
  if (o.projected) {
    deliver(wanted[o.weights() - 1], w.w_hr, o.op,
            [&](const Array& dw) { weight_gradient({dstate, 0, dstate.dim(1), own.middle, 0}, dw, o.numerics); });
  }
  if (!o.bias || (wanted[2] == nullptr && wanted[3] == nullptr)) return;
  const Array sums(Shape{dz.dim(1)});
  bias_gradient(dz, dz.dim(0), dz.dim(1), sums);
  for (int64_t i = 2; i < 4; ++i) {
    if (wanted[i] == nullptr) continue;
    Array value = sums;
    if (o.cell == Cell::gru) {  // the sums of r, u and one of the two of n
      value = Array(Shape{rows});
      std::copy_n(sums.data<float>(), rows, value.data<float>());
      if (i == 3) std::copy_n(sums.data<float>() + rows, hidden, value.data<float>() + 2 * hidden);
    } else if (i == 3 && !wanted[i]->defined()) {
      value = sums.clone();
    }
    deliver_gradient(value, w.b_ih.dtype(), *wanted[i], o.op);
  }
}

// dX [rows, I] of a layer, from all its directions.
Array input_gradient(const RecurrentTape& tape, int64_t layer, const Array (&dz)[2]) {
  const RecurrentOptions& o = tape.options;
  const Array& in = tape.layers[layer].in;
  const DType dtype = o.bidirectional ? DType::float32 : in.dtype();
  const Array dx(in.shape(), dtype);
  for (int64_t d = 0; d < o.directions(); ++d) {
    const Weights w = weights_of(tape.weights, o, layer * o.directions() + d);
    const Gemm g{.m = in.dim(0),
                 .n = in.dim(1),
                 .k = w.w_ih.dim(0),
                 .a = dz[d].raw<void>(),
                 .lda = dz[d].dim(1),
                 .transpose_a = false,
                 .b = w.w_ih.raw<void>(),
                 .ldb = in.dim(1),
                 .transpose_b = false,
                 .c = dx.raw<void>(),
                 .a_is_bfloat16 = is_bfloat16(dz[d]),
                 .b_is_bfloat16 = is_bfloat16(w.w_ih),
                 .c_is_bfloat16 = is_bfloat16(dx),
                 .accumulate = d > 0,
                 .precision = o.numerics.precision};
    run_gemm(g);
  }
  return dx.to(in.dtype());
}

// The gradients of the states, [L D, B, size] in float32.
struct States {
  Array dhn, dcn;  // undefined: zeros
  Array dh0, dc0;  // undefined: not wanted
};

// dy: [rows, D S] or undefined. Gives dz of each direction.
void backward_layer(const RecurrentTape& tape, int64_t layer, const Array& dy, const States& states, const Sizes& s,
                    Array (&dz)[2], const RecurrentGradients& out) {
  const RecurrentOptions& o = tape.options;
  const StepLayout& layout = tape.layout;
  const RecurrentTape::Layer& kept = tape.layers[layer];
  const int64_t batch = layout.batch();
  Owned<RecurrentBackward> owned[2];
  RecurrentBackward jobs[2];
  Array dstate[2];
  for (int64_t d = 0; d < o.directions(); ++d) {
    const int64_t number = layer * o.directions() + d;
    const Weights w = weights_of(tape.weights, o, number);
    const RecurrentTape::Direction& own_kept = kept.direction[d];
    auto& own = owned[d];
    RecurrentBackward& b = own.job;
    b.cell = o.cell;
    b.at = layout.at(d == 1);
    b.hidden = s.hidden;
    b.state = s.state;
    b.projected = o.projected;
    b.bfloat16 = is_bfloat16(tape);
    const int64_t first = first_gates_of(o.cell) * s.hidden;
    b.weights = own.hold<float>(panels_of_columns(w.w_hh, 0, first));
    if (o.projected) b.middle_weights = own.hold<float>(panels_of_columns(w.w_hr, 0, s.state));
    if (o.cell == Cell::gru_reset_before)
      b.middle_weights = own.hold<float>(panels_of_columns(w.w_hh, first, s.hidden));
    b.kept = own_kept.kept.defined() ? own_kept.kept.raw<void>() : nullptr;
    b.cells = own_kept.cells.defined() ? own_kept.cells.raw<void>() : nullptr;
    b.before = own_kept.before.raw<void>();
    const int64_t at = d * s.state * item_size(tape.dtype);
    b.y_row = b.dy_row = o.directions() * s.state;
    b.y = kept.y.defined() ? kept.y.raw<char>() + at : nullptr;
    b.dy = dy.defined() ? dy.raw<char>() + at : nullptr;
    b.dhn = part(states.dhn, number, batch * s.state);
    b.dcn = part(states.dcn, number, batch * s.hidden);
    b.dh0 = const_cast<float*>(part(states.dh0, number, batch * s.state));
    b.dc0 = const_cast<float*>(part(states.dc0, number, batch * s.hidden));
    dz[d] = Array(Shape{layout.rows(), gradients_of(o.cell) * s.hidden}, tape.dtype);
    b.dz = dz[d].raw<void>();
    if (o.projected) {
      dstate[d] = Array(Shape{layout.rows(), s.state}, tape.dtype);
      b.dstate = dstate[d].raw<void>();
    }
    b.workspace = own.hold<float>(Array(Shape{recurrent_backward_kernels().workspace(b)}));
    if (b.dh0 != nullptr) pass_states(layout, b.dhn, b.dh0, s.state);
    if (b.dc0 != nullptr) pass_states(layout, b.dcn, b.dc0, s.hidden);
    jobs[d] = b;
  }
  recurrent_backward_kernels().run(jobs, o.directions());
  for (int64_t d = 0; d < o.directions(); ++d)
    weight_gradients(tape, layer, layer * o.directions() + d, dz[d], dstate[d], out);
}

}  // namespace

void recurrent_backward(const RecurrentTape& tape, const Array& dy, const Array& dhn, const Array& dcn,
                        const RecurrentGradients& out) {
  const RecurrentOptions& o = tape.options;
  const Sizes s = sizes_of(tape.weights, o);
  const auto given = [&](const Array& g, const Shape& shape, const char* name) {
    if (!g.defined()) return Array();
    check_shape(g, shape, o.op, name, "[like the output]");
    return g;
  };
  States states;
  if (dhn.defined()) states.dhn = given(dhn, tape.h_shape, "gradient of hn").to(DType::float32);
  if (dcn.defined()) states.dcn = given(dcn, tape.c_shape, "gradient of cn").to(DType::float32);
  if (out.h0 != nullptr) states.dh0 = Array(tape.h_shape);
  if (out.c0 != nullptr) states.dc0 = Array(tape.c_shape);
  Array d = given(dy, tape.y_shape, "gradient");
  if (d.defined()) d = tape.layout.to_rows(d.to(tape.dtype));
  for (int64_t layer = o.layers - 1; layer >= 0; --layer) {
    Array dz[2];
    backward_layer(tape, layer, d, states, s, dz, out);
    if (layer == 0 && out.x == nullptr) break;
    d = input_gradient(tape, layer, dz);
    const bool dropped = layer > 0 && o.dropout > 0;
    if (dropped) {
      const float scale = o.dropout == 1.f ? 0.f : 1.f / (1.f - o.dropout);
      d = dropout_backward(d, tape.layers[layer - 1].key, o.dropout, scale, d.numel(), false);
    }
  }
  if (out.x != nullptr) deliver_gradient(tape.layout.from_rows(d).to(tape.x_dtype), tape.x_dtype, *out.x, o.op);
  if (out.h0 != nullptr) deliver_gradient(states.dh0, tape.h_dtype, *out.h0, o.op);
  if (out.c0 != nullptr) deliver_gradient(states.dc0, tape.c_dtype, *out.c0, o.op);
}

}  // namespace nonet
