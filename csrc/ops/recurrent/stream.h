// A recurrent layer that is fed step by step: states and everything it works in stay from step to step.
#pragma once

#include "ops/recurrent/layer.h"

namespace nonet {

class RecurrentStream {
 public:
  // x: the first step, [B, I] or [I]; h0 [L, B, S], c0 [L, B, H] (without B for [I]), undefined: zeros.
  // Errors: as recurrent_forward; ValueError for two directions.
  RecurrentStream(const Array& x, const Array& h0, const Array& c0, const std::vector<Array>& weights,
                  const RecurrentOptions& options);

  // The output [B, S] or [S] of one step, in memory that the next step overwrites. x, like the first one, may be what
  // the last step returned. Errors: as recurrent_forward.
  const Array& step(const Array& x, const std::vector<Array>& weights);

  // The states after the last step, float32; overwritten by the next. c is undefined but for LSTM.
  const Array& h() const { return h_; }
  const Array& c() const { return c_; }

 private:
  RecurrentOptions options_;
  StepLayout layout_;
  Shape x_shape_;
  DType x_dtype_;
  RecurrentSizes sizes_;
  Array h_, c_, y_;
  std::vector<Array> outputs_;  // of the layers, [B, S]
  struct Memory {
    DirectionMemory of[2];
  };
  std::vector<Memory> memory_;
};

}  // namespace nonet
