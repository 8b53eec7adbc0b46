#include "ops/recurrent/layer.h"

#include <algorithm>
#include <string>

#include "ops/recurrent/panels.h"

namespace nonet {

RecurrentWeights weights_of(const std::vector<Array>& all, const RecurrentOptions& o, int64_t number) {
  const Array* w = &all[number * o.weights()];
  RecurrentWeights out{w[0], w[1], {}, {}, {}};
  if (o.bias) {
    out.b_ih = w[2];
    out.b_hh = w[3];
  }
  if (o.projected) out.w_hr = w[o.weights() - 1];
  return out;
}

RecurrentSizes sizes_of(const std::vector<Array>& weights, const RecurrentOptions& o) {
  check_rank(weights[0], 2, o.op, "weight_ih_l0", "[g H, I]");
  check_rank(weights[1], 2, o.op, "weight_hh_l0", "[g H, S]");
  return {weights[0].dim(1), weights[0].dim(0) / gates_of(o.cell), weights[1].dim(1)};
}

namespace {

bool is_bfloat16(const Array& x) {
  return x.dtype() == DType::bfloat16;
}

void check_weights(const std::vector<Array>& weights, const RecurrentSizes& s, DType dtype, const RecurrentOptions& o) {
  const int64_t directions = o.directions();
  const int64_t rows = gates_of(o.cell) * s.hidden;
  check(s.hidden > 0 && (o.projected || s.state == s.hidden), o.op,
        ": weight_hh_l0 must have shape [g H, H] = ", Shape{rows, s.hidden}, ", got ", weights[1].shape());
  const DType own = weights[0].dtype();
  for (int64_t i = 0; i < o.layers * directions; ++i) {
    const RecurrentWeights w = weights_of(weights, o, i);
    const auto check_one = [&](const Array& a, const char* name, const Shape& want) {
      if (!a.defined() || (a.shape() == want && a.dtype() == own)) return;
      const std::string full = name + ("_l" + std::to_string(i / directions)) + (i % directions == 1 ? "_reverse" : "");
      check_shape(a, want, o.op, full.c_str(), "[like the layer]");
      check_dtype(a, own, o.op, full.c_str());
    };
    check_one(w.w_ih, "weight_ih", {rows, i < directions ? s.inputs : directions * s.state});
    check_one(w.w_hh, "weight_hh", {rows, s.state});
    check_one(w.b_ih, "bias_ih", {rows});
    check_one(w.b_hh, "bias_hh", {rows});
    check_one(w.w_hr, "weight_hr", {s.state, s.hidden});
  }
  check<TypeError>(own == dtype || (o.numerics.mixed && is_floating(own)), o.op, ": weights must be ", dtype,
                   " like input, got ", own);
}

}  // namespace

RecurrentSizes check_call(const Array& x, const std::vector<Array>& weights, const RecurrentOptions& o) {
  check_floating(x, o.op, "input");
  check_on_cpu(x, o.op);
  const int64_t count = o.layers * o.directions() * o.weights();
  check(o.layers > 0 && static_cast<int64_t>(weights.size()) == count, o.op, ": expected ", count, " weights, got ",
        weights.size());
  check(!o.projected || o.cell == Cell::lstm, o.op, ": only LSTM has a projection");
  const RecurrentSizes s = sizes_of(weights, o);
  check(x.shape().back() == s.inputs, o.op, ": input must have shape [..., I] = [..., ", s.inputs, "], got ",
        x.shape());
  check_weights(weights, s, x.dtype(), o);
  return s;
}

Array check_state(const Array& state, const char* name, const Shape& shape, const Array& x, const RecurrentOptions& o) {
  if (!state.defined()) return {};
  check_shape(state, shape, o.op, name, "[layers, B, size] without the axes that input lacks");
  check<TypeError>(state.dtype() == x.dtype() || (o.numerics.mixed && is_floating(state.dtype())), o.op, ": ", name,
                   " must be ", x.dtype(), " like input, got ", state.dtype());
  return state.to(DType::float32);
}

const float* states_part(const Array& states, int64_t number, int64_t floats) {
  return states.defined() ? states.data<float>() + number * floats : nullptr;
}

void pass_states(const StepLayout& layout, const float* from, float* to, int64_t size) {
  for (const int64_t i : layout.empty()) {
    if (from == nullptr) {
      std::fill_n(to + i * size, size, 0.f);
    } else if (from != to) {
      std::copy_n(from + i * size, size, to + i * size);
    }
  }
}

namespace {

// Memory of so many floats.
float* fit(Array& memory, int64_t floats) {
  if (!memory.defined() || memory.numel() != floats) memory = Array(Shape{floats});
  return memory.data<float>();
}

// Every bias that is added to the x-part; what GRU adds to the h-part of its candidate is not.
const float* joined_bias(const RecurrentWeights& w, Cell cell, int64_t hidden, Array& memory) {
  if (!w.b_ih.defined()) return nullptr;
  const Array a = w.b_ih.to(DType::float32);
  const Array b = w.b_hh.to(DType::float32);
  const float* x = a.data<float>();
  const float* z = b.data<float>();
  float* to = fit(memory, a.numel());
  const int64_t both = (cell == Cell::gru ? 2 : gates_of(cell)) * hidden;
  for (int64_t i = 0; i < both; ++i) to[i] = x[i] + z[i];
  for (int64_t i = both; i < a.numel(); ++i) to[i] = x[i];
  return to;
}

const float* input_part(const Array& in, const RecurrentWeights& w, const float* bias, const Numerics& numerics,
                        Array& memory) {
  const int64_t columns = w.w_ih.dim(0);
  const Gemm g{.m = in.dim(0),
               .n = columns,
               .k = in.dim(1),
               .a = in.raw<void>(),
               .lda = in.dim(1),
               .transpose_a = false,
               .b = w.w_ih.raw<void>(),
               .ldb = in.dim(1),
               .transpose_b = true,
               .c = fit(memory, in.dim(0) * columns),
               .a_is_bfloat16 = is_bfloat16(in),
               .b_is_bfloat16 = is_bfloat16(w.w_ih),
               .bias = bias,
               .precision = numerics.precision};
  run_gemm(g, &w.w_ih);
  return memory.data<float>();
}

void keep_for_backward(const LayerCall& call, DType dtype, RecurrentForward& f, RecurrentTape::Direction& kept) {
  const auto make = [&](Array& array, int64_t columns) {
    array = Array(Shape{call.layout.rows(), columns}, dtype);
    return array.raw<void>();
  };
  const RecurrentSizes& s = call.sizes;
  if (kept_of(f.cell) > 0) f.kept = make(kept.kept, kept_of(f.cell) * s.hidden);
  if (f.cell == Cell::lstm) f.cells = make(kept.cells, s.hidden);
  f.before = make(kept.before, s.state);
  if (has_middle(f.cell, f.projected)) f.middle = make(kept.middle, s.hidden);
}

}  // namespace

void forward_layer(const LayerCall& call, const Array& in, const Array& h0, const Array& c0, const Array& y,
                   const Array& hn, const Array& cn, RecurrentTape::Layer* kept, DirectionMemory (&memory)[2]) {
  const RecurrentOptions& o = call.options;
  const RecurrentSizes& s = call.sizes;
  const int64_t batch = call.layout.batch();
  RecurrentForward jobs[2];
  for (int64_t d = 0; d < o.directions(); ++d) {
    const int64_t number = call.layer * o.directions() + d;
    const RecurrentWeights w = weights_of(call.weights, o, number);
    DirectionMemory& own = memory[d];
    RecurrentForward& f = jobs[d];
    f = {};
    f.cell = o.cell;
    f.at = call.layout.at(d == 1);
    f.hidden = s.hidden;
    f.state = s.state;
    f.projected = o.projected;
    f.bfloat16 = is_bfloat16(y);
    f.gates = input_part(in, w, joined_bias(w, o.cell, s.hidden, own.bias), o.numerics, own.gates);
    const int64_t first = first_gates_of(o.cell);
    own.panels = panels_of_rows(w.w_hh, 0, first, s.hidden);
    if (o.projected) own.middle_panels = panels_of_rows(w.w_hr, 0, 1, s.state);
    if (o.cell == Cell::gru_reset_before) own.middle_panels = panels_of_rows(w.w_hh, first * s.hidden, 1, s.hidden);
    f.weights = own.panels.raw<float>();
    if (own.middle_panels.defined()) f.middle_weights = own.middle_panels.raw<float>();
    if (o.cell == Cell::gru && o.bias) {
      own.candidate_bias = w.b_hh.to(DType::float32);
      f.bias = own.candidate_bias.data<float>() + 2 * s.hidden;
    }
    f.h0 = states_part(h0, number, batch * s.state);
    f.c0 = states_part(c0, number, batch * s.hidden);
    f.hn = const_cast<float*>(states_part(hn, number, batch * s.state));
    f.cn = const_cast<float*>(states_part(cn, number, batch * s.hidden));
    f.y_row = o.directions() * s.state;
    f.y = y.raw<char>() + d * s.state * item_size(y.dtype());
    if (kept != nullptr) keep_for_backward(call, y.dtype(), f, kept->direction[d]);
    f.workspace = fit(own.workspace, recurrent_forward_kernels().workspace(f));
    pass_states(call.layout, f.h0, f.hn, s.state);
    if (f.cn != nullptr) pass_states(call.layout, f.c0, f.cn, s.hidden);
  }
  recurrent_forward_kernels().run(jobs, o.directions());
}

}  // namespace nonet
