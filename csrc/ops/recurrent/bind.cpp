#include "bind.h"

#include "array/generator.h"
#include "ops/recurrent/sequence.h"
#include "ops/recurrent/stream.h"

namespace nonet {

namespace {

// What does not change from call to call.
struct Recurrent {
  RecurrentOptions options;
  bool batch_first;

  RecurrentOptions with(int64_t precision, bool dropped) const {
    RecurrentOptions out = options;
    out.numerics = numerics_from_code(precision);
    if (!dropped) out.dropout = 0;
    return out;
  }
};

Recurrent recurrent(int64_t cell, int64_t layers, bool bidirectional, bool bias, bool projected, bool batch_first,
                    float dropout, bool single) {
  static constexpr const char* names[] = {"rnn",      "rnn",      "lstm",      "gru",      "gru",
                                          "rnn_cell", "rnn_cell", "lstm_cell", "gru_cell", "gru_cell"};
  check(cell >= 0 && cell <= static_cast<int64_t>(Cell::gru_reset_before), "recurrent: unknown cell ", cell);
  Recurrent out;
  out.options.cell = static_cast<Cell>(cell);
  out.options.layers = layers;
  out.options.bidirectional = bidirectional;
  out.options.bias = bias;
  out.options.projected = projected;
  out.options.dropout = dropout;
  out.options.op = names[cell + (single ? 5 : 0)];
  out.batch_first = batch_first;
  return out;
}

// Counters for the dropout behind all layers but the last; with the interpreter's lock.
std::vector<PhiloxKey> keys_for(const Recurrent& r, Generator& generator, const Array& x,
                                const std::vector<Array>& weights) {
  std::vector<PhiloxKey> out;
  const RecurrentOptions& o = r.options;
  if (o.dropout == 0.f || weights.size() < 2 || weights[1].rank() != 2) return out;
  const int64_t rows = x.shape().product(0, x.rank() - 1);
  for (int64_t layer = 0; layer + 1 < o.layers; ++layer)
    out.push_back(generator.take(rows * o.directions() * weights[1].dim(1)));
  return out;
}

py::tuple outputs(RecurrentOutput out) {
  return py::make_tuple(std::move(out.y), std::move(out.hn), if_defined(std::move(out.cn)), std::move(out.tape));
}

template <class LayoutOf>
py::tuple forward(const Recurrent& r, const Array& x, const Array* h0, const Array* c0, std::vector<Array> weights,
                  int64_t precision, const std::vector<PhiloxKey>& keys, bool keep, const LayoutOf& layout_of) {
  RecurrentOutput out;
  {
    const py::gil_scoped_release release;
    out = recurrent_forward(x, layout_of(), or_undefined(h0), or_undefined(c0), std::move(weights), keys,
                            r.with(precision, !keys.empty()), keep);
  }
  return outputs(std::move(out));
}

// One gradient, or None, per input: x, h0, c0, weights.
py::list backward(const RecurrentTape& tape, const Array* dy, const Array* dhn, const Array* dcn,
                  const py::list& needs) {
  check(needs.size() == tape.weights.size() + 3, "recurrent_backward: expected a need per input");
  std::vector<Array> made(needs.size());
  std::vector<Array*> targets(needs.size());
  for (size_t i = 0; i < needs.size(); ++i) targets[i] = wanted(py::handle(needs[i]), made[i]);
  RecurrentGradients out{targets[0], targets[1], targets[2], {targets.begin() + 3, targets.end()}};
  {
    const py::gil_scoped_release release;
    recurrent_backward(tape, or_undefined(dy), or_undefined(dhn), or_undefined(dcn), out);
  }
  py::list gradients;
  for (size_t i = 0; i < needs.size(); ++i) gradients.append(given_or_new(py::handle(needs[i]), made[i]));
  return gradients;
}

}  // namespace

void bind_recurrent(py::module_& m) {
  py::class_<Recurrent>(m, "Recurrent", "A recurrent layer without its weights.")
      .def(py::init(&recurrent), py::arg("cell"), py::arg("layers"), py::arg("bidirectional"), py::arg("bias"),
           py::arg("projected"), py::arg("batch_first"), py::arg("dropout"), py::arg("single"), "single: for one step");
  py::class_<RecurrentTape, std::shared_ptr<RecurrentTape>>(m, "RecurrentTape", "What the backward pass wants.");

  m.def(
      "recurrent_forward",
      [](const Recurrent& r, const Array& x, const Array* h0, const Array* c0, std::vector<Array> weights,
         int64_t precision, Generator& generator, bool dropped, bool keep, const Array* lengths) {
        const auto keys = dropped ? keys_for(r, generator, x, weights) : std::vector<PhiloxKey>();
        return forward(r, x, h0, c0, std::move(weights), precision, keys, keep, [&] {
          return lengths == nullptr ? StepLayout::dense(x, r.batch_first, r.options.op)
                                    : StepLayout::padded(x, r.batch_first, *lengths, r.options.op);
        });
      },
      py::arg("layer"), py::arg("x"), py::arg("h0").none(true), py::arg("c0").none(true), py::arg("weights"),
      py::arg("precision"), py::arg("generator"), py::arg("dropped"), py::arg("keep"),
      py::arg("lengths").none(true) = py::none(), "(y, hn, cn or None, tape or None)");
  m.def(
      "recurrent_packed_forward",
      [](const Recurrent& r, const Array& x, const Array* h0, const Array* c0, std::vector<Array> weights,
         int64_t precision, Generator& generator, bool dropped, bool keep, const Array& batch_sizes,
         const Array* order) {
        const auto keys = dropped ? keys_for(r, generator, x, weights) : std::vector<PhiloxKey>();
        return forward(r, x, h0, c0, std::move(weights), precision, keys, keep,
                       [&] { return StepLayout::packed(x, batch_sizes, or_undefined(order), r.options.op); });
      },
      py::arg("layer"), py::arg("x"), py::arg("h0").none(true), py::arg("c0").none(true), py::arg("weights"),
      py::arg("precision"), py::arg("generator"), py::arg("dropped"), py::arg("keep"), py::arg("batch_sizes"),
      py::arg("order").none(true), "(y, hn, cn or None, tape or None)");
  m.def(
      "recurrent_cell_forward",
      [](const Recurrent& r, const Array& x, const Array* h0, const Array* c0, std::vector<Array> weights,
         int64_t precision, bool keep) {
        return forward(r, x, h0, c0, std::move(weights), precision, {}, keep,
                       [&] { return StepLayout::cell(x, r.options.op); });
      },
      py::arg("layer"), py::arg("x"), py::arg("h0").none(true), py::arg("c0").none(true), py::arg("weights"),
      py::arg("precision"), py::arg("keep"), "(y, hn, cn or None, tape or None)");
  py::class_<RecurrentStream>(m, "RecurrentStream", "A recurrent layer that is fed step by step.")
      .def(py::init([](const Recurrent& r, const Array& x, const Array* h0, const Array* c0,
                       const std::vector<Array>& weights, int64_t precision) {
             return RecurrentStream(x, or_undefined(h0), or_undefined(c0), weights, r.with(precision, false));
           }),
           py::arg("layer"), py::arg("x"), py::arg("h0").none(true), py::arg("c0").none(true), py::arg("weights"),
           py::arg("precision"))
      .def("step", &RecurrentStream::step, py::arg("x"), py::arg("weights"), no_gil())
      .def_property_readonly("h", &RecurrentStream::h)
      .def_property_readonly("c", [](const RecurrentStream& s) { return if_defined(s.c()); });
  m.def("recurrent_backward", &backward, py::arg("tape"), py::arg("dy").none(true), py::arg("dhn").none(true),
        py::arg("dcn").none(true), py::arg("needs"));
}

}  // namespace nonet
