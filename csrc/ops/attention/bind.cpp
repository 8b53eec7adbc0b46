#include "bind.h"

#include "array/generator.h"
#include "ops/attention/attention.h"
#include "ops/attention/rotary.h"
#include "ops/matmul/matmul.h"

namespace nonet {

namespace {

using Views = std::array<int64_t, 16>;  // of q, k, v and the result: offset, batch, head, row
using Sizes = std::array<int64_t, 7>;   // batch, heads, kv_heads, queries, keys, size, value_size

HeadView view(const Views& views, int i) {
  return {views[4 * i], views[4 * i + 1], views[4 * i + 2], views[4 * i + 3]};
}

AttentionCall call_of(const Views& views, const Sizes& n, double scale, const std::optional<int64_t>& shift,
                      double dropout, PhiloxKey key, int64_t precision) {
  return {view(views, 0),
          view(views, 1),
          view(views, 2),
          view(views, 3),
          n[0],
          n[1],
          n[2],
          n[3],
          n[4],
          n[5],
          n[6],
          scale,
          shift.has_value(),
          shift.value_or(0),
          dropout,
          key,
          numerics_from_code(precision).precision};
}

}  // namespace

void bind_attention(py::module_& m) {
  m.def(
      "attention_forward",
      [](const Array& q, const Array& k, const Array& v, const Array* bias, const Array* mask, const Views& views,
         const Sizes& sizes, const Shape& shape, double scale, const std::optional<int64_t>& shift, double dropout,
         Generator& generator, int64_t precision) {
        AttentionCall call = call_of(views, sizes, scale, shift, dropout, {}, precision);
        if (dropout > 0) call.key = generator.take(attention_draws(call));  // with the interpreter's lock
        Array out;
        Array lse;
        {
          const py::gil_scoped_release release;
          out = Array(shape, q.dtype(), Format::plain, q.device());
          lse = attention_forward(call, q, k, v, or_undefined(bias), or_undefined(mask), out);
        }
        return py::make_tuple(out, lse, call.key.seed, call.key.offset);
      },
      py::arg("q"), py::arg("k"), py::arg("v"), py::arg("bias"), py::arg("mask"), py::arg("views"), py::arg("sizes"),
      py::arg("shape"), py::arg("scale"), py::arg("shift"), py::arg("dropout"), py::arg("generator"),
      py::arg("precision"), "(out, lse, seed, offset); shift: None unless causal");
  m.def(
      "attention_backward",
      [](const Array& q, const Array& k, const Array& v, const Array* bias, const Array* mask, const Views& views,
         const Sizes& sizes, double scale, const std::optional<int64_t>& shift, double dropout, uint64_t seed,
         uint64_t offset, const Array& out, const Array& lse, const Array& dout, const Array& dq, const Array& dk,
         const Array& dv, bool wants_bias, int64_t precision) {
        return if_defined(attention_backward(call_of(views, sizes, scale, shift, dropout, {seed, offset}, precision), q,
                                             k, v, or_undefined(bias), or_undefined(mask), out, lse, dout, dq, dk, dv,
                                             wants_bias));
      },
      py::arg("q"), py::arg("k"), py::arg("v"), py::arg("bias"), py::arg("mask"), py::arg("views"), py::arg("sizes"),
      py::arg("scale"), py::arg("shift"), py::arg("dropout"), py::arg("seed"), py::arg("offset"), py::arg("out"),
      py::arg("lse"), py::arg("dout"), py::arg("dq"), py::arg("dk"), py::arg("dv"), py::arg("wants_bias"),
      py::arg("precision"), no_gil());
  m.def(
      "attention_store",
      [](const Array& x, const std::array<int64_t, 4>& view, int64_t rows, const Array& cache, int64_t position) {
        attention_store(x, {view[0], view[1], view[2], view[3]}, rows, cache, position);
      },
      py::arg("x"), py::arg("view"), py::arg("rows"), py::arg("cache"), py::arg("position"), no_gil());
  m.def("rotary", &rotary, py::arg("x"), py::arg("cos"), py::arg("sin"), py::arg("heads"), py::arg("interleaved"),
        py::arg("back"), no_gil());
}

}  // namespace nonet
