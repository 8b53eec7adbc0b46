#include "ops/recurrent/stream.h"

namespace nonet {

RecurrentStream::RecurrentStream(const Array& x, const Array& h0, const Array& c0, const std::vector<Array>& weights,
                                 const RecurrentOptions& options)
    : options_(options),
      layout_(StepLayout::cell(x, options.op)),
      x_shape_(x.shape()),
      x_dtype_(x.dtype()),
      sizes_(check_call(x, weights, options)),
      memory_(options.layers) {
  const RecurrentOptions& o = options_;
  check(!o.bidirectional, o.op, ": a stream has one direction, for the other it would have to know its end");
  const auto shape = [&](int64_t size) {
    Shape out{o.layers};
    if (x.rank() == 2) out.push_back(x.dim(0));
    out.push_back(size);
    return out;
  };
  const auto state = [&](const Array& given, const char* name, int64_t size) {
    const Array start = check_state(given, name, shape(size), x, o);
    return start.defined() ? start.clone() : zeros(shape(size), DType::float32, x.device());
  };
  h_ = state(h0, "h0", sizes_.state);
  if (o.cell == Cell::lstm) c_ = state(c0, "c0", sizes_.hidden);
  const DType dtype = o.numerics.mixed ? DType::bfloat16 : x.dtype();
  for (int64_t layer = 0; layer < o.layers; ++layer) {
    outputs_.emplace_back(Shape{layout_.rows(), sizes_.state}, dtype, Format::plain, x.device());
  }
  y_ = layout_.from_rows(outputs_.back());
}

const Array& RecurrentStream::step(const Array& x, const std::vector<Array>& weights) {
  check_call(x, weights, options_);
  check_shape(x, x_shape_, options_.op, "input", "[like the first step]");
  check_dtype(x, x_dtype_, options_.op, "input");
  Array in = layout_.to_rows(x);
  for (int64_t layer = 0; layer < options_.layers; ++layer) {
    forward_layer({options_, layout_, weights, sizes_, layer}, in, h_, c_, outputs_[layer], h_, c_, nullptr,
                  memory_[layer].of);
    in = outputs_[layer];
  }
  return y_;
}

}  // namespace nonet
