// One layer's forward pass, shared by sequences and streams, and what both know of weights.
#pragma once

#include <vector>

#include "ops/recurrent/sequence.h"

namespace nonet {

// Of a layer and direction, as they were given; undefined where there are none.
struct RecurrentWeights {
  Array w_ih, w_hh, b_ih, b_hh, w_hr;
};
RecurrentWeights weights_of(const std::vector<Array>& all, const RecurrentOptions& o, int64_t number);

struct RecurrentSizes {
  int64_t inputs, hidden, state;
};
RecurrentSizes sizes_of(const std::vector<Array>& weights, const RecurrentOptions& o);

// Everything about x [..., I] and the weights. Errors: as recurrent_forward.
RecurrentSizes check_call(const Array& x, const std::vector<Array>& weights, const RecurrentOptions& o);
// An initial state in float32, undefined if it is not given.
Array check_state(const Array& state, const char* name, const Shape& shape, const Array& x, const RecurrentOptions& o);

// What a direction works in: made where it is missing or of another size.
struct DirectionMemory {
  Array bias, gates, input_panels, panels, middle_panels, candidate_bias, workspace;
};

struct LayerCall {
  const RecurrentOptions& options;
  const StepLayout& layout;
  const std::vector<Array>& weights;
  const RecurrentSizes& sizes;
  int64_t layer;
};

// in [rows, I], y [rows, D S]; states [L D, B, size] in float32, h0 and c0 may be undefined, or hn and cn themselves.
// kept: null without a backward pass.
void forward_layer(const LayerCall& call, const Array& in, const Array& h0, const Array& c0, const Array& y,
                   const Array& hn, const Array& cn, RecurrentTape::Layer* kept, DirectionMemory (&memory)[2]);

// The states number … of [L D, B, size], null if undefined.
const float* states_part(const Array& states, int64_t number, int64_t floats);
// States of sequences without a step pass; from: undefined for zeros.
void pass_states(const StepLayout& layout, const Array& from, const Array& to, int64_t number, int64_t size);

// On a device: W_hh from row `first` on, or W_hr, in float32.
Array weight_rows(const Array& weight, int64_t first);
// On a device: what the launches of a call wait at.
Array grid_barrier(Device device);

}  // namespace nonet
