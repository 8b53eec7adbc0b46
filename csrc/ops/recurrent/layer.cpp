#include "ops/recurrent/layer.h"

#include <algorithm>
#include <string>

#include "array/launch.h"
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
  const int64_t count = o.layers * o.directions() * o.weights();
  check(o.layers > 0 && static_cast<int64_t>(weights.size()) == count, o.op, ": expected ", count, " weights, got ",
        weights.size());
  check(!o.projected || o.cell == Cell::lstm, o.op, ": only LSTM has a projection");
  const RecurrentSizes s = sizes_of(weights, o);
  check(x.shape().back() == s.inputs, o.op, ": input must have shape [..., I] = [..., ", s.inputs, "], got ",
        x.shape());
  check_weights(weights, s, x.dtype(), o);
  for (const Array& w : weights) check_same_device(x, w, o.op);
  return s;
}

Array check_state(const Array& state, const char* name, const Shape& shape, const Array& x, const RecurrentOptions& o) {
  if (!state.defined()) return {};
  check_shape(state, shape, o.op, name, "[layers, B, size] without the axes that input lacks");
  check<TypeError>(state.dtype() == x.dtype() || (o.numerics.mixed && is_floating(state.dtype())), o.op, ": ", name,
                   " must be ", x.dtype(), " like input, got ", state.dtype());
  check_same_device(x, state, o.op);
  return state.to(DType::float32);
}

const float* states_part(const Array& states, int64_t number, int64_t floats) {
  return states.defined() ? static_cast<const float*>(states.address()) + number * floats : nullptr;
}

void pass_states(const StepLayout& layout, const Array& from, const Array& to, int64_t number, int64_t size) {
  const std::vector<int64_t> empty = layout.empty();
  if (empty.empty()) return;
  const int64_t floats = layout.batch() * size;
  if (to.device() != Device::cpu) {  // all of them: those with steps are written again
    const Array part = to.view(number * floats, {floats});
    return from.defined() ? copy_into(part, from.view(number * floats, {floats}), "rnn") : fill(part, 0);
  }
  const float* source = states_part(from, number, floats);
  float* target = to.data<float>() + number * floats;
  for (const int64_t i : empty) {
    if (source == nullptr) {
      std::fill_n(target + i * size, size, 0.f);
    } else if (source != target) {
      std::copy_n(source + i * size, size, target + i * size);
    }
  }
}

Array weight_rows(const Array& weight, int64_t first) {
  return (first == 0 ? weight : weight.rows(first, weight.dim(0))).to(DType::float32);
}

Array grid_barrier(Device device) {
  return zeros({1}, DType::int32, device);
}

namespace {

// Memory of so many floats.
float* fit(Array& memory, int64_t floats, Device device) {
  if (!memory.defined() || memory.numel() != floats) {
    memory = Array(Shape{floats}, DType::float32, Format::plain, device);
  }
  return static_cast<float*>(memory.address());
}

// Every bias that is added to the x-part; what GRU adds to the h-part of its candidate is not.
const float* joined_bias(const RecurrentWeights& w, Cell cell, int64_t hidden, Array& memory, const char* op) {
  if (!w.b_ih.defined()) return nullptr;
  const int64_t both = (cell == Cell::gru ? 2 : gates_of(cell)) * hidden;
  if (w.b_ih.device() != Device::cpu) {
    const int64_t n = w.b_ih.numel();
    fit(memory, n, w.b_ih.device());
    on_device(&RecurrentForwardDevice::join_bias, op, memory, w.b_ih.dtype(), w.b_ih, w.b_hh, memory, both, n);
    return static_cast<const float*>(memory.address());
  }
  const Array a = w.b_ih.to(DType::float32);
  const Array b = w.b_hh.to(DType::float32);
  const float* x = a.data<float>();
  const float* z = b.data<float>();
  float* to = fit(memory, a.numel(), Device::cpu);
  for (int64_t i = 0; i < both; ++i) to[i] = x[i] + z[i];
  for (int64_t i = both; i < a.numel(); ++i) to[i] = x[i];
  return to;
}

const float* input_part(const Array& in, const RecurrentWeights& w, const float* bias, const RecurrentOptions& o,
                        Array& memory) {
  const int64_t columns = w.w_ih.dim(0);
  const Gemm g{.m = in.dim(0),
               .n = columns,
               .k = in.dim(1),
               .a = in.address(),
               .lda = in.dim(1),
               .transpose_a = false,
               .b = w.w_ih.address(),
               .ldb = in.dim(1),
               .transpose_b = true,
               .c = fit(memory, in.dim(0) * columns, in.device()),
               .a_is_bfloat16 = is_bfloat16(in),
               .b_is_bfloat16 = is_bfloat16(w.w_ih),
               .bias = bias,
               .precision = o.numerics.precision};
  run_gemm(g, memory, o.op, &w.w_ih);
  return static_cast<const float*>(memory.address());
}

// Whether steps are many and batches such that the threads of the steps, which may be fewer than there are, can make
// the x-part as they go: it would otherwise be written to memory and read from there. AMX multiplies faster than they.
bool makes_input_part(const RecurrentForward& f, const Array& in, const RecurrentOptions& o) {
  if (in.device() != Device::cpu || (isa() == Isa::amx && o.numerics.precision != Precision::ieee)) return false;
  const bool rounds = f.pairs != nullptr && o.numerics.precision != Precision::medium && !is_bfloat16(in);
  return !rounds && f.at.steps >= 4 && f.at.batch >= 16 && f.at.batch <= 256 && in.dim(1) > 0 && in.dim(1) <= 1024 &&
         f.at.rows * gates_of(f.cell) * f.hidden > int64_t{1} << 16;
}

void keep_for_backward(const LayerCall& call, const Array& y, RecurrentForward& f, RecurrentTape::Direction& kept) {
  const auto make = [&](Array& array, int64_t columns) {
    array = Array(Shape{call.layout.rows(), columns}, y.dtype(), Format::plain, y.device());
    return array.address();
  };
  const RecurrentSizes& s = call.sizes;
  if (kept_of(f.cell) > 0) f.kept = make(kept.kept, kept_of(f.cell) * s.hidden);
  if (f.cell == Cell::lstm) f.cells = make(kept.cells, s.hidden);
  f.before = make(kept.before, s.state);
  if (has_middle(f.cell, f.projected)) f.middle = make(kept.middle, s.hidden);
}

// W_hh in the form that kernels read.
void prepare_weights(const RecurrentWeights& w, const RecurrentOptions& o, const RecurrentSizes& s,
                     DirectionMemory& own, RecurrentForward& f) {
  const int64_t first = first_gates_of(o.cell);
  const bool reset_before = o.cell == Cell::gru_reset_before;
  if (w.w_hh.device() != Device::cpu) {
    own.panels = weight_rows(w.w_hh, 0);
    if (o.projected) own.middle_panels = weight_rows(w.w_hr, 0);
    if (reset_before) own.middle_panels = own.panels.rows(first * s.hidden, w.w_hh.dim(0));
  } else {
    f.pairs = pairs_for(w.w_hh, f.bfloat16, o.numerics);
    own.panels = panels_of_rows(w.w_hh, 0, first, s.hidden, f.pairs);
    if (o.projected) own.middle_panels = panels_of_rows(w.w_hr, 0, 1, s.state, f.pairs);
    if (reset_before) own.middle_panels = panels_of_rows(w.w_hh, first * s.hidden, 1, s.hidden, f.pairs);
  }
  f.weights = static_cast<const float*>(own.panels.address());
  if (own.middle_panels.defined()) f.middle_weights = static_cast<const float*>(own.middle_panels.address());
  if (o.cell == Cell::gru && o.bias) {
    own.candidate_bias = w.b_hh.to(DType::float32);
    f.bias = static_cast<const float*>(own.candidate_bias.address()) + 2 * s.hidden;
  }
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
    prepare_weights(w, o, s, own, f);
    f.bias_of_x = joined_bias(w, o.cell, s.hidden, own.bias, o.op);
    if (makes_input_part(f, in, o)) {
      f.x = in.address();
      f.inputs = in.dim(1);
      f.x_is_bfloat16 = is_bfloat16(in);
      own.input_panels = panels_of_rows(w.w_ih, 0, gates_of(o.cell), s.hidden, f.pairs);
      f.weights_of_x = static_cast<const float*>(own.input_panels.address());
    } else {
      f.gates = input_part(in, w, f.bias_of_x, o, own.gates);
    }
    f.h0 = states_part(h0, number, batch * s.state);
    f.c0 = states_part(c0, number, batch * s.hidden);
    f.hn = const_cast<float*>(states_part(hn, number, batch * s.state));
    f.cn = const_cast<float*>(states_part(cn, number, batch * s.hidden));
    f.y_row = o.directions() * s.state;
    f.y = static_cast<char*>(y.address()) + d * s.state * item_size(y.dtype());
    if (kept != nullptr) keep_for_backward(call, y, f, kept->direction[d]);
    f.workspace = fit(own.workspace, recurrent_forward_kernels().workspace(f), y.device());
    pass_states(call.layout, h0, hn, number, s.state);
    if (f.cn != nullptr) pass_states(call.layout, c0, cn, number, s.hidden);
  }
  if (y.device() != Device::cpu) {
    const Array barrier = grid_barrier(y.device());
    for (int64_t d = 0; d < o.directions(); ++d) {
      on_device(&RecurrentForwardDevice::forward, o.op, y, jobs[d], barrier);
    }
    return;
  }
  recurrent_forward_kernels().run(jobs, o.directions());
}

}  // namespace nonet
