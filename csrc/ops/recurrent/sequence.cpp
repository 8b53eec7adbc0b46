#include "ops/recurrent/sequence.h"

#include <algorithm>

#include "array/launch.h"
#include "ops/dropout/dropout.h"
#include "ops/recurrent/layer.h"
#include "ops/recurrent/panels.h"

namespace nonet {

RecurrentOutput recurrent_forward(const Array& x, const StepLayout& layout, const Array& h0, const Array& c0,
                                  std::vector<Array> weights, const std::vector<PhiloxKey>& keys,
                                  const RecurrentOptions& o, bool keep) {
  const RecurrentSizes s = check_call(x, weights, o);
  const auto tape = std::make_shared<RecurrentTape>();
  tape->options = o;
  if (keys.empty()) tape->options.dropout = 0;
  tape->layout = layout;
  tape->layout.move_to(x.device());
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
  const Array hn(tape->h_shape, DType::float32, Format::plain, x.device());
  const Array cn = o.cell == Cell::lstm ? Array(tape->c_shape, DType::float32, Format::plain, x.device()) : Array();
  Array in = tape->layout.to_rows(x);
  for (int64_t layer = 0; layer < o.layers; ++layer) {
    const Array y(Shape{layout.rows(), o.directions() * s.state}, tape->dtype, Format::plain, x.device());
    RecurrentTape::Layer& kept = tape->layers[layer];
    DirectionMemory memory[2];
    forward_layer({o, tape->layout, tape->weights, s, layer}, in, h, c, y, hn, cn, keep ? &kept : nullptr, memory);
    kept.key = layer < static_cast<int64_t>(keys.size()) ? keys[layer] : PhiloxKey{0, 0};
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
  const Array y = tape->layout.from_rows(in);
  tape->y_shape = y.shape();
  return {y, hn.to(tape->dtype), cn.defined() ? cn.to(tape->dtype) : Array(), keep ? tape : nullptr};
}

// ---------------------------------------------------------------- backward

namespace {

bool is_bfloat16(const Array& x) {
  return x.dtype() == DType::bfloat16;
}

// Rows [first, first + count) of a weight's gradient = a^T b: a [rows, lda] from column `from` on, b [rows, n].
struct Part {
  const Array& a;
  int64_t from, count;
  const Array& b;
  int64_t first;
};
void weight_gradient(const Part& p, const Array& out, const RecurrentOptions& o) {
  const Gemm g{.m = p.count,
               .n = p.b.dim(1),
               .k = p.a.dim(0),
               .a = static_cast<char*>(p.a.address()) + p.from * item_size(p.a.dtype()),
               .lda = p.a.dim(1),
               .transpose_a = true,
               .b = p.b.address(),
               .ldb = p.b.dim(1),
               .transpose_b = false,
               .c = static_cast<char*>(out.address()) + p.first * p.b.dim(1) * item_size(out.dtype()),
               .a_is_bfloat16 = is_bfloat16(p.a),
               .b_is_bfloat16 = is_bfloat16(p.b),
               .c_is_bfloat16 = is_bfloat16(out),
               .precision = o.numerics.precision};
  run_gemm(g, out, o.op);
}

// Calls fill(target) and hands the result over, if the gradient is wanted.
template <class Fill>
void deliver(Array* out, const Array& like, const char* op, const Fill& fill) {
  if (out == nullptr) return;
  const Array target = gradient_target(*out, like.shape(), op, like.dtype(), like.device());
  fill(target);
  deliver_gradient(target, like.dtype(), *out, op);
}

// dW and db of a layer and direction.
void weight_gradients(const RecurrentTape& tape, int64_t layer, int64_t number, const Array& dz, const Array& dstate,
                      const RecurrentGradients& out) {
  const RecurrentOptions& o = tape.options;
  const RecurrentWeights w = weights_of(tape.weights, o, number);
  const RecurrentTape::Layer& kept = tape.layers[layer];
  const RecurrentTape::Direction& own = kept.direction[number % o.directions()];
  Array* const* wanted = &out.weights[number * o.weights()];
  const int64_t rows = w.w_ih.dim(0);
  const int64_t hidden = rows / gates_of(o.cell);
  deliver(wanted[0], w.w_ih, o.op, [&](const Array& dw) { weight_gradient({dz, 0, rows, kept.in, 0}, dw, o); });
  deliver(wanted[1], w.w_hh, o.op, [&](const Array& dw) {
    const int64_t first = o.cell == Cell::gru ? 2 * hidden : first_gates_of(o.cell) * hidden;
    weight_gradient({dz, 0, first, own.before, 0}, dw, o);
    if (o.cell == Cell::gru) weight_gradient({dz, 3 * hidden, hidden, own.before, first}, dw, o);
    if (o.cell == Cell::gru_reset_before) weight_gradient({dz, first, hidden, own.middle, first}, dw, o);
  });
  if (o.projected) {
    deliver(wanted[o.weights() - 1], w.w_hr, o.op,
            [&](const Array& dw) { weight_gradient({dstate, 0, dstate.dim(1), own.middle, 0}, dw, o); });
  }
  if (!o.bias || (wanted[2] == nullptr && wanted[3] == nullptr)) return;
  const Array sums(Shape{dz.dim(1)}, DType::float32, Format::plain, dz.device());
  bias_gradient(dz, dz.dim(0), dz.dim(1), sums);
  for (int64_t i = 2; i < 4; ++i) {
    if (wanted[i] == nullptr) continue;
    Array value = sums;
    if (o.cell == Cell::gru) {  // the sums of r, u and one of the two of n
      value = sums.rows(0, rows).clone();
      if (i == 3) copy_into(value.rows(2 * hidden, rows), sums.rows(rows, rows + hidden), o.op);
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
  const Array dx(in.shape(), dtype, Format::plain, in.device());
  for (int64_t d = 0; d < o.directions(); ++d) {
    const RecurrentWeights w = weights_of(tape.weights, o, layer * o.directions() + d);
    const Gemm g{.m = in.dim(0),
                 .n = in.dim(1),
                 .k = w.w_ih.dim(0),
                 .a = dz[d].address(),
                 .lda = dz[d].dim(1),
                 .transpose_a = false,
                 .b = w.w_ih.address(),
                 .ldb = in.dim(1),
                 .transpose_b = false,
                 .c = dx.address(),
                 .a_is_bfloat16 = is_bfloat16(dz[d]),
                 .b_is_bfloat16 = is_bfloat16(w.w_ih),
                 .c_is_bfloat16 = is_bfloat16(dx),
                 .accumulate = d > 0,
                 .precision = o.numerics.precision};
    run_gemm(g, dx, o.op);
  }
  return dx.to(in.dtype());
}

// The gradients of the states, [L D, B, size] in float32.
struct States {
  Array dhn, dcn;  // undefined: zeros
  Array dh0, dc0;  // undefined: not wanted
};

// W_hh in the form that kernels read.
void prepare_weights(const RecurrentWeights& w, const RecurrentOptions& o, const RecurrentSizes& s, Array& panels,
                     Array& middle_panels, RecurrentBackward& b) {
  const int64_t first = first_gates_of(o.cell) * s.hidden;
  const bool reset_before = o.cell == Cell::gru_reset_before;
  if (w.w_hh.device() != Device::cpu) {
    panels = weight_rows(w.w_hh, 0);
    if (o.projected) middle_panels = weight_rows(w.w_hr, 0);
    if (reset_before) middle_panels = panels.rows(first, w.w_hh.dim(0));
  } else {
    b.pairs = pairs_for(w.w_hh, b.bfloat16, o.numerics);
    panels = panels_of_columns(w.w_hh, 0, first, b.pairs);
    if (o.projected) middle_panels = panels_of_columns(w.w_hr, 0, s.state, b.pairs);
    if (reset_before) middle_panels = panels_of_columns(w.w_hh, first, s.hidden, b.pairs);
  }
  b.weights = static_cast<const float*>(panels.address());
  if (middle_panels.defined()) b.middle_weights = static_cast<const float*>(middle_panels.address());
}

// dy: [rows, D S] or undefined. Gives dz of each direction.
void backward_layer(const RecurrentTape& tape, int64_t layer, const Array& dy, const States& states,
                    const RecurrentSizes& s, Array (&dz)[2], const RecurrentGradients& out) {
  const RecurrentOptions& o = tape.options;
  const StepLayout& layout = tape.layout;
  const RecurrentTape::Layer& kept = tape.layers[layer];
  const int64_t batch = layout.batch();
  const Device device = kept.in.device();
  RecurrentBackward jobs[2];
  Array panels[2];
  Array middle_panels[2];
  Array workspace[2];
  Array dstate[2];
  for (int64_t d = 0; d < o.directions(); ++d) {
    const int64_t number = layer * o.directions() + d;
    const RecurrentWeights w = weights_of(tape.weights, o, number);
    const RecurrentTape::Direction& own_kept = kept.direction[d];
    RecurrentBackward& b = jobs[d];
    b = {};
    b.cell = o.cell;
    b.at = layout.at(d == 1);
    b.hidden = s.hidden;
    b.state = s.state;
    b.projected = o.projected;
    b.bfloat16 = tape.dtype == DType::bfloat16;
    prepare_weights(w, o, s, panels[d], middle_panels[d], b);
    b.kept = own_kept.kept.defined() ? own_kept.kept.address() : nullptr;
    b.cells = own_kept.cells.defined() ? own_kept.cells.address() : nullptr;
    b.before = own_kept.before.address();
    const int64_t at = d * s.state * item_size(tape.dtype);
    b.y_row = b.dy_row = o.directions() * s.state;
    b.y = kept.y.defined() ? static_cast<char*>(kept.y.address()) + at : nullptr;
    b.dy = dy.defined() ? static_cast<char*>(dy.address()) + at : nullptr;
    b.dhn = states_part(states.dhn, number, batch * s.state);
    b.dcn = states_part(states.dcn, number, batch * s.hidden);
    b.dh0 = const_cast<float*>(states_part(states.dh0, number, batch * s.state));
    b.dc0 = const_cast<float*>(states_part(states.dc0, number, batch * s.hidden));
    dz[d] = Array(Shape{layout.rows(), gradients_of(o.cell) * s.hidden}, tape.dtype, Format::plain, device);
    b.dz = dz[d].address();
    if (o.projected) {
      dstate[d] = Array(Shape{layout.rows(), s.state}, tape.dtype, Format::plain, device);
      b.dstate = dstate[d].address();
    }
    workspace[d] = Array(Shape{recurrent_backward_kernels().workspace(b)}, DType::float32, Format::plain, device);
    b.workspace = static_cast<float*>(workspace[d].address());
    if (b.dh0 != nullptr) pass_states(layout, states.dhn, states.dh0, number, s.state);
    if (b.dc0 != nullptr) pass_states(layout, states.dcn, states.dc0, number, s.hidden);
  }
  if (device == Device::cpu) {
    recurrent_backward_kernels().run(jobs, o.directions());
  } else {
    const Array barrier = grid_barrier(device);
    for (int64_t d = 0; d < o.directions(); ++d) {
      on_device(&RecurrentBackwardDevice::backward, o.op, dz[d], jobs[d], barrier);
    }
  }
  for (int64_t d = 0; d < o.directions(); ++d)
    weight_gradients(tape, layer, layer * o.directions() + d, dz[d], dstate[d], out);
}

}  // namespace

void recurrent_backward(const RecurrentTape& tape, const Array& dy, const Array& dhn, const Array& dcn,
                        const RecurrentGradients& out) {
  const RecurrentOptions& o = tape.options;
  const RecurrentSizes s = sizes_of(tape.weights, o);
  const auto given = [&](const Array& g, const Shape& shape, const char* name) {
    if (!g.defined()) return Array();
    check_shape(g, shape, o.op, name, "[like the output]");
    return g;
  };
  States states;
  if (dhn.defined()) states.dhn = given(dhn, tape.h_shape, "gradient of hn").to(DType::float32);
  if (dcn.defined()) states.dcn = given(dcn, tape.c_shape, "gradient of cn").to(DType::float32);
  const Device device = tape.layers[0].in.device();
  if (out.h0 != nullptr) states.dh0 = Array(tape.h_shape, DType::float32, Format::plain, device);
  if (out.c0 != nullptr) states.dc0 = Array(tape.c_shape, DType::float32, Format::plain, device);
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
