// Recurrent layers on arrays: see recurrent.h.
#pragma once

#include <memory>
#include <vector>

#include "ops/matmul/linear.h"
#include "ops/recurrent/layout.h"

namespace nonet {

struct RecurrentOptions {
  Cell cell = Cell::tanh;
  int64_t layers = 1;
  bool bidirectional = false;
  bool bias = true;
  bool projected = false;
  float dropout = 0;  // of what a layer hands to the next
  Numerics numerics;
  const char* op = "rnn";

  int64_t directions() const { return bidirectional ? 2 : 1; }
  // Arrays per layer and direction: w_ih [g H, I], w_hh [g H, S], b_ih and b_hh [g H], w_hr [P, H].
  int64_t weights() const { return 2 + (bias ? 2 : 0) + (projected ? 1 : 0); }
};

// What the backward pass of a call wants.
struct RecurrentTape {
  struct Direction {
    Array kept, cells, before, middle;
  };
  struct Layer {
    Array in;       // [rows, I], behind dropout
    Array y;        // [rows, D S], where the cell wants it
    PhiloxKey key;  // of the dropout behind it
    Direction direction[2];
  };

  RecurrentOptions options;
  StepLayout layout;
  Shape x_shape, y_shape, h_shape, c_shape;
  DType x_dtype, dtype;  // of x, and of activations
  DType h_dtype, c_dtype;
  std::vector<Array> weights;
  std::vector<Layer> layers;
};

struct RecurrentOutput {
  Array y, hn, cn;
  std::shared_ptr<RecurrentTape> tape;  // null unless it was asked for
};

// x in the layout's form. h0 [L D, B, S], c0 [L D, B, H], without the batch axis if x has none; undefined: zeros. keys:
// of the dropout behind all layers but the last, or empty. y: like x with D S columns, hn and cn like h0 and c0.
// Errors: TypeError for dtypes, ValueError for shapes.
RecurrentOutput recurrent_forward(const Array& x, const StepLayout& layout, const Array& h0, const Array& c0,
                                  std::vector<Array> weights, const std::vector<PhiloxKey>& keys,
                                  const RecurrentOptions& options, bool keep);

// Gradients: null if not wanted; an Array that is defined is written into.
struct RecurrentGradients {
  Array* x = nullptr;
  Array* h0 = nullptr;
  Array* c0 = nullptr;
  std::vector<Array*> weights;
};
// dy, dhn, dcn: undefined for zeros.
void recurrent_backward(const RecurrentTape& tape, const Array& dy, const Array& dhn, const Array& dcn,
                        const RecurrentGradients& out);

}  // namespace nonet
